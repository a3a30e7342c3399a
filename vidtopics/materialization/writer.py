"""Writing values to Redis: the later of two rows wins, whatever order they come in, and the watermark moves with the last of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from zlib import crc32

import redis

from vidtopics.layout import KeySpace, Schema, ViewEntry, Watermark
from vidtopics.materialization.batches import Sender
from vidtopics.materialization.generations import Generations
from vidtopics.materialization.lock import COUNTED, LOST, Lease, count, fence, hold
from vidtopics.online.connections import Connection

BATCH = 500

# KEYS: the bucket's fence and count, its watermark, then keys of it. ARGV: the writer's number or "", sender and number of the batch, the new
# watermark or "", what other senders of the run have sent (sender and number, again and again), then the values. Times stand at byte 11 of a
# value's header; doubles hold microseconds exactly until the year 2255. A watermark doesn't go back to an earlier release unless it is of
# another table (a home made anew counts its releases from 1). Gives the number of values written.
WRITE = f"""{COUNTED}
for sender, number in string.gmatch(ARGV[5], '(%S+) (%d+)') do
  if (redis.call('HGET', KEYS[2], sender) or '0') ~= number then return redis.error_reply('{LOST}') end
end
local written = 0
for i = 4, #KEYS do
  local old = redis.call('GETRANGE', KEYS[i], 0, 25)
  local newer = #old < 26
  if not newer then
    local old_event, old_created = struct.unpack('<i8i8', old, 11)
    local event, created = struct.unpack('<i8i8', ARGV[i + 2], 11)
    newer = event > old_event or (event == old_event and created >= old_created)
  end
  if newer then
    redis.call('SET', KEYS[i], ARGV[i + 2])
    written = written + 1
  end
end
if ARGV[4] ~= '' then
  local old = redis.call('GET', KEYS[3])
  if not old or tonumber(string.match(old, '^%d+')) <= tonumber(string.match(ARGV[4], '^%d+'))
      or string.match(old, '%S+$') ~= string.match(ARGV[4], '%S+$') then
    redis.call('SET', KEYS[3], ARGV[4])
  end
end
return written
"""


class StoreWriter:
    """Writes views under one prefix, on one server or a cluster.

    Any number of writers may run at once: what they leave in a view doesn't depend on their order. A writer with a lease stops with
    LockError where a later holder has been.
    """

    def __init__(
        self, connection: Connection, *, prefix: str = "vt", buckets: int = 16, lease: Lease | None = None
    ) -> None:
        self.connection = connection
        self.prefix = prefix
        self.buckets = buckets
        self.lease = lease
        self.generations = Generations(connection, prefix, buckets, lease)
        self._script = cast("redis.Redis", connection).register_script(WRITE)
        self.generations.open(create=True)

    def register(self, view: str, schema: Schema, ttl_us: int = 0) -> ViewEntry:
        """Enter a view, or a change of its schema or TTL, into the directory; its entry.

        A view keeps its number for life, so that its keys stay its own. New fields at the end leave its values where they are; after any
        other change it goes on in a new, empty generation, and the old one's keys go.
        """
        held = self.generations.entries().get(view)
        if held and (held.schema, held.ttl_us) == (schema.hash, ttl_us):
            return held
        entry = self.generations.register(view, schema, ttl_us)
        if held and held.generation != entry.generation:
            self.sweep()
        return entry

    def keys(self, entry: ViewEntry) -> KeySpace:
        """The keys of a view."""
        return self.generations.keys(entry)

    def watermarks(self, entry: ViewEntry) -> list[Watermark | None]:
        """The watermark of each bucket."""
        return self.generations.watermarks(entry)

    def load(self, entry: ViewEntry) -> Load:
        """Begin to write rows of a view."""
        return Load(self, self.keys(entry))

    def drop(self, *views: str) -> int:
        """Remove views, their values and watermarks; how many keys went. Waits for a run that holds the lock."""
        with self._leased() as generations:
            for view in views:
                generations.drop(view)
            return generations.sweep()

    def sweep(self) -> int:
        """Remove the keys of generations that aren't live; how many there were. Waits for a run that holds the lock."""
        with self._leased() as generations:
            return generations.sweep()

    def write(
        self,
        space: KeySpace,
        bucket: int,
        rows: Sequence[tuple[bytes, bytes]],
        watermark: str = "",
        *,
        batch: tuple[str, str] = ("", "0"),
        others: str = "",
    ) -> int:
        """One script call: key and value pairs of one bucket; how many were newer than what was there.

        With a lease it fails with VTLOST where Redis hasn't all that the run sent to the bucket: the batches of the sender before `batch`, and
        those of `others`.
        """
        guards = [fence(self.prefix, bucket), count(self.prefix, bucket)]
        keys = [*guards, space.watermark(bucket), *(key for key, _ in rows)]
        number = self.lease.number if self.lease else ""
        values = (value for _, value in rows)
        return cast("int", self._script(keys=cast("Any", keys), args=[number, *batch, watermark, others, *values]))

    @contextmanager
    def _leased(self) -> Iterator[Generations]:
        if self.lease:
            yield self.generations
            return
        with hold(self.connection, self.prefix) as lease:
            lease.claim(self.buckets)
            yield Generations(self.connection, self.prefix, self.buckets, lease)


class Load:
    """Rows on their way to one view: sent a bucket and a batch at a time; :meth:`finish` sends the rest with the watermark."""

    def __init__(self, writer: StoreWriter, space: KeySpace) -> None:
        self.space = space
        self.lease = writer.lease
        self.written = 0
        self._writer = writer
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
        """Send what waits; each bucket's last script call also moves its watermark. How many values were written in all.

        It moves where Redis still has what this load and others of the run sent there (`sent`: their :meth:`sent`), as :meth:`StoreWriter.write`
        says.
        """
        for bucket in range(self._writer.buckets):
            if watermark or sent or self._waiting[bucket] or (self.lease and self._sender.sent[bucket]):
                others = " ".join(Sender.told_of(bucket, told) for told in sent)
                self._send(bucket, str(watermark or ""), others)
        return self.written

    def sent(self) -> str:
        """What was sent to each bucket so far, as :meth:`finish` of another load of the run takes it."""
        return self._sender.told(self._writer.buckets)

    def _send(self, bucket: int, watermark: str = "", others: str = "") -> None:
        rows, batch = self._waiting.pop(bucket, []), self._sender.next(bucket)
        self.written += self._writer.write(self.space, bucket, rows, watermark, batch=batch, others=others)
