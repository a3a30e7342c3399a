"""A proxy before an S3 server that spoils every nth request: `s3_proxy.py PORT FAULT EVERY`.

Faults: `busy` answers 503; `refuse` closes the connection and passes nothing on; `lose` passes the
request on and closes the connection in the place of the answer; `cut` sends half of the answer's
body; `flip` changes a byte of what is put. `GET /-/requests` says what passed.
"""

import json
import sys
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>"
lock = threading.Lock()
passed = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream, fault, every = 0, "none", 0

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/-/requests":
            self.answer(200, {}, json.dumps(passed).encode())
            return
        with lock:
            entry = {"method": self.command, "path": self.path, "sent": len(body)}
            entry["range"] = self.headers.get("Range")
            passed.append(entry)
            spoilt = self.every and len(passed) % self.every == 0
        fault = self.fault if spoilt else "none"
        entry["fault"] = fault
        if fault == "busy":
            entry["status"] = 503
            self.answer(503, {}, BUSY)
            return
        if fault == "refuse":
            self.close_connection = True
            return
        if fault == "flip" and self.command == "PUT" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        upstream = HTTPConnection("127.0.0.1", self.upstream)
        upstream.request(self.command, self.path, body, dict(self.headers))
        response = upstream.getresponse()
        content = response.read()
        upstream.close()
        entry["status"], entry["received"] = response.status, len(content)
        if fault == "lose":
            self.close_connection = True
            return
        self.answer(response.status, dict(response.getheaders()), content, cut=fault == "cut")

    def answer(self, status, headers, content, cut=False):
        self.send_response_only(status)
        length = headers.get("Content-Length") if self.command == "HEAD" else str(len(content))
        dropped = ("content-length", "transfer-encoding", "connection", "server", "date")
        for name, value in headers.items():
            if name.lower() not in dropped:
                self.send_header(name, value)
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, *args):
        pass


for command in ("GET", "PUT", "POST", "DELETE", "HEAD"):
    setattr(Handler, f"do_{command}", Handler.handle_any)


def main(upstream, fault, every):
    Handler.upstream, Handler.fault, Handler.every = int(upstream), fault, int(every)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
