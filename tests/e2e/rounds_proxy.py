#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rounds_proxy.py REGISTRY LOG [QUIET_SECONDS [BROKEN]]: before a plain http registry, counts dependent rounds.

An answer is held back until no request has come for QUIET_SECONDS (0.5); then all go out. So what is asked
for without knowing an answer falls into the same round, and what needs one into the next, however busy the
machine is. What is asked for at a path with BROKEN in it gets a 503. Prints its port. LOG gets a line for each request: ROUND METHOD PATH RANGE STATUS BYTES.
"""
import http.client
import http.server
import sys
import threading
import time


class Rounds:
    def __init__(self, quiet):
        self.quiet = quiet
        self.changed = threading.Condition()
        self.round = 1
        self.last_request = 0.0
        self.done = 0  # the last round whose answers go out

    def begin(self):
        with self.changed:
            self.last_request = time.monotonic()
            return self.round

    def wait(self, mine):
        with self.changed:
            while self.done < mine:
                left = self.last_request + self.quiet - time.monotonic()
                if left <= 0:
                    self.done = self.round
                    self.round += 1
                    self.changed.notify_all()
                else:
                    self.changed.wait(left)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def relay(self):
        mine = ROUNDS.begin()
        upstream = http.client.HTTPConnection(REGISTRY)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
        upstream.request(self.command, self.path, headers=headers)
        answer = upstream.getresponse()
        body = answer.read()
        if BROKEN and BROKEN in self.path:
            self.send_error(503)
            return
        with LOCK, open(LOG, "a") as log:
            log.write(f"{mine} {self.command} {self.path} {self.headers.get('Range', '-')} {answer.status} {len(body)}\n")
        ROUNDS.wait(mine)
        self.send_response_only(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(key, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = relay

    def log_message(self, *_words):
        pass


if __name__ == "__main__":
    REGISTRY, LOG = sys.argv[1:3]
    ROUNDS = Rounds(float(sys.argv[3]) if len(sys.argv) > 3 else 0.5)
    BROKEN = sys.argv[4] if len(sys.argv) > 4 else ""
    LOCK = threading.Lock()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
