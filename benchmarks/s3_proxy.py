"""A proxy before an S3 server that counts, and spoils every nth request.

`python -m benchmarks.s3_proxy PORT FAULT EVERY` prints its own port. Faults: `busy` answers 503;
`refuse` closes the connection and passes nothing on; `lose` passes the request on and closes the
connection in the place of the answer; `cut` sends half of the answer's body; `flip` changes a byte
of what is put; `forget` leaves out the condition of a conditional request. `GET /-/requests` says
what passed.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>"
OWN = ("content-length", "transfer-encoding", "connection", "server", "date")
"""Headers of an answer that the proxy writes itself."""
METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
_lock = threading.Lock()
_passed: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    """Passes on what comes, to the server at `upstream`."""

    protocol_version = "HTTP/1.1"
    upstream, fault, every = 0, "none", 0

    def pass_on(self) -> None:
        """One request, of any method."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/-/requests":
            self._answer(200, {}, json.dumps(_passed).encode())
            return
        entry = self._noted(len(body))
        fault = entry["fault"]
        if fault == "busy":
            entry["status"] = 503
            self._answer(503, {}, BUSY)
            return
        if fault == "refuse":
            self.close_connection = True
            return
        if fault == "flip" and self.command == "PUT" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        if fault == "forget":
            del self.headers["If-None-Match"]
            del self.headers["If-Match"]
        status, headers, content = self._asked(body)
        entry["status"], entry["received"] = status, len(content)
        if fault == "lose":
            self.close_connection = True
            return
        self._answer(status, headers, content, cut=fault == "cut")

    def _noted(self, size: int) -> dict[str, Any]:
        with _lock:
            is_spoilt = self.every and (len(_passed) + 1) % self.every == 0
            entry = {
                "method": self.command,
                "path": self.path,
                "range": self.headers.get("Range"),
                "sent": size,
                "received": 0,
                "fault": self.fault if is_spoilt else "none",
            }
            _passed.append(entry)
        return entry

    def _asked(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", self.upstream)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: Mapping[str, str], content: bytes, *, cut: bool = False
    ) -> None:
        self.send_response_only(status)
        is_head = self.command == "HEAD"
        for name, value in headers.items():
            if name.lower() not in OWN:
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if is_head else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if not is_head:
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what passed is asked for."""


for method in METHODS:
    setattr(Handler, f"do_{method}", Handler.pass_on)


def main(upstream: str, fault: str, every: str) -> None:
    """Serve until the standard input ends."""
    Handler.upstream, Handler.fault, Handler.every = int(upstream), fault, int(every)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
