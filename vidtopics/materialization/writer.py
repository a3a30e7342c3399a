"""Writing values to Redis: the later of two rows wins, the watermark moves with the last batch."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from zlib import crc32

import numpy as np
import redis

from vidtopics.errors import ContractError, explain
from vidtopics.layout import KeySpace, Schema, ViewEntry, Watermark, headers
from vidtopics.layout.chain import with_load
from vidtopics.materialization.batches import Sender
from vidtopics.materialization.generations import Generations, unlink
from vidtopics.materialization.lock import Lease, count, fence, hold
from vidtopics.materialization.scripts import TRIM, WRITE
from vidtopics.online.connections import Connection
from vidtopics.times import moment

BATCH = 500
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


class StoreWriter:
    """Writes views under one prefix, on one server or a cluster.

    Any number of writers may run at once: what they leave in a view doesn't depend on their order.
    A writer with a lease stops with LockError where a later holder has been. `max_ahead_us`: how
    far an event time may lie in the future.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        prefix: str = "vt",
        buckets: int = 16,
        lease: Lease | None = None,
        max_ahead_us: int = DAY_US,
    ) -> None:
        self.connection = connection
        self.prefix = prefix
        self.lease = lease
        self.max_ahead_us = max_ahead_us
        self.generations = Generations(connection, prefix, buckets, lease)
        self.layout = self.generations.layout
        self._write = cast("redis.Redis", connection).register_script(WRITE)
        self._trim = cast("redis.Redis", connection).register_script(TRIM)
        self._trims = Sender()
        self.generations.open(create=True)

    def register(self, view: str, schema: Schema, ttl_us: int = 0) -> ViewEntry:
        """Register a view by its contract, or update its schema or TTL. Returns its entry.

        A view keeps its number for life, so that its keys stay its own. New fields at the end leave
        its values where they are; after any other change it goes on in a new, empty generation, and
        the old one's keys go (:meth:`Generations.register_for_load`).
        """
        live = self.generations.entries().get(view)
        if live and live.ttl_us == ttl_us and _is_as(live, schema):
            return live
        entry = self.generations.register_for_load(view, schema, ttl_us)
        self._sweep_after(live, entry)
        return entry

    def register_for_push(self, view: str, schema: Schema, ttl_us: int) -> ViewEntry:
        """Register a view for rows of a registry that may be old. Returns its entry.

        Raises:
            StoreError: as :meth:`Generations.register_for_push`.
        """
        live = self.generations.entries().get(view)
        if live and _is_as(live, schema):
            return live
        entry = self.generations.register_for_push(view, schema, ttl_us)
        self._sweep_after(live, entry)
        return entry

    def _sweep_after(self, before: ViewEntry | None, entry: ViewEntry) -> None:
        if before and before.generation != entry.generation:
            self.sweep()

    def keys(self, entry: ViewEntry) -> KeySpace:
        """The keys of a view."""
        return self.generations.keys(entry)

    def watermarks(self, entry: ViewEntry) -> list[Watermark | None]:
        """The watermark of each bucket."""
        return self.generations.watermarks(entry)

    def load(self, entry: ViewEntry, *, load: int = 0, retained: Sequence[int] = ()) -> Load:
        """Begin to write rows of a view.

        Args:
            entry: the view's generation.
            load: the run's number; its values are seen once the view's entry says so. 0: a writer
                outside of runs, whose values are seen at once.
            retained: the loads that readers may be on, now or after a rollback, the live one among
                them; versions that none of them shows are dropped from each value that is written.
        """
        return Load(self, entry, load, retained)

    def stays(self, view: str, entry: ViewEntry, ids: Sequence[bytes]) -> bool:
        """Whether rows that were written to an entry are in the live generation.

        Where another took its place meanwhile, the rows' keys go again: what sweeps a generation
        may have been there before they came.
        """
        live = self.generations.entries().get(view)
        if live and (live.number, live.generation) == (entry.number, entry.generation):
            return True
        unlink(self.lease or Lease(self.connection, self.prefix, ""), self.keys(entry).of(ids))
        return False

    def drop(self, *views: str) -> int:
        """Remove views, their values and watermarks. Returns the number of keys.

        Waits for a run that holds the lock.
        """
        with self._leased() as generations:
            for view in views:
                generations.drop(view)
            return generations.sweep()

    def sweep(self) -> int:
        """Remove the keys of generations that aren't live. Returns their number.

        Waits for a run that holds the lock.
        """
        with self._leased() as generations:
            return generations.sweep()

    def write(
        self,
        space: KeySpace,
        bucket: int,
        rows: Sequence[tuple[bytes, bytes]],
        watermark: str = "",
        *,
        ttl_us: int = 0,
        load: int = 0,
        retained: Sequence[int] = (),
        batch: tuple[str, str] = ("", "0"),
        others: str = "",
    ) -> int:
        """Write key and value pairs of one bucket by one script call. Returns how many were newer.

        `load` and `retained` as in :meth:`load`. Values of a view with a TTL leave Redis some time
        after it has passed (:func:`grace_us`).
        With a lease it fails with VTLOST where Redis hasn't all that the run sent to the bucket:
        the batches of the sender before `batch`, and those of `others`.
        """
        keys = [*self._guards(bucket), space.watermark(bucket), *(key for key, _ in rows)]
        versions = [load, " ".join(map(str, retained))]
        values = (value for _, value in rows)
        args = [self._number, *batch, watermark, others, *_lifetime(ttl_us), *versions, *values]
        return cast("int", self._write(keys=cast("Any", keys), args=cast("Any", args)))

    def trim(self, bucket: int, keys: Sequence[bytes], retained: Sequence[int]) -> int:
        """Drop the versions of one bucket's keys that no retained load shows. Returns how many.

        A key whose versions are all dropped goes. `retained` has to have the load that is being
        written, where there is one. With a lease it fails with VTLOST where Redis hasn't all trims
        before, as :meth:`write` does.
        """
        batch = self._trims.next(bucket)
        args = [self._number, *batch, " ".join(map(str, retained))]
        names = [*self._guards(bucket), *keys]
        return cast("int", self._trim(keys=cast("Any", names), args=cast("Any", args)))

    @property
    def _number(self) -> str:
        return self.lease.number if self.lease else ""

    def _guards(self, bucket: int) -> list[str]:
        tag = self.layout.tags[bucket]
        return [fence(self.prefix, tag), count(self.prefix, tag)]

    @contextmanager
    def _leased(self) -> Iterator[Generations]:
        if self.lease:
            yield self.generations
            return
        with hold(self.connection, self.prefix) as lease:
            lease.claim(self.layout)
            yield Generations(self.connection, self.prefix, self.layout.buckets, lease)


