"""A sample of what was served, off the hot path, for `vidtopics parity` to hold against the tables.

A read hands over a copy of its arrays and goes on; a thread adds the clock of Redis and writes.
Which version of the table a view's answer is of stands in the directory that the read went by. What
doesn't fit its bounded memory is dropped and counted, never waited for. ::

    log = ServingLog("logs/served", connect(url, timeout_s=5), share=0.01)
    client = OnlineClient.from_url(url, log=log)
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any, cast
from weakref import WeakMethod

import numpy as np
import redis

from vidtopics.errors import SettingsError, explain
from vidtopics.layout import Directory, Watermark
from vidtopics.online.connections import Connection
from vidtopics.online.features import Features
from vidtopics.online.log_files import LogFiles
from vidtopics.online.served import Served, canonical

INTERVAL_S = 0.25
QUEUE_BYTES = 64 * 2**20
Parts = Sequence[tuple[str, Sequence[bytes]]]
_request: ContextVar[str] = ContextVar("request", default="")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Answer:
    """A request that waits to be written: per view its ids and a copy of its features."""

    request: str
    client_us: int
    directory: Directory
    parts: Sequence[tuple[str, Sequence[bytes], Features]]
    size: int


class ServingLog:
    """Logs a share of its clients' requests: whole requests, chosen by a hash of their id.

    Args:
        folder: where the files lie; 1 GiB of them at most, then the oldest goes.
        connection: a connection of the log's own, so that it never takes one of the client's.
        share: of requests, above 0 and up to 1.

    `dropped` counts requests given up for want of memory, `failed` those that Redis or the disk
    refused.

    >>> log = ServingLog("logs/served", redis.Redis(), share=0.5)
    >>> [name for name in ("r1", "r2", "r3", "r4", "r5") if log.chosen(name)]
    ['r4', 'r5']
    """

    def __init__(
        self, folder: str | os.PathLike[str], connection: Connection, *, share: float = 0.01
    ) -> None:
        if not 0 < share <= 1:
            raise SettingsError(
                explain(
                    "share",
                    expected="above 0 and up to 1",
                    found=repr(share),
                    mend="give a client no log to log none",
                )
            )
        self.share, self.connection = share, connection
        self.dropped = self.failed = self.written = self._bytes = 0
        self._reported = 0
        self._files = LogFiles(Path(folder))
        self._lock = threading.Lock()
        self._process = 0
        # A lock that another thread holds while the process forks would be held for ever in the
        # child.
        forked = WeakMethod(self._forked)
        os.register_at_fork(after_in_child=lambda: (mend := forked()) and mend())

    @contextmanager
    def request(self, request_id: str) -> Iterator[None]:
        """Reads within the block are of that request: in every process all are logged, or none."""
        token = _request.set(request_id)
        try:
            yield
        finally:
            _request.reset(token)

    def chosen(self, request_id: str) -> bool:
        """Whether a request is one of the sample."""
        return (
            int.from_bytes(blake2b(request_id.encode(), digest_size=8).digest())
            < self.share * 2**64
        )

    def offer(self, directory: Directory, parts: Parts, features: Sequence[Features]) -> None:
        """Called with a read's answer; keeps a copy if its request is chosen and there is room."""
        if self._process != os.getpid():
            self._start()
        request = _request.get() or f"{self._token}-{next(self._numbers)}"
        if not self.chosen(request):
            return
        size = sum(_size(ids, f) for (_, ids), f in zip(parts, features, strict=True))
        with self._lock:
            if self._bytes + size > QUEUE_BYTES:
                self.dropped += 1
                return
            self._bytes += size
        copies = [
            (view, tuple(ids), _copy(f)) for (view, ids), f in zip(parts, features, strict=True)
        ]
        client_us = time.time_ns() // 1000
        self._waiting.append(_Answer(request, client_us, directory, copies, size))

    def close(self) -> None:
        """Write what waits and end the thread; a later read starts it again."""
        if self._process == os.getpid():
            self._ended.set()
            self._thread.join()
            self._process = 0

    def _forked(self) -> None:
        self._lock = threading.Lock()

    def _start(self) -> None:
        """In each process anew: a fork takes no threads along."""
        with self._lock:
            if self._process == os.getpid():
                return
            self._token, self._numbers = secrets.token_hex(6), count(1)
            self._waiting: deque[_Answer] = deque()
            self._bytes = 0
            self._files = LogFiles(self._files.folder)
            self._ended = threading.Event()
            self._thread = threading.Thread(target=self._run, name="serving-log", daemon=True)
            self._thread.start()
            self._process = os.getpid()

    def _run(self) -> None:
        while True:
            last = self._ended.is_set()
            try:
                self._round(last)
            except Exception:  # whatever goes wrong here, the service goes on
                if not self.failed:
                    _logger.warning(
                        "serving log: a request was not written; later ones are counted",
                        exc_info=True,
                    )
                self.failed += 1
            if last and not self._waiting:
                return self._files.close()
            self._ended.wait(INTERVAL_S)

    def _round(self, last: bool) -> None:
        """Look at the clock of Redis, then write every answer that was there before."""
        due = len(self._waiting)
        if not due:
            return
        try:
            offset_us = self._clock_offset_us()
        except (redis.RedisError, OSError):
            if last:
                self.failed += due
                self._waiting.clear()
            return  # they wait for the next round
        for _ in range(due):
            answer = self._waiting.popleft()
            try:
                self._write(answer, offset_us)
            finally:
                with self._lock:
                    self._bytes -= answer.size

    def _clock_offset_us(self) -> int:
        """The clock of Redis minus this one's, to half a round trip."""
        sent_us = time.time_ns() // 1000
        seconds, micros = cast("tuple[int, int]", self.connection.time())
        return seconds * 1_000_000 + micros - (sent_us + time.time_ns() // 1000) // 2

    def _write(self, answer: _Answer, offset_us: int) -> None:
        for view, ids, features in answer.parts:
            entry = answer.directory.view(view)
            source = Watermark.parse(entry.source.encode()) if entry.source else None
            fields = {f.name: f for f in answer.directory.schemas[entry.schema].fields}
            missed = self.dropped + self.failed
            line = Served(
                answer.request,
                view,
                [i.decode() for i in ids],
                features.status,
                features.event_us,
                features.created_us,
                answer.client_us,
                offset_us,
                source,
                source,
                {
                    name: canonical(fields[name], column)
                    for name, column in features.columns.items()
                },
                features.null,
                missed - self._reported,
            ).to_line()
            self._files.append(line)
            self._reported = missed
        self.written += 1


def _size(ids: Sequence[bytes], features: Features) -> int:
    """Bytes that a copy takes, near enough."""
    texts = [
        v
        for c in features.columns.values()
        if c.dtype == object
        for v in cast("Any", c)
        if v is not None
    ]
    return sum(c.nbytes for c in features.columns.values()) + sum(map(len, texts)) + 100 * len(ids)


def _copy(features: Features) -> Features:
    """A copy for when the caller writes into its arrays: columns of the present rows alone."""
    present = features.present
    columns = {name: column[present] for name, column in features.columns.items()}
    null = {name: np.array(features.null[name][present]) for name in columns}
    return Features(
        features.status.copy(), features.event_us.copy(), features.created_us.copy(), columns, null
    )
