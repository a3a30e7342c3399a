"""Redis without some people: values, live state, streams, dead letters, what was held back."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import redis

from vidtopics.contracts import VIEWS
from vidtopics.erasure.ids import Ids
from vidtopics.errors import StoreError, explain
from vidtopics.layout import ViewEntry, place
from vidtopics.layout.live import KINDS
from vidtopics.online.connections import Connection

PAGE = 1_000
REWRITE_S = 600.0
# KEYS: a stream, a free key in its slot. ARGV: numbers of entries to leave out. A deleted entry's
# bytes stay in its node until the node goes, so the stream is written anew; its last number and its
# count of entries stay.
_REWRITE = """
local out = {}
for i = 1, #ARGV do out[ARGV[i]] = true end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if #last == 0 then return 0 end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
local known = {}
for i = 1, #info, 2 do known[info[i]] = info[i + 1] end
redis.call('DEL', KEYS[2])
local from, removed, kept = '-', 0, 0
while true do
  local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1000)
  for i = 1, #entries do
    if out[entries[i][1]] then removed = removed + 1
    else
      kept = kept + 1
      redis.call('XADD', KEYS[2], entries[i][1], unpack(entries[i][2]))
    end
  end
  if #entries < 1000 then break end
  from = '(' .. entries[#entries][1]
end
if kept == 0 then
  redis.call('XADD', KEYS[2], last[1][1], 'x', '')
  redis.call('XDEL', KEYS[2], last[1][1])
end
if known['entries-added'] then
  redis.call('XSETID', KEYS[2], known['last-generated-id'],
    'ENTRIESADDED', known['entries-added'], 'MAXDELETEDID', known['max-deleted-entry-id'])
else
  redis.call('XSETID', KEYS[2], known['last-generated-id'])
end
redis.call('RENAME', KEYS[2], KEYS[1])
return removed
"""


@dataclass
class Store:
    """The keys of a prefix that may say something of a person."""

    values: list[bytes] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    applied: list[bytes] = field(default_factory=list)
    users: list[bytes] = field(default_factory=list)
    videos: list[bytes] = field(default_factory=list)
    dead: list[bytes] = field(default_factory=list)
    held: list[bytes] = field(default_factory=list)

    @classmethod
    def scan(cls, connection: Connection, prefix: str, ids: Ids) -> Store:
        """Look at every key of the prefix: also at those of generations that nobody reads."""
        start = re.escape(prefix.encode())
        value = re.compile(start + rb":\d+:(\d+):\{[^}]*\}(.+)", re.DOTALL)
        others = _views_of_others(connection, prefix, ids)
        kinds = {
            "states": re.compile(start + rb":live:\d+:user:state:\{[^}]*\}"),
            "applied": re.compile(start + rb":live:\d+:(?:user|video):ids:\{[^}]*\}"),
            "users": re.compile(start + rb":events:user:\{[^}]*\}"),
            "videos": re.compile(start + rb":events:video:\{[^}]*\}"),
            "dead": re.compile(start + rb":events:dead:\{[^}]*\}"),
            "held": re.compile(start + rb":\{[^}]*\}:landing-held"),
        }
        store = cls()
        keys: Iterable[Any] = connection.scan_iter(match=f"{prefix}:*", count=10_000)
        for key in keys:
            if named := value.fullmatch(key):
                if named[2] in ids.encoded and int(named[1]) not in others:
                    store.values.append(key)
                continue
            for kind, pattern in kinds.items():
                if pattern.fullmatch(key):
                    getattr(store, kind).append(key)
        return store


def _views_of_others(connection: Connection, prefix: str, ids: Ids) -> set[int]:
    """Numbers of the views whose keys end with ids of videos: one may be a user's id too."""
    texts = cast("dict[bytes, bytes]", connection.hgetall(place(prefix, "views")))
    numbers = set()
    for name, text in texts.items():
        entry, table = ViewEntry.from_json(text), VIEWS.get(name.decode())
        keys = entry.keys or (table.key if table else ())
        if keys and not set(keys) & ids.columns:
            numbers.add(entry.number)
    return numbers


def events_of(connection: Connection, store: Store, ids: Ids) -> set[bytes]:
    """Ids of the people's events that the streams have."""
    return {
        fields[b"e"]
        for stream in store.users
        for _, fields in entries(connection, stream)
        if b"e" in fields and is_theirs(fields, ids)
    }


def erase_online(
    connection: Connection, prefix: str, ids: Ids, events: Iterable[str]
) -> dict[str, int]:
    """Erase people from the keys of a prefix; what went, by kind.

    Values of users in all generations, live states, entries of their events in both streams, the
    ids of those events, dead letters, and events held back. Counts of videos stay as they are.

    Args:
        connection: a server or a cluster.
        prefix: how the home's keys begin.
        ids: who.
        events: ids of their events that the log has.

    Raises:
        redis.exceptions.RedisError: a server can't be reached, or refuses; erase again.
    """
    store = Store.scan(connection, prefix, ids)
    theirs = {event.encode() for event in events} | events_of(connection, store, ids)
    # The ids go before the entries, which name them after a death; and once more, with the states,
    # as a consumer may have applied entries in between.
    forgotten = _forget_all(connection, store, theirs)
    went = {
        "entries": sum(
            _rewrite(connection, stream, _places(connection, stream, ids, theirs))
            for stream in (*store.videos, *store.users)
        ),
        "dead_letters": sum(
            _rewrite(connection, stream, _dead_places(connection, stream, ids))
            for stream in store.dead
        ),
        "held": sum(_unhold(connection, key, ids) for key in store.held),
        "states": sum(
            int(cast("int", connection.hdel(_text(key), *cast("Any", part))))
            for key in store.states
            for part in _pages(sorted(ids.encoded))
        ),
        "event_ids": forgotten + _forget_all(connection, store, theirs),
        "values": sum(
            int(cast("int", connection.unlink(*cast("Any", [key])))) for key in store.values
        ),
    }
    return {kind: number for kind, number in went.items() if number}


def rewrite_files(connection: Connection) -> list[str]:
    """Let each server write its own files anew, and wait; servers that refused, with the reason.

    What a server appended to its log, or dumped, has what was erased until then.
    """
    refused = []
    for node in _nodes(connection):
        try:
            _rewrite_files_of(node)
        except redis.ResponseError as error:
            refused.append(str(error))
    return refused


def _rewrite_files_of(node: redis.Redis) -> None:
    state = cast("dict[str, Any]", node.info("persistence"))
    if state.get("aof_enabled"):
        _wait(node, "aof_rewrite_in_progress", "aof_rewrite_scheduled")
        cast("Any", node).bgrewriteaof()
        _wait(node, "aof_rewrite_in_progress", "aof_rewrite_scheduled")
        state = cast("dict[str, Any]", node.info("persistence"))
        if state.get("aof_last_bgrewrite_status") != "ok":
            raise redis.ResponseError("BGREWRITEAOF failed; see the server's log")
    if state.get("rdb_last_save_time") and _dumps(node):
        _wait(node, "rdb_bgsave_in_progress")
        node.bgsave()
        _wait(node, "rdb_bgsave_in_progress")


def _dumps(node: redis.Redis) -> bool:
    """Whether the server dumps from time to time."""
    return bool(cast("dict[str, str]", node.config_get("save")).get("save"))


def _wait(node: redis.Redis, *flags: str) -> None:
    until = time.monotonic() + REWRITE_S
    while any(cast("dict[str, Any]", node.info("persistence")).get(flag) for flag in flags):
        if time.monotonic() > until:
            raise StoreError(
                explain(
                    "Redis",
                    expected=f"its files rewritten within {REWRITE_S:.0f} s",
                    found="that it is at it still",
                    mend="run the command again later",
                )
            )
        time.sleep(0.02)


def _nodes(connection: Connection) -> list[redis.Redis]:
    if isinstance(connection, redis.RedisCluster):
        return [
            connection.get_redis_connection(node) for node in cast("Any", connection).get_nodes()
        ]
    return [connection]


def entries(connection: Connection, stream: bytes) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """A stream's entries in their order: number and fields."""
    first = "-"
    while True:
        page = cast(
            "list[tuple[bytes, dict[bytes, bytes]]]",
            connection.xrange(_text(stream), min=first, count=PAGE),
        )
        yield from page
        if len(page) < PAGE:
            return
        first = f"({page[-1][0].decode()}"


def is_theirs(fields: dict[bytes, bytes], ids: Ids) -> bool:
    """Whether a stream's entry is of one of the people."""
    return fields.get(b"u") in ids.encoded or any(
        name.decode(errors="replace") in ids.columns and value in ids.encoded
        for name, value in fields.items()
    )


def _places(connection: Connection, stream: bytes, ids: Ids, events: set[bytes]) -> list[bytes]:
    return [
        number
        for number, fields in entries(connection, stream)
        if is_theirs(fields, ids) or fields.get(b"e") in events
    ]


def _dead_places(connection: Connection, stream: bytes, ids: Ids) -> list[bytes]:
    return [
        number
        for number, fields in entries(connection, stream)
        if any(ids.named_in_line(value) for value in fields.values())
    ]


def _rewrite(connection: Connection, stream: bytes, numbers: Sequence[bytes]) -> int:
    if not numbers:
        return 0
    script = cast("Any", connection)
    return int(script.eval(_REWRITE, 2, stream, stream + b":erasing", *numbers))


def _unhold(connection: Connection, key: bytes, ids: Ids) -> int:
    """Events that wait for their time."""
    members: Any = connection.zrange(_text(key), 0, -1)
    theirs = [member for member in members if ids.named_in_line(member)]
    return int(cast("int", connection.zrem(_text(key), *theirs))) if theirs else 0


def _forget_all(connection: Connection, store: Store, events: set[bytes]) -> int:
    return sum(_forget(connection, key, events) for key in store.applied)


def _forget(connection: Connection, key: bytes, events: set[bytes]) -> int:
    members = [letter.encode() + event for event in sorted(events) for letter in KINDS.values()]
    return sum(
        int(cast("int", connection.srem(_text(key), *cast("Any", part))))
        for part in _pages(members)
    )


def _pages(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (values[start : start + PAGE] for start in range(0, len(values), PAGE))


def _text(key: bytes) -> Any:
    """A key as redis-py takes it: bytes, which its types don't name."""
    return key