class Load:
    """Rows on their way to one view, sent a bucket and a batch at a time.

    :meth:`finish` sends the rest with the watermark.
    """

    def __init__(
        self, writer: StoreWriter, entry: ViewEntry, load: int, retained: Sequence[int]
    ) -> None:
        self.space = writer.keys(entry)
        self.entry = entry
        self.load = load
        self.retained = tuple(retained)
        self.lease = writer.lease
        self.written = 0
        self._writer = writer
        self._sender = Sender()
        self._waiting: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)

    def add(self, ids: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Send rows; some wait for the batch to fill.

        Raises:
            ContractError: an event time lies too far in the future; nothing of these rows is sent.
                No later row could take such a value's place.
        """
        self._check_ahead(ids, values)
        buckets = self.space.buckets
        if self.load:
            values = [with_load(value, self.load) for value in values]
        for name, key, value in zip(ids, self.space.of(ids), values, strict=True):
            bucket = crc32(name) % buckets
            waiting = self._waiting[bucket]
            waiting.append((key, value))
            if len(waiting) >= BATCH:
                self._send(bucket)

    def finish(self, watermark: Watermark | None = None, sent: Collection[str] = ()) -> int:
        """Send what waits; each bucket's last script call also moves its watermark.

        Returns how many values were written in all.

        It moves where Redis still has what this load and others of the run sent there (`sent`:
        their :meth:`sent`), as :meth:`StoreWriter.write` says.
        """
        for bucket in range(self.space.buckets):
            if (
                watermark
                or sent
                or self._waiting[bucket]
                or (self.lease and self._sender.sent[bucket])
            ):
                others = " ".join(Sender.count_of(bucket, counts) for counts in sent)
                self._send(bucket, str(watermark or ""), others)
        return self.written

    def sent(self) -> str:
        """What was sent to each bucket so far, as :meth:`finish` of another load takes it."""
        return self._sender.counts(self.space.buckets)

    def _send(self, bucket: int, watermark: str = "", others: str = "") -> None:
        self.written += self._writer.write(
            self.space,
            bucket,
            self._waiting.pop(bucket, []),
            watermark,
            ttl_us=self.entry.ttl_us,
            load=self.load,
            retained=self.retained,
            batch=self._sender.next(bucket),
            others=others,
        )

    def _check_ahead(self, ids: Sequence[bytes], values: Sequence[bytes]) -> None:
        event_us = headers(values)["event_us"]
        latest_us = time.time_ns() // 1000 + self._writer.max_ahead_us
        if (event_us <= latest_us).all():
            return
        at = int(np.argmax(event_us > latest_us))
        entries = self._writer.generations.entries().items()
        views = [view for view, entry in entries if entry.number == self.entry.number]
        raise ContractError(
            explain(
                f"view {', '.join(views)}, id {ids[at].decode(errors='replace')}",
                expected=f"an event time before {_instant(latest_us)} (`online.max_ahead`)",
                found=_instant(int(event_us[at])),
                mend="correct the row's event time; perhaps its unit is another one",
            )
        )


def _instant(us: int) -> str:
    """A time in a message; past the year 9999 as a number."""
    try:
        return moment(us)
    except OverflowError:
        return f"{us} microseconds since 1970"


def _is_as(entry: ViewEntry, schema: Schema) -> bool:
    """Whether an entry has this schema and join keys already."""
    return entry.schema == schema.hash and schema.keys in {(), entry.keys}


def grace_us(ttl_us: int) -> int:
    """How long a value stays after its TTL: as long as the TTL, but an hour to a day.

    From the time of writing where that is later.

    Readers judge the TTL by their own clocks; meanwhile they are told OUTSIDE_MAX_AGE, afterwards
    NOT_FOUND.

    >>> [grace_us(ttl * HOUR_US) / HOUR_US for ttl in (0.1, 6, 24 * 14)]
    [1.0, 6.0, 24.0]
    """
    return min(max(ttl_us, HOUR_US), DAY_US)


def _lifetime(ttl_us: int) -> tuple[int, int]:
    """The script's two arguments on how long values stay."""
    if not ttl_us:
        return 0, 0
    return ttl_us + grace_us(ttl_us), grace_us(ttl_us)
