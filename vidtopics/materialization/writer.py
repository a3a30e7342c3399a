"""Writing values to Redis: the later of two rows wins, the watermark moves with the last batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from zlib import crc32

import redis

from vidtopics.layout import KeySpace, Schema, ViewEntry, Watermark
from vidtopics.materialization.batches import Sender
from vidtopics.materialization.generations import Generations, unlink
from vidtopics.materialization.lock import COUNTED, LOST, Lease, count, fence, hold
from vidtopics.online.connections import Connection

BATCH = 500
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US

# KEYS: the bucket's fence and count, its watermark, then keys of it. ARGV: the writer's number or
# "", sender and number of the batch, the new watermark or "", what other senders of the run have
# sent (sender and number, again and again), how long Redis keeps a value from its event time on
# (microseconds; 0: for ever) and how long from now on at least, then the values. Times stand at
# byte 11 of a value's header; doubles hold microseconds exactly until the year 2255. A watermark
# doesn't go back to an earlier version unless it is of another table (a home made anew; releases
# may also be counted anew, from a backup). Gives the number of values written.
WRITE = f"""{COUNTED}
for sender, number in string.gmatch(ARGV[5], '(%S+) (%d+)') do
  if (redis.call('HGET', KEYS[2], sender) or '0') ~= number then
    return redis.error_reply('{LOST}')
  end
end
local written, stay, least = 0, tonumber(ARGV[6]), 0
if stay > 0 then
  local now = redis.call('TIME')
  least = now[1] * 1000000 + now[2] + ARGV[7]
end
for i = 4, #KEYS do
  local value = ARGV[i + 4]
  local old = redis.call('GETRANGE', KEYS[i], 0, 25)
  local event, created = struct.unpack('<i8i8', value, 11)
  local newer = #old < 26
  if not newer then
    local old_event, old_created = struct.unpack('<i8i8', old, 11)
    newer = event > old_event or (event == old_event and created >= old_created)
  end
  if newer then
    if stay > 0 then
      local until_ms = math.ceil(math.max(event + stay, least) / 1000)
      redis.call('SET', KEYS[i], value, 'PXAT', string.format('%.0f', until_ms))
    else
      redis.call('SET', KEYS[i], value)
    end
    written = written + 1
  end
end
if ARGV[4] ~= '' then
  local old = redis.call('GET', KEYS[3])
  local version = tonumber(string.match(ARGV[4], '^%d+ (%d+)'))
  if not old or tonumber(string.match(old, '^%d+ (%d+)')) <= version
      or string.match(old, '%S+$') ~= string.match(ARGV[4], '%S+$') then
    redis.call('SET', KEYS[3], ARGV[4])
  end
end
return written
"""


class StoreWriter:
    """Writes views under one prefix, on one server or a cluster.

    Any number of writers may run at once: what they leave in a view doesn't depend on their order.
    A writer with a lease stops with LockError where a later holder has been.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        prefix: str = "vt",
        buckets: int = 16,
        lease: Lease | None = None,
    ) -> None:
        self.connection = connection
        self.prefix = prefix
        self.buckets = buckets
        self.lease = lease
        self.generations = Generations(connection, prefix, buckets, lease)
        self._script = cast("redis.Redis", connection).register_script(WRITE)
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

    def load(self, entry: ViewEntry) -> Load:
        """Begin to write rows of a view."""
        return Load(self, self.keys(entry), entry.ttl_us)

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
        batch: tuple[str, str] = ("", "0"),
        others: str = "",
    ) -> int:
        """Write key and value pairs of one bucket by one script call. Returns how many were newer.

        Values of a view with a TTL leave Redis some time after it has passed (:func:`grace_us`).
        With a lease it fails with VTLOST where Redis hasn't all that the run sent to the bucket:
        the batches of the sender before `batch`, and those of `others`.
        """
        guards = [fence(self.prefix, bucket), count(self.prefix, bucket)]
        keys = [*guards, space.watermark(bucket), *(key for key, _ in rows)]
        number = self.lease.number if self.lease else ""
        values = (value for _, value in rows)
        args = cast("Any", [number, *batch, watermark, others, *_kept(ttl_us), *values])
        return cast("int", self._script(keys=cast("Any", keys), args=args))

    @contextmanager
    def _leased(self) -> Iterator[Generations]:
        if self.lease:
            yield self.generations
            return
        with hold(self.connection, self.prefix) as lease:
            lease.claim(self.buckets)
            yield Generations(self.connection, self.prefix, self.buckets, lease)


class Load:
    """Rows on their way to one view, sent a bucket and a batch at a time.

    :meth:`finish` sends the rest with the watermark.
    """

    def __init__(self, writer: StoreWriter, space: KeySpace, ttl_us: int = 0) -> None:
        self.space = space
        self.lease = writer.lease
        self.written = 0
        self._writer = writer
        self._ttl_us = ttl_us
        self._sender = Sender()
        self._waiting: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)

    def add(self, ids: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Send rows; some wait for the batch to fill."""
        buckets = self._writer.buckets
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
        for bucket in range(self._writer.buckets):
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
        return self._sender.counts(self._writer.buckets)

    def _send(self, bucket: int, watermark: str = "", others: str = "") -> None:
        rows, batch = self._waiting.pop(bucket, []), self._sender.next(bucket)
        write = self._writer.write
        self.written += write(
            self.space, bucket, rows, watermark, ttl_us=self._ttl_us, batch=batch, others=others
        )


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


def _kept(ttl_us: int) -> tuple[int, int]:
    """The script's two arguments on how long values stay."""
    if not ttl_us:
        return 0, 0
    return ttl_us + grace_us(ttl_us), grace_us(ttl_us)
