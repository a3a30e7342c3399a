"""Sets of live queues: which there are, which readers may go by, how old each is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from vidtopics.events.calls import call_each
from vidtopics.layout import place
from vidtopics.layout.directory import LIVE_QUEUES
from vidtopics.layout.live import QUEUE_REFRESHES, LiveKeys
from vidtopics.online.connections import Connection

# KEYS: `live_queues`, the directory's version. ARGV: the set, since when. A change of what readers
# go by raises the version, so that they look again.
_ENTER = """
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then redis.call('INCR', KEYS[2]) end
"""
_LEAVE = "if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then redis.call('INCR', KEYS[2]) end"

# KEYS: what is known of a bucket's lists, and all of them. A list that came since is told by the
# number of fields.
_UNLINK = """
local fields = redis.call('HLEN', KEYS[1])
if fields ~= 0 and fields ~= #KEYS then return 0 end
for i = 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 1
"""


class QueueSet(NamedTuple):
    """Live queues: of the events of a release's generation, over the members of a load's queues.

    >>> str(QueueSet(7, 4)), QueueSet.parse(b"7:4")
    ('7:4', QueueSet(release=7, load=4))
    """

    release: int
    load: int

    @classmethod
    def parse(cls, text: bytes) -> QueueSet:
        """From its text, the field that it has in the directory."""
        release, load = text.split(b":")
        return cls(int(release), int(load))

    def __str__(self) -> str:
        return f"{self.release}:{self.load}"


@dataclass(frozen=True)
class Refreshes:
    """What refreshes did to a set, all consumers together.

    Attributes:
        at_us: when the last one ended, microseconds; 0: none did.
        refreshes: how many ended.
        written: lists that they wrote.
        version: refreshes that wrote any.
        is_read: whether readers go by the set.
    """

    at_us: int
    refreshes: int
    written: int
    version: int
    is_read: bool


def known_sets(connection: Connection, prefix: str) -> dict[QueueSet, Refreshes]:
    """The sets that were begun and not dropped."""
    with connection.pipeline(transaction=False) as pipe:
        pipe.hgetall(place(prefix, QUEUE_REFRESHES))
        pipe.hkeys(place(prefix, LIVE_QUEUES))
        fields, read = cast("tuple[Mapping[bytes, bytes], list[bytes]]", pipe.execute())
    sets = {name: QueueSet.parse(name) for name in fields if name.count(b":") == 1}
    return {
        queues: Refreshes(
            int(fields[name]),
            refreshes=int(fields.get(name + b":refreshes", 0)),
            written=int(fields.get(name + b":written", 0)),
            version=int(fields.get(name + b":version", 0)),
            is_read=name in read,
        )
        for name, queues in sets.items()
    }


def begin(connection: Connection, keys: LiveKeys, queues: QueueSet) -> None:
    """Enter a set before its first list, so that whoever drops its release finds them all."""
    connection.hsetnx(place(keys.prefix, QUEUE_REFRESHES), str(queues), "0")
    with connection.pipeline(transaction=False) as pipe:
        for bucket in range(keys.layout.buckets):
            pipe.hsetnx(keys.queue_lists(*queues, bucket), "writes", "0")
        pipe.execute()


def let_read(connection: Connection, prefix: str, queues: QueueSet, now_us: int) -> None:
    """Let readers go by a set, as all of its lists are there."""
    names = [place(prefix, LIVE_QUEUES), place(prefix, "directory")]
    connection.eval(_ENTER, 2, *names, str(queues), str(now_us))


def note(connection: Connection, prefix: str, queues: QueueSet, now_us: int, written: int) -> None:
    """Note a refresh once its lists are written."""
    key, name = place(prefix, QUEUE_REFRESHES), str(queues)
    with connection.pipeline(transaction=False) as pipe:
        pipe.hset(key, name, str(now_us))
        pipe.hincrby(key, f"{name}:refreshes", 1)
        if written:
            pipe.hincrby(key, f"{name}:written", written)
            pipe.hincrby(key, f"{name}:version", 1)
        pipe.execute()


def drop_set(connection: Connection, keys: LiveKeys, queues: QueueSet) -> None:
    """Remove a set; who comes late to write one of its lists is refused."""
    names = [place(keys.prefix, LIVE_QUEUES), place(keys.prefix, "directory")]
    connection.eval(_LEAVE, 2, *names, str(queues))
    buckets = list(range(keys.layout.buckets))
    while buckets:
        lists = _lists(connection, keys, queues, buckets)
        answers = call_each(connection, [(_UNLINK, [len(names), *names]) for names in lists])
        if error := next((a for a in answers if isinstance(a, Exception)), None):
            raise error
        buckets = [bucket for bucket, gone in zip(buckets, answers, strict=True) if not gone]
    texts = [str(queues), *(f"{queues}:{what}" for what in ("refreshes", "written", "version"))]
    connection.hdel(place(keys.prefix, QUEUE_REFRESHES), *texts)


def _lists(
    connection: Connection, keys: LiveKeys, queues: QueueSet, buckets: list[int]
) -> list[list[Any]]:
    """Of each bucket the key of what is known of its lists, and those of the lists."""
    heads = [keys.queue_lists(*queues, bucket) for bucket in buckets]
    with connection.pipeline(transaction=False) as pipe:
        for head in heads:
            pipe.hkeys(head)
        fields = cast("list[list[bytes]]", pipe.execute())
    return [
        [head, *(keys.queue(*queues, name.decode()) for name in names if name != b"writes")]
        for head, names in zip(heads, fields, strict=True)
    ]
