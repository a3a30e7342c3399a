"""Nodes of a cluster that answer as a test scripts them, over real sockets."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections import deque
from typing import Any, cast

READS = {b"MGET", b"GET", b"LRANGE"}
BREAK = b""
"""In a script: half of the answer, then the end of the connection."""


class FakeNode(socketserver.ThreadingTCPServer):
    """Serves `values`; `script` has the answers to the next reads (None: the true one).

    `reads` are the read commands that came, each with whether ASKING came right before it on the
    same connection. Reads without ASKING get `redirection` where it is set. CLUSTER SLOTS names
    the nodes in `slots`.
    """

    daemon_threads = allow_reuse_address = True

    def __init__(self, values: dict[bytes, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.values = values
        self.script: deque[bytes | None] = deque()
        self.reads: list[tuple[list[bytes], bool]] = []
        self.slots: list[FakeNode] = [self]
        self.slot_requests = 0
        self.redirection = b""
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def cluster_slots(self) -> bytes:
        """Every node of `slots` has an equal share."""
        self.slot_requests += 1
        share = 16384 // max(1, len(self.slots))
        parts = [
            b"*3\r\n:%d\r\n:%d\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$2\r\nid\r\n"
            % (i * share, (i + 1) * share - 1, node.port)
            for i, node in enumerate(self.slots)
        ]
        return b"*%d\r\n" % len(parts) + b"".join(parts)

    def answer(self, command: list[bytes], asking: bool) -> bytes:
        name = command[0].upper()
        if name == b"CLUSTER":
            return self.cluster_slots()
        if name == b"COMMAND":
            return b"*0\r\n"
        if name not in READS:
            return b"+OK\r\n"
        self.reads.append((command, asking))
        scripted = self.script.popleft() if self.script else None
        if scripted is not None:
            return scripted
        if self.redirection and not asking:
            return self.redirection
        values = [self._bulk(key) for key in command[1:]]
        return values[0] if name == b"GET" else b"*%d\r\n" % len(values) + b"".join(values)

    def _bulk(self, key: bytes) -> bytes:
        value = self.values.get(key)
        return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        node, asking = cast("FakeNode", self.server), False
        while line := self.rfile.readline():
            command = [self._bulk() for _ in range(int(line[1:]))]
            reply = node.answer(command, asking)
            asking = command[0] == b"ASKING"
            if reply == BREAK:
                self.wfile.write(b"*2\r\n$1\r\n1")
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.wfile.write(reply)

    def _bulk(self) -> bytes:
        size: Any = self.rfile.readline()[1:]
        data = self.rfile.read(int(size) + 2)
        return data[:-2]
