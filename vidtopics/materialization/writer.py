"""Writing values to Redis: the later of two rows wins, whatever order they come in, and the watermark moves with the last of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, cast
from zlib import crc32

import redis

from vidtopics.errors import StoreError, explain
from vidtopics.layout import Directory, KeySpace, Schema, ViewEntry, Watermark, layout_json, place

BATCH = 500
Item = TypeVar("Item")

# KEYS: the watermark, then keys of one bucket. ARGV: the new watermark or "", then their values. Times stand at byte 11 of a value's header;
# doubles hold microseconds exactly until the year 2255. A watermark doesn't go back to an earlier release unless it is of another table (a home
# made anew counts its releases from 1). Gives the number of values written.
WRITE = """
local written = 0
for i = 2, #KEYS do
  local old = redis.call('GETRANGE', KEYS[i], 0, 25)
  local newer = #old < 26
  if not newer then
    local old_event, old_created = struct.unpack('<i8i8', old, 11)
    local event, created = struct.unpack('<i8i8', ARGV[i], 11)
    newer = event > old_event or (event == old_event and created >= old_created)
  end
  if newer then
    redis.call('SET', KEYS[i], ARGV[i])
    written = written + 1
  end
end
if ARGV[1] ~= '' then
  local old = redis.call('GET', KEYS[1])
  if not old or tonumber(string.match(old, '^%d+')) <= tonumber(string.match(ARGV[1], '^%d+'))
      or string.match(old, '%S+$') ~= string.match(ARGV[1], '%S+$') then
    redis.call('SET', KEYS[1], ARGV[1])
  end
end
return written
"""


class StoreWriter:
    """Writes views under one prefix. Any number of writers may run at once: what they leave doesn't depend on their order."""

    def __init__(self, connection: redis.Redis, *, prefix: str = "vt", buckets: int = 16) -> None:
        self.connection = connection
        self.prefix = prefix
        self.buckets = buckets
        self._script = connection.register_script(WRITE)
        self._open()

    def register(self, view: str, schema: Schema, ttl_us: int = 0) -> ViewEntry:
        """Enter a view, or a change of its schema or TTL, into the directory; its entry.

        A view keeps its number for life, so that its keys stay its own.
        """
        views, schemas = place(self.prefix, "views"), place(self.prefix, "schemas")
        while True:
            with self.connection.pipeline() as pipe:
                pipe.watch(views)  # type: ignore[no-untyped-call]
                held = {name.decode(): text for name, text in cast("dict[bytes, bytes]", pipe.hgetall(views)).items()}
                entries = {name: _entry(text) for name, text in held.items()}
                number = (
                    entries[view].number
                    if view in entries
                    else max((e.number for e in entries.values()), default=0) + 1
                )
                generation = entries[view].generation if view in entries else 1
                entry = ViewEntry(number, generation, ttl_us, schema.hash)
                if entries.get(view) == entry:
                    return entry
                pipe.multi()
                pipe.hset(schemas, str(schema.hash), schema.to_json())
                pipe.hset(views, view, entry.to_json())
                pipe.incr(place(self.prefix, "directory"))
                try:
                    pipe.execute()
                except redis.WatchError:
                    continue
                return entry

    def keys(self, entry: ViewEntry) -> KeySpace:
        """The keys of a view."""
        return KeySpace(self.prefix, entry.generation, entry.number, self.buckets)

    def watermarks(self, entry: ViewEntry) -> list[Watermark | None]:
        """The watermark of each bucket."""
        space = self.keys(entry)
        texts = cast(
            "list[bytes | None]", self.connection.mget([cast("str", space.watermark(b)) for b in range(self.buckets)])
        )
        return [Watermark.parse(t) if t else None for t in texts]

    def load(self, entry: ViewEntry) -> Load:
        """Begin to write rows of a view."""
        return Load(self, self.keys(entry))

    def drop(self, view: str) -> int:
        """Remove a view, its values and watermarks; how many keys went."""
        entry = self._directory().views.get(view)
        if entry is None:
            return 0
        gone = 0
        # A drop that dies halfway must not leave watermarks that speak of values that are gone.
        for kind in (f"w{entry.number}", f"{entry.number}"):
            pattern = f"{self.prefix}:{entry.generation}:{kind}:{{*"
            for keys in chunks(self.connection.scan_iter(match=pattern, count=1_000), 1_000):
                gone += cast("int", self.connection.unlink(*keys))
        self.connection.hdel(place(self.prefix, "views"), view)
        self.connection.incr(place(self.prefix, "directory"))
        return gone

    def write(self, space: KeySpace, bucket: int, rows: Sequence[tuple[bytes, bytes]], watermark: str = "") -> int:
        """One script call: key and value pairs of one bucket; how many were newer than what was there."""
        keys = [space.watermark(bucket), *(key for key, _ in rows)]
        return cast("int", self._script(keys=cast("Any", keys), args=[watermark, *(value for _, value in rows)]))

    def _open(self) -> None:
        """Enter layout and number of buckets; StoreError where the prefix has another number."""
        wanted, key = layout_json(self.buckets), place(self.prefix, "layout")
        if not self.connection.set(key, wanted, nx=True):
            held = cast("bytes", self.connection.get(key)).decode()
            if held != wanted:
                raise StoreError(
                    explain(f"Redis, prefix {self.prefix!r}", expected=wanted, found=held,
                            mend="keep `online.buckets` as it was, or choose another `online.prefix`")
                )  # fmt: skip
        self.connection.setnx(place(self.prefix, "directory"), 1)

    def _directory(self) -> Directory:
        from vidtopics.online import OnlineClient

        return OnlineClient(self.connection, prefix=self.prefix).directory()


class Load:
    """Rows on their way to one view: sent a bucket and a batch at a time; :meth:`finish` sends the rest with the watermark."""

    def __init__(self, writer: StoreWriter, space: KeySpace) -> None:
        self.space = space
        self.written = 0
        self._writer = writer
        self._waiting: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)

    def add(self, ids: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Send rows; some wait for the batch to fill."""
        buckets = self._writer.buckets
        for name, key, value in zip(ids, self.space.of(ids), values, strict=True):
            bucket = crc32(name) % buckets
            waiting = self._waiting[bucket]
            waiting.append((key, value))
            if len(waiting) >= BATCH:
                self.written += self._writer.write(self.space, bucket, self._waiting.pop(bucket))

    def finish(self, watermark: Watermark | None = None) -> int:
        """Send what waits; each bucket's last script call also moves its watermark. How many values were written in all."""
        for bucket in range(self._writer.buckets):
            rows = self._waiting.pop(bucket, [])
            if rows or watermark:
                self.written += self._writer.write(self.space, bucket, rows, str(watermark or ""))
        return self.written


def _entry(text: bytes) -> ViewEntry:
    return ViewEntry(**json.loads(text))


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of at most `size`.

    >>> list(chunks("abc", 2))
    [['a', 'b'], ['c']]
    """
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
