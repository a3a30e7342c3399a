"""The lists of a set of live queues: those that differ from what is due are exchanged whole.

A list and its digest change in one script, so that the digests say what Redis has whoever wrote it.
`writes` of a bucket rises with each: where it isn't as this process left it, another one wrote, or
a server came back with an earlier state, and the bucket's digests are read again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any, cast

from vidtopics.events.calls import call_each
from vidtopics.events.changed_counts import ClosedError
from vidtopics.events.generations import Generation
from vidtopics.events.queue_sets import QueueSet
from vidtopics.events.scripts import CLOSED
from vidtopics.layout.live import LiveKeys
from vidtopics.online.connections import Connection

LISTS = 200
"""Lists in one message."""

# KEYS: the generation's `at` in the bucket, what is known of the bucket's lists, a list. ARGV: the
# as-of time, the list's name and digest (empty: it goes), its items. Lua's stack holds thousands.
_EXCHANGE = f"""
if redis.call('HGET', KEYS[1], 'as_of') ~= ARGV[1]
    or not redis.call('HGET', KEYS[2], 'writes') then
  return redis.error_reply('{CLOSED} ' .. KEYS[2])
end
if (redis.call('HGET', KEYS[2], ARGV[2]) or '') == ARGV[3] then return 0 end
redis.call('DEL', KEYS[3])
for i = 4, #ARGV, 1000 do
  redis.call('RPUSH', KEYS[3], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[2], ARGV[2])
else
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
end
redis.call('HINCRBY', KEYS[2], 'writes', 1)
return 1
"""


class QueueLists:
    """Writes the lists of a set; any number of them may write at the same time."""

    def __init__(
        self, connection: Connection, keys: LiveKeys, generation: Generation, queues: QueueSet
    ) -> None:
        self.connection, self.keys = connection, keys
        self.generation, self.queues = generation, queues
        self._writes: dict[int, int] = {}
        self._stored: dict[str, bytes] = {}
        self._due: dict[str, bytes] = {}

    def outdated(self) -> set[str]:
        """Names of the lists that Redis has otherwise than this process wrote them.

        Raises:
            ClosedError: the set was dropped, or lost with a server.
        """
        heads = [
            self.keys.queue_lists(*self.queues, bucket)
            for bucket in range(self.keys.layout.buckets)
        ]
        with self.connection.pipeline(transaction=False) as pipe:
            for head in heads:
                pipe.hget(head, "writes")
            writes = cast("list[bytes | None]", pipe.execute())
        if None in writes:
            raise ClosedError(f"{CLOSED} queues {self.queues}")
        other = [b for b, n in enumerate(writes) if self._writes.get(b) != int(n or 0)]
        if other:
            self._read([heads[bucket] for bucket in other], other)
        names = self._due.keys() | self._stored.keys()
        return {name for name in names if self._due.get(name) != self._stored.get(name)}

    def write(self, lists: Mapping[str, Sequence[bytes]]) -> int:
        """Exchange those of the lists that Redis has otherwise; how many. One without items goes.

        Raises:
            ClosedError: the generation or the set was dropped.
        """
        for name, items in lists.items():
            if items:
                self._due[name] = _digest(items)
            else:
                self._due.pop(name, None)
        names = [name for name in lists if self._due.get(name) != self._stored.get(name)]
        written = 0
        for start in range(0, len(names), LISTS):
            written += self._exchange(names[start : start + LISTS], lists)
        return written

    def _exchange(self, names: Collection[str], lists: Mapping[str, Sequence[bytes]]) -> int:
        calls = [(_EXCHANGE, self._call(name, lists[name])) for name in names]
        answers = call_each(self.connection, calls)
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, Exception):
                raise ClosedError(str(answer)) if str(answer).startswith(CLOSED) else answer
            self._writes[self.keys.bucket(name.encode())] += answer
            self._settle(name)
        return sum(answers)

    def _settle(self, name: str) -> None:
        """Redis has the list as it is due."""
        if name in self._due:
            self._stored[name] = self._due[name]
        else:
            self._stored.pop(name, None)

    def _call(self, name: str, items: Sequence[bytes]) -> list[Any]:
        bucket = self.keys.bucket(name.encode())
        names = [
            self.keys.state(self.generation.release, "video", "at", bucket),
            self.keys.queue_lists(*self.queues, bucket),
            self.keys.queue(*self.queues, name),
        ]
        digest = self._due.get(name, b"")
        return [len(names), *names, self.generation.as_of_us, name, digest, *items]

    def _read(self, heads: Sequence[str], buckets: Sequence[int]) -> None:
        """What Redis has of the lists of some buckets."""
        with self.connection.pipeline(transaction=False) as pipe:
            for head in heads:
                pipe.hgetall(head)
            fields = cast("list[dict[bytes, bytes]]", pipe.execute())
        read = set(buckets)
        self._stored = {
            name: digest
            for name, digest in self._stored.items()
            if self.keys.bucket(name.encode()) not in read
        }
        for bucket, digests in zip(buckets, fields, strict=True):
            self._writes[bucket] = int(digests.pop(b"writes", 0))
            self._stored |= {name.decode(): digest for name, digest in digests.items()}


def _digest(items: Sequence[bytes]) -> bytes:
    r"""16 characters that say which list it is; ids have no line ends.

    >>> _digest([b"v1", b"v2"]) == _digest([b"v2", b"v1"])
    False
    """
    return blake2b(b"\n".join(items), digest_size=8).hexdigest().encode()
