"""`/live`, `/ready` and `/metrics` over HTTP, for supervisors and Prometheus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from threading import Thread
from typing import Any

Ready = Callable[[], Iterable[str]]
"""Why the service is not ready; empty where it is."""
LOOPBACK = "127.0.0.1"


@contextmanager
def answering(host: str, port: int, ready: Ready, metrics: Callable[[], bytes]) -> Iterator[int]:
    r"""Answer on an address within the block; the port (another than `port` where that is 0).

    Raises:
        OSError: the address is taken, or none of this machine's.

    >>> from urllib.request import urlopen
    >>> with answering(LOOPBACK, 0, list, bytes) as port:
    ...     urlopen(f"http://{LOOPBACK}:{port}/live").read()
    b'{"live": true}\n'
    """
    pages: dict[str, Callable[[], tuple[HTTPStatus, str, bytes]]] = {
        "/live": lambda: _json(HTTPStatus.OK, {"live": True}),
        "/ready": lambda: _readiness(ready),
        "/metrics": lambda: (HTTPStatus.OK, "text/plain; version=0.0.4", metrics()),
    }
    with _Server((host, port), partial(_Handler, pages)) as server:
        thread = Thread(target=server.serve_forever, name="health", daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: Any) -> None:
        self.address_family = AF_INET6 if ":" in address[0] else AF_INET
        super().__init__(address, handler)


class _Handler(BaseHTTPRequestHandler):
    timeout = 10  # a client that sends nothing holds no thread for longer

    def __init__(self, pages: Mapping[str, Callable[[], Any]], *arguments: Any) -> None:
        self._pages = pages
        super().__init__(*arguments)

    def do_GET(self) -> None:
        page = self._pages.get(self.path.partition("?")[0])
        status, kind, body = (
            page() if page else _json(HTTPStatus.NOT_FOUND, {"pages": sorted(self._pages)})
        )
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: probes come every few seconds."""


def _readiness(ready: Ready) -> tuple[HTTPStatus, str, bytes]:
    reasons = list(ready())
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return _json(status, {"ready": not reasons, "reasons": reasons})


def _json(status: HTTPStatus, value: object) -> tuple[HTTPStatus, str, bytes]:
    return status, "application/json", json.dumps(value).encode() + b"\n"
