# SPDX-License-Identifier: Apache-2.0
"""A proxy before a registry that spoils a share of its answers, in the ways that registries and
what stands before them have been seen to."""
import http.client
import http.server
import random
import threading
import time
import urllib.parse


class FaultyProxy(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, registry, seed):
        super().__init__(("127.0.0.1", 0), Handler)
        self.registry = registry
        self.dice = random.Random(seed)
        self.lock = threading.Lock()
        self.share = 0.0
        self.counts = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def fault(self, kinds):
        with self.lock:
            if self.dice.random() >= self.share:
                return None
            kind = self.dice.choice(kinds)
            self.counts[kind] = self.counts.get(kind, 0) + 1
            return kind

    def handle_error(self, request, client_address):
        pass  # Clients that leave are the point.


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    BLOB_FAULTS = ["500", "503", "429", "cut", "close", "stall", "slow", "garbage", "bit", "range", "whole",
                   "longer", "gzip", "redirect", "chunked"]
    OTHER_FAULTS = ["500", "503", "429", "cut", "close"]

    def log_message(self, *_):
        pass

    def ask(self, headers):
        connection = http.client.HTTPConnection(self.server.registry, timeout=30)
        try:
            connection.request("GET", urllib.parse.urlsplit(self.path).path, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def send(self, status, headers, body, sent=None):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() in ("content-type", "content-range", "docker-content-digest", "location",
                                "retry-after", "content-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if sent is None else body[:sent])
        if sent is not None:
            self.close_connection = True

    def do_GET(self):
        blob = "/blobs/" in self.path
        if "expired=1" in self.path:
            return self.send(403, {}, b"<Error>expired</Error>")
        kind = self.server.fault(self.BLOB_FAULTS if blob else self.OTHER_FAULTS)
        if kind == "close":
            self.close_connection = True
            return None
        if kind in ("500", "503", "429"):
            return self.send(int(kind), {} if kind == "500" else {"Retry-After": "1"}, b"busy")
        if kind == "redirect":
            # As object stores' signed URLs are: of another origin.
            store = f"http://127.0.0.1:{self.server.server_address[1]}"
            return self.send(307, {"Location": store + self.path.split("?")[0] + "?expired=1"}, b"")
        wanted = {} if kind == "whole" or "Range" not in self.headers else {"Range": self.headers["Range"]}
        if "Accept" in self.headers:
            wanted["Accept"] = self.headers["Accept"]
        status, headers, body = self.ask(wanted)
        middle = len(body) // 2
        if kind == "cut":
            return self.send(status, headers, body, sent=middle)
        if kind == "garbage":
            body = bytes(len(body))
        elif kind == "bit" and body:
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1:]
        elif kind == "range":
            headers["Content-Range"] = "bytes 1-2/3"
        elif kind == "longer":
            body += b"x" * 5000
        elif kind == "gzip":
            headers["Content-Encoding"] = "gzip"
        if kind not in ("stall", "slow", "chunked"):
            return self.send(status, headers, body)
        self.send_response(status)
        if "Content-Range" in headers:
            self.send_header("Content-Range", headers["Content-Range"])
        if kind == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(body), 10_000):
                piece = body[at:at + 10_000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
            return None
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for at in range(0, len(body), middle + 1):
            self.wfile.write(body[at:at + middle + 1])
            time.sleep(2 if kind == "stall" else 0.2)
        return None
