"""Streams without what no generation needs any more, and what has landed in the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from vidtopics.events.generations import TRIMMED, opened, parts_of
from vidtopics.layout import place
from vidtopics.layout.live import LiveKeys
from vidtopics.online.connections import Connection

LANDED = "landed"
"""A hash beside the directory: `user:BUCKET` and `dead` to the last entry that landed."""

# What is gone stays gone: an earlier generation that is being opened must not lower it. A server at
# its `maxmemory` refuses a script whose first write needs room; trimming is what makes some.
_RAISE = """
redis.call('PERSIST', KEYS[1])
if tonumber(redis.call('GET', KEYS[1]) or 0) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1])
end
"""


def trim(connection: Connection, keys: LiveKeys, max_ahead_us: int) -> int:
    """Remove old entries; how many, or fewer, as Redis removes whole blocks.

    An entry isn't later than its event by less than `max_ahead_us` ahead, so what came that long
    before the earliest as-of time of a generation holds no event since. Users' entries stay until
    they have landed.
    """
    generations = opened(connection, keys.prefix)
    if not generations:
        return 0
    earliest = min(generation.as_of_us for generation in generations.values())
    connection.eval(_RAISE, 1, place(keys.prefix, TRIMMED), str(earliest))
    # Whoever opens an earlier one meanwhile looks at that after it has entered its own: one of the
    # two sees the other.
    generations = opened(connection, keys.prefix)
    if any(generation.as_of_us < earliest for generation in generations.values()):
        return 0
    before_ms = (earliest - max_ahead_us) // 1000
    landed = cast("Mapping[bytes, bytes]", connection.hgetall(place(keys.prefix, LANDED)))
    removed = 0
    with connection.pipeline(transaction=False) as pipe:
        for part, bucket in parts_of(keys):
            least = str(max(before_ms, 0))
            if part == "user":
                cursor = landed.get(f"user:{bucket}".encode(), b"0-0")
                if int(cursor.partition(b"-")[0]) < before_ms:
                    least = cursor.decode()
            pipe.xtrim(keys.stream(part, bucket), minid=least, approximate=True)
        if b"dead" in landed:
            pipe.xtrim(keys.dead, minid=landed[b"dead"].decode(), approximate=True)
        removed = sum(pipe.execute())
    return removed
