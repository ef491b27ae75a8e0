#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Serves what docker-registry has on its disk, by sendfile(2): a registry that costs next to nothing.

usage: blob_server.py ROOT

ROOT is the rootdirectory of docker-registry's file system storage. Prints the port on 127.0.0.1 and serves
manifests and ranges of blobs over HTTP/1.1 until its standard input ends. docker-registry itself reads 4 MiB of
a blob for each request, whatever its range: at a gigabit that is more work than all of layerfs's, on the same
processors, and would be what a benchmark measures.
"""
import os
import pathlib
import re
import socket
import sys
import threading

MANIFEST = re.compile(r"/v2/(.+)/manifests/(.+)")
BLOB = re.compile(r"/v2/.+/blobs/sha256:([0-9a-f]{64})")
RANGE = re.compile(r"bytes=(\d+)-(\d*)")
TYPE = re.compile(rb'"mediaType"\s*:\s*"([^"]+)"')


class Server:
    def __init__(self, root):
        self.data = pathlib.Path(root) / "docker/registry/v2"

    def blob(self, digest):
        return self.data / "blobs/sha256" / digest[:2] / digest / "data"

    def serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection, connection.makefile("rb") as lines:
                while request := lines.readline():
                    headers = {}
                    while (line := lines.readline()) not in (b"\r\n", b""):
                        name, _, value = line.decode("latin-1").partition(":")
                        headers[name.lower()] = value.strip()
                    self.answer(connection, request.decode("latin-1").split(" ")[1], headers)
        except OSError:
            pass  # Clients leave as they like.

    def answer(self, connection, path, headers):
        if match := BLOB.fullmatch(path):
            return self.answer_blob(connection, self.blob(match[1]), headers.get("range", ""))
        if match := MANIFEST.fullmatch(path):
            return self.answer_manifest(connection, match[1], match[2])
        known = path == "/v2/"
        self.send_head(connection, "200 OK" if known else "404 Not Found", 0)

    def answer_manifest(self, connection, repository, reference):
        if not reference.startswith("sha256:"):
            link = self.data / "repositories" / repository / "_manifests/tags" / reference / "current/link"
            reference = link.read_text() if link.exists() else "sha256:"
        file = self.blob(reference[7:])
        if len(reference) < 71 or not file.exists():
            return self.send_head(connection, "404 Not Found", 0)
        manifest = file.read_bytes()
        declared = TYPE.search(manifest)
        kind = declared[1].decode() if declared else "application/vnd.oci.image.manifest.v1+json"
        self.send_head(connection, "200 OK", len(manifest), f"Content-Type: {kind}", f"Docker-Content-Digest: {reference}")
        connection.sendall(manifest)

    def answer_blob(self, connection, path, wanted):
        if not path.exists():
            return self.send_head(connection, "404 Not Found", 0)
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            asked = RANGE.fullmatch(wanted)
            begin = int(asked[1]) if asked else 0
            end = min(size, int(asked[2]) + 1 if asked and asked[2] else size)
            if asked:
                self.send_head(connection, "206 Partial Content", end - begin,
                               f"Content-Range: bytes {begin}-{end - 1}/{size}")
            else:
                self.send_head(connection, "200 OK", size)
            while begin < end:
                begin += os.sendfile(connection.fileno(), file.fileno(), begin, end - begin)

    def send_head(self, connection, status, length, *fields):
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", *fields, "", ""]
        connection.sendall("\r\n".join(lines).encode(), socket.MSG_MORE if length > 0 else 0)


def main():
    server = Server(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)

    def accept():
        while True:
            threading.Thread(target=server.serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
