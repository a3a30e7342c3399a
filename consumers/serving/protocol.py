"""HTTP as uvicorn reads it, with an end to what stands before a body: its bytes and its seconds.

Keys and the limit of a body are looked at once a request's line and headers are there as a whole;
uvicorn's faster parser (httptools) waits for them for ever and keeps all that comes.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 64 << 10
"""Bytes of a request's line and headers."""
HEAD_SECONDS = 10.0
"""From their first byte to their last."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection that ends where a request's head is too long (400) or too slow."""

    head_bytes = 0
    in_body = False
    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """One on which nothing comes ends as one does that waits for its next request."""
        super().connection_made(transport)
        self._end_in(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to be ended."""
        self._end_in(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a head are counted, those of a body aren't: the gate does."""
        if not self.in_body:
            if not self.head_bytes:
                self._end_in(HEAD_SECONDS)
            self.head_bytes += len(data)
        super().data_received(data)
        if self.head_bytes > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response("Request line and headers are too long.")

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._end_in(None)
        self.head_bytes, self.in_body = 0, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next head may come."""
        self.in_body = False
        super().on_message_complete()

    def _end_in(self, seconds: float | None) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
        self.head_timer = None if seconds is None else self.loop.call_later(seconds, self._end)

    def _end(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
