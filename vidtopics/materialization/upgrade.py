"""Bringing a prefix of layout 1 to layout 2: copies beside the old keys, then one switch.

Values keep their times and count as load 0, so that every reader sees them; watermarks and notes go
along, and the next load goes on from there. What Feast wrote comes too, as no table has it. Until
the switch nothing of layout 1 is touched. A run that died on the way is simply made again; one that
died after the switch left the old keys, and a note of it (`layout1`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast
from zlib import crc32

from vidtopics.contracts import TOPIC_QUEUES
from vidtopics.failpoints import failpoint
from vidtopics.layout import KeySpace, Layout, Structures, ViewEntry, place
from vidtopics.layout.chain import lifted
from vidtopics.materialization.batches import chunks
from vidtopics.materialization.generations import Generations, entries_of, field_of, unlink
from vidtopics.materialization.lock import Lease, hold
from vidtopics.online.connections import Connection
from vidtopics.online.lists import WITHOUT_PARENTS

Entries = Mapping[str, tuple[ViewEntry, ViewEntry]]
NOTE = "layout1"


def upgrade_before_use(connection: Connection, prefix: str, buckets: int) -> bool:
    """Bring a prefix to layout 2 where it has layout 1, under the lock; whether it had."""
    text = cast("bytes | None", connection.get(place(prefix, "layout")))
    if text is None or Layout.from_json(prefix, text).version != 1:
        return False
    with hold(connection, prefix) as lease:
        upgrade(lease, buckets)
        Generations(connection, prefix, buckets, lease).sweep()
    return True


def upgrade(lease: Lease, buckets: int) -> bool:
    """Bring the holder's prefix to layout 2 where it has layout 1; whether it had.

    Another number of buckets is left to :meth:`Generations.open`, which refuses it.
    """
    connection, prefix = lease.connection, lease.prefix
    store = Generations(connection, prefix, buckets, lease)
    text = cast("bytes | None", connection.get(place(prefix, "layout")))
    old = Layout.from_json(prefix, text) if text else store.layout
    if old.version == 1 and old.buckets == buckets:
        lease.claim(old)
        lease.claim(store.layout)
        entries = {
            view: (entry, replace(entry, generation=_next(store, view, entry)))
            for view, entry in store.entries().items()
        }
        for before, after in entries.values():
            _copy_view(store, KeySpace(prefix, before.generation, before.number, old), after)
        facts = _copy_lists(store, old)
        failpoint("materialize.staged")
        _switch(store, entries, facts)
    if connection.exists(place(prefix, NOTE)):
        lease.claim(Layout(buckets, version=1))
        lease.claim(store.layout)
        _remove_old(store, lease)
    return old.version == 1


def _next(store: Generations, view: str, entry: ViewEntry) -> int:
    """A generation of the view for the copies, listed before its first key."""

    def change(pipe: Any) -> int:
        last = int(pipe.hget(place(store.prefix, "last"), str(entry.number)) or 0)
        number = max(entry.generation, last) + 1
        pipe.multi()
        pipe.hset(place(store.prefix, "generations"), f"{entry.number}:{number}", view)
        pipe.hset(place(store.prefix, "last"), str(entry.number), number)
        return number

    return store.change(change)


def _copy_view(store: Generations, old: KeySpace, entry: ViewEntry) -> None:
    """Values with their expiry, then the watermarks."""
    new, connection = store.keys(entry), cast("Any", store.connection)
    pattern = f"{store.prefix}:{old.generation}:{old.view}:{{*"
    for keys in chunks(connection.scan_iter(match=pattern, count=1_000), 500):
        with connection.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.get(key)
                pipe.pttl(key)
            answers = iter(pipe.execute())
        with connection.pipeline(transaction=False) as pipe:
            for key in keys:
                value, left_ms = next(answers), next(answers)
                (name,) = new.of([key.partition(b"}")[2]])
                if value is not None:
                    pipe.set(name, lifted(value), px=left_ms if left_ms > 0 else None)
            pipe.execute()
    with connection.pipeline(transaction=False) as pipe:
        for bucket in range(old.buckets):
            pipe.get(old.watermark(bucket))
        marks = pipe.execute()
    with connection.pipeline(transaction=False) as pipe:
        for bucket, mark in enumerate(marks):
            if mark:
                pipe.set(new.watermark(bucket), mark)
        pipe.execute()


def _copy_lists(store: Generations, old: Layout) -> dict[str, dict[str, Any]]:
    """The queues of the live epoch, as those of load 0. Returns the facts."""
    connection, prefix = cast("Any", store.connection), store.prefix
    facts = {
        name.decode(): json.loads(text)
        for name, text in connection.hgetall(place(prefix, "structures")).items()
        if text.startswith(b"{")
    }
    names = Structures(prefix, store.layout)
    queues = facts.get(TOPIC_QUEUES.name)
    if queues:
        before = Structures(prefix, old)
        for topic in queues["topics"]:
            _copy_list(connection, before.queue(queues["epoch"], topic), names.queue(0, topic))
        queues |= {**WITHOUT_PARENTS, "load": 0}
    return facts


def _copy_list(connection: Any, old: bytes, new: bytes) -> None:
    items = connection.lrange(old, 0, -1)
    if new == old or not items:
        return
    with connection.pipeline(transaction=False) as pipe:
        pipe.delete(new)
        for part in chunks(items, 1_000):
            pipe.rpush(new, *part)
        pipe.execute()


def _switch(store: Generations, entries: Entries, facts: Mapping[str, dict[str, Any]]) -> None:
    """Make the copies what readers see, and layout 2 the prefix's."""
    names = {n: place(store.prefix, n) for n in ("views", "schemas", "sources", "structures")}

    def change(pipe: Any) -> None:
        live = entries_of(pipe.hgetall(names["views"]))
        schemas = pipe.hkeys(names["schemas"])
        sources = pipe.hgetall(names["sources"])
        pipe.multi()
        for view, (before, after) in entries.items():
            if live.get(view) != before:
                continue  # done already, as the answer got lost
            pipe.hset(names["views"], view, after.to_json())
            pipe.hdel(place(store.prefix, "generations"), field_of(after))
            pipe.hset(place(store.prefix, "generations"), field_of(before), view)
            for schema in schemas:  # any of them may have been written
                pipe.hset(
                    place(store.prefix, "written"), f"{schema.decode()}:{field_of(after)}", ""
                )
            if text := sources.get(view.encode()):
                source = json.loads(text) | {"generation": after.generation}
                pipe.hset(names["sources"], view, json.dumps(source))
        pipe.delete(names["structures"])
        if queues := facts.get(TOPIC_QUEUES.name):
            pipe.hset(names["structures"], TOPIC_QUEUES.name, json.dumps(queues))
            pipe.hset(place(store.prefix, "queues"), "0", "")
        pipe.set(place(store.prefix, "layout"), store.layout.to_json())
        pipe.set(place(store.prefix, NOTE), "")
        pipe.incr(place(store.prefix, "directory"))

    store.change(change)


def _remove_old(store: Generations, lease: Lease) -> None:
    """Lists, marks and fences of layout 1; its generations are listed, and go with a sweep."""
    unlink(lease, _old_keys(store))
    old = Layout(store.layout.buckets, version=1)
    with store.connection.pipeline(transaction=False) as pipe:
        for tag in set(old.tags) - set(store.layout.tags):
            for kind in ("lists", "fence-count"):
                pipe.delete(f"{store.prefix}:{kind}:{{{tag}}}")
        pipe.execute()

    def change(pipe: Any) -> None:
        pipe.multi()
        pipe.delete(place(store.prefix, NOTE))

    store.change(change)


def _old_keys(store: Generations) -> Iterator[bytes]:
    """Queues whose hash tag isn't that of their name in layout 2, and users' clicks: now a view."""
    pattern = re.compile(
        rb"%s:(clicks|queue:\d+):\{([0-9a-z]+)\}(.*)" % re.escape(store.prefix.encode()), re.S
    )
    for key in store.connection.scan_iter(match=f"{store.prefix}:[cq]*", count=1_000):
        if match := pattern.match(key):
            tag = store.layout.tags[crc32(match[3]) % store.layout.buckets].encode()
            if match[1] == b"clicks" or match[2] != tag:
                yield key
