"""The directory as writers change it: which views there are, which generation of each is live, and which have to go.

A view's keys carry the number of a generation. A new one is filled beside the live one and becomes
live with one change of the directory (:meth:`Generations.switch`). Generations that aren't live
stand in a list, from before their first key is written until their last is gone, so that whoever
comes after a crash finds and removes them (:meth:`Generations.sweep`).
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar, cast

import redis

from vidtopics.errors import StoreError, explain
from vidtopics.layout import KeySpace, Schema, ViewEntry, Watermark, layout_json, place
from vidtopics.materialization.batches import bucket_of, chunks
from vidtopics.materialization.lock import GUARD, Lease, fence, queue, transaction
from vidtopics.online.connections import Connection

Result = TypeVar("Result")
By = Literal["load", "push", "apply"]
"""Who enters a view: a load by its contract, a push of rows by a registry that may be old, or `feast apply`."""
CLUSTER_GRACE_S = 5.0

# KEYS: fence, then keys of its bucket. ARGV: the writer's number. Gives how many there were.
UNLINK = f"{GUARD} return redis.call('UNLINK', unpack(KEYS, 2))"


class Generations:
    """The directory of one prefix. Any writer may register a view; all else takes a lease, as it ends in keys that go."""

    def __init__(
        self, connection: Connection, prefix: str, buckets: int, lease: Lease | None = None
    ) -> None:
        self.connection = connection
        self.prefix = prefix
        self.buckets = buckets
        self.lease = lease

    def open(self, *, create: bool) -> None:
        """See that the prefix has this layout and number of buckets; enter them where it has none and `create` is set.

        Raises:
            StoreError: it has others.
        """
        wanted, key = layout_json(self.buckets), place(self.prefix, "layout")
        held = cast("bytes | None", self.connection.get(key))
        if held is None and create:
            self._make(wanted)
            held = cast("bytes | None", self.connection.get(key))
        if held is not None and held.decode() != wanted:
            raise StoreError(
                explain(
                    f"Redis, prefix {self.prefix!r}",
                    expected=wanted,
                    found=held.decode(),
                    mend="keep `buckets` as they were (a teardown leaves them), or choose another `prefix`",
                )
            )

    def _make(self, layout: str) -> None:
        """Enter the layout. No version and no view's number is used twice under a prefix, even where its directory was lost and values weren't.

        Versions begin at the clock; numbers at 1 (keys stay short), and at the clock where a
        bucket's fence shows that there was a directory.
        """
        fences = [fence(self.prefix, bucket) for bucket in range(self.buckets)]
        with self.connection.pipeline(transaction=False) as pipe:
            for name in fences:
                pipe.exists(name)
            used = any(pipe.execute())

        def change(pipe: Any) -> None:
            there = pipe.exists(place(self.prefix, "layout"))
            pipe.multi()
            if not there:
                pipe.set(place(self.prefix, "numbers"), int(time.time()) if used else 0)
                pipe.set(place(self.prefix, "directory"), time.time_ns() // 1000)
                pipe.set(place(self.prefix, "layout"), layout)

        transaction(self.connection, change, place(self.prefix, "layout"))
        # After the layout: whoever finds a fence and no layout knows that one was lost, and hasn't
        # only come second.
        with self.connection.pipeline(transaction=False) as pipe:
            for name in fences:
                pipe.set(name, 0, nx=True)
            pipe.execute()

    def entries(self) -> dict[str, ViewEntry]:
        """Every view's entry."""
        return _entries(
            cast("dict[bytes, bytes]", self.connection.hgetall(place(self.prefix, "views")))
        )

    def schemas(self) -> list[Schema]:
        """Every schema that values were written by."""
        held = cast("dict[bytes, bytes]", self.connection.hgetall(place(self.prefix, "schemas")))
        return [Schema.from_json(text) for text in held.values()]

    def fits(self, entry: ViewEntry, schema: Schema) -> bool:
        """Whether values of `schema` may lie among the entry's: the same join keys; the same fields, more behind them, or the first alone."""
        text = cast("bytes | None", self.connection.hget(self._schemas, str(entry.schema)))
        return _same_keys(entry, schema) and (_fits(text, schema) or _before(text, schema))

    def register(self, view: str, schema: Schema, ttl_us: int, *, by: By = "load") -> ViewEntry:
        """Enter a view, or a change of its TTL or fields; its entry.

        Where join keys changed, or fields otherwise than by new ones at the end, the view goes on
        in a new generation, empty until it is written to: :meth:`begin` and :meth:`switch` are for
        those who can fill it first. A writer that knows the first fields alone (its registry is
        from before the others came) changes nothing: its rows carry its own schema, and the others
        read as null there.

        An "apply" begins no generation: it leaves a note of what it wants, and live values stay
        until they are loaded or pushed to by that. A "push" can't tell whether its registry is
        older than the values that would go, so it begins one by such a note alone.

        Raises:
            StoreError: a push by fields or join keys that neither live values nor the note fit.
        """

        def change(pipe: Any) -> ViewEntry:
            entries, listed = (
                _entries(pipe.hgetall(self._views)),
                _listed(pipe.hgetall(self._others)),
            )
            held = entries.get(view)
            text = pipe.hget(self._schemas, str(held.schema)) if held else None
            known = pipe.hexists(self._schemas, str(schema.hash))
            entry = _on(held, text, schema, ttl_us, by)
            kept = entry is not None
            if (
                held
                and not kept
                and by == "push"
                and not _allowed(pipe.hget(self._wanted, view), schema)
            ):
                raise _older(view, schema)
            if held and not kept and by == "apply":
                pipe.multi()
                pipe.hset(self._wanted, view, _note(schema))
                return held
            if entry is None:
                number = (
                    held.number if held else _next_number(pipe.get(self._numbers), entries, listed)
                )
                entry = ViewEntry(
                    number,
                    _next_generation(number, entries, listed),
                    ttl_us,
                    schema.hash,
                    schema.keys,
                )
            pipe.multi()
            if by == "apply":
                pipe.hdel(self._wanted, view)
            if entry != held or not known:
                self._enter(pipe, view, entry, schema, retired=held if held and not kept else None)
            if not held:
                pipe.set(self._numbers, entry.number)
            return entry

        return self._change(change)

    def begin(self, view: str, schema: Schema, ttl_us: int) -> ViewEntry:
        """The entry that the view will have: its next generation, listed as half-made. Readers don't see it before :meth:`switch`."""

        def change(pipe: Any) -> ViewEntry:
            entries, listed = (
                _entries(pipe.hgetall(self._views)),
                _listed(pipe.hgetall(self._others)),
            )
            held = entries[view]
            generation = _next_generation(held.number, entries, listed)
            entry = ViewEntry(
                held.number, generation, ttl_us, schema.hash, schema.keys or held.keys
            )
            pipe.multi()
            pipe.hset(self._others, _field(entry), view)
            return entry

        return self._change(change)

    def switch(self, view: str, entry: ViewEntry, schema: Schema, source: str) -> None:
        """Make a generation the live one and list the one before it, at once; `source` is what :meth:`source` then gives."""

        def change(pipe: Any) -> None:
            held = _entries(pipe.hgetall(self._views))[view]
            pipe.multi()
            if held != entry:
                pipe.hdel(self._others, _field(entry))
                pipe.hset(self._sources, view, source)
                self._enter(pipe, view, entry, schema, retired=held)

        self._change(change)

    def watermarks(self, entry: ViewEntry) -> list[Watermark | None]:
        """The watermark of each bucket."""
        space = self.keys(entry)
        with self.connection.pipeline(transaction=False) as pipe:
            for bucket in range(self.buckets):
                pipe.get(cast("str", space.watermark(bucket)))
            texts = cast("list[bytes | None]", pipe.execute())
        return [Watermark.parse(t) if t else None for t in texts]

    def keys(self, entry: ViewEntry) -> KeySpace:
        """The keys of a view in the entry's generation."""
        return KeySpace(self.prefix, entry.generation, entry.number, self.buckets)

    def source(self, view: str) -> bytes | None:
        """What the view was loaded from, as its last load left it."""
        return cast("bytes | None", self.connection.hget(self._sources, view))

    def remember(self, view: str, source: str) -> None:
        """Keep what the view is loaded from."""

        def change(pipe: Any) -> None:
            pipe.multi()
            pipe.hset(self._sources, view, source)

        self._change(change)

    def drop(self, view: str) -> None:
        """Take a view out; :meth:`sweep` removes its keys."""

        def change(pipe: Any) -> None:
            held = _entries(pipe.hgetall(self._views)).get(view)
            pipe.multi()
            if held:
                pipe.hdel(self._views, view)
                pipe.hdel(self._sources, view)
                pipe.hdel(self._wanted, view)
                pipe.hset(self._others, _field(held), view)
                pipe.incr(place(self.prefix, "directory"))

        self._change(change)

    def sweep(self) -> int:
        """Remove the keys of every listed generation, and no other key; how many there were. Takes a lease: half-made ones are listed too."""
        listed = _listed(cast("dict[bytes, bytes]", self.connection.hgetall(self._others)))
        if not listed:
            return 0
        assert self.lease is not None
        if isinstance(self.connection, redis.RedisCluster):
            # There the directory's version and the values are on several nodes: a read that found
            # the old version may still be under way.
            time.sleep(CLUSTER_GRACE_S)
        gone = 0
        for number, generation in listed:
            for kind in (f"w{number}", f"{number}"):
                pattern = f"{self.prefix}:{generation}:{kind}:{{*"
                gone += unlink(self.lease, self.connection.scan_iter(match=pattern, count=1_000))
            self._change(partial(self._forget, f"{number}:{generation}"))
        return gone

    def _forget(self, field: str, pipe: Any) -> None:
        pipe.multi()
        pipe.hdel(self._others, field)

    def _enter(
        self,
        pipe: Any,
        view: str,
        entry: ViewEntry,
        schema: Schema,
        retired: ViewEntry | None = None,
    ) -> None:
        pipe.hset(self._schemas, str(schema.hash), schema.to_json())
        pipe.hset(self._views, view, entry.to_json())
        pipe.incr(place(self.prefix, "directory"))
        if retired:
            pipe.hset(self._others, _field(retired), view)
            pipe.hdel(self._wanted, view)

    def _change(self, change: Callable[[Any], Result]) -> Result:
        names = ("views", "schemas", "generations", "numbers", "wanted")
        if self.lease:
            return self.lease.transaction(change, *names)
        return transaction(self.connection, change, *(place(self.prefix, name) for name in names))

    @property
    def _views(self) -> str:
        return place(self.prefix, "views")

    @property
    def _schemas(self) -> str:
        return place(self.prefix, "schemas")

    @property
    def _numbers(self) -> str:
        """The greatest number that a view ever had."""
        return place(self.prefix, "numbers")

    @property
    def _sources(self) -> str:
        return place(self.prefix, "sources")

    @property
    def _wanted(self) -> str:
        """Fields and join keys that were applied and that the live values don't fit: who may push by them begins a new generation."""
        return place(self.prefix, "wanted")

    @property
    def _others(self) -> str:
        return place(self.prefix, "generations")


def unlink(lease: Lease, keys: Iterable[bytes]) -> int:
    """Remove keys that carry their bucket's hash tag, each bucket's by a guarded script; how many there were."""
    gone = 0
    for part in chunks(keys, 1_000):
        buckets: dict[int, list[bytes]] = defaultdict(list)
        for key in part:
            buckets[bucket_of(key)].append(key)
        with lease.connection.pipeline(transaction=False) as pipe:
            for bucket, mine in buckets.items():
                queue(pipe, UNLINK, [fence(lease.prefix, bucket), *mine], lease.number)
            gone += sum(pipe.execute())
    return gone


def _entries(held: Mapping[bytes, bytes]) -> dict[str, ViewEntry]:
    return {name.decode(): ViewEntry.from_json(text) for name, text in held.items()}


def _listed(held: Mapping[bytes, bytes]) -> list[tuple[int, int]]:
    """(view's number, generation) of those that aren't live."""
    return [
        (int(number), int(generation))
        for number, _, generation in (f.partition(b":") for f in held)
    ]


def _field(entry: ViewEntry) -> str:
    return f"{entry.number}:{entry.generation}"


def _next_number(
    last: bytes | None, entries: Mapping[str, ViewEntry], listed: Iterable[tuple[int, int]]
) -> int:
    return 1 + max(
        [int(last or 0), *(e.number for e in entries.values()), *(number for number, _ in listed)]
    )


def _next_generation(
    number: int, entries: Mapping[str, ViewEntry], listed: Iterable[tuple[int, int]]
) -> int:
    live = (e.generation for e in entries.values() if e.number == number)
    return 1 + max([0, *live, *(generation for n, generation in listed if n == number)])


def _on(
    held: ViewEntry | None, text: bytes | None, schema: Schema, ttl_us: int, by: By
) -> ViewEntry | None:
    """The entry of a view that goes on in its generation; None where it can't. `text`: the schema that is held."""
    if held is None or not _same_keys(held, schema):
        return None
    keys = schema.keys or held.keys
    # A push's registry may be old, and so may a contract that lacks the last fields: theirs is no
    # word on the TTL.
    if _before(text, schema):
        return replace(held, keys=keys, ttl_us=ttl_us if by == "apply" else held.ttl_us)
    if not _fits(text, schema):
        return None
    return replace(
        held, keys=keys, ttl_us=held.ttl_us if by == "push" else ttl_us, schema=schema.hash
    )


def _same_keys(held: ViewEntry, schema: Schema) -> bool:
    """Whether values are found by the same join keys, as far as both say so."""
    return not held.keys or not schema.keys or held.keys == schema.keys


def _note(schema: Schema) -> str:
    return json.dumps({"keys": schema.keys, "fields": schema.to_json()})


def _allowed(wanted: bytes | None, schema: Schema) -> bool:
    """Whether a schema is of the fields that were applied, or of the first of them, by the same join keys."""
    if wanted is None:
        return False
    plain = json.loads(wanted)
    return tuple(plain["keys"]) == schema.keys and _fits(
        schema.to_json().encode(), Schema.from_json(plain["fields"])
    )


def _older(view: str, schema: Schema) -> StoreError:
    fields = ", ".join(f"{f.name} {f.type}" for f in schema.fields)
    return StoreError(
        explain(
            f"view {view}",
            expected="fields that its values in Redis fit, or that `feast apply` entered last",
            found=f"{fields} by {', '.join(schema.keys)}",
            mend="restart this process or refresh its registry, as the view has changed; if it has the newer view, run `feast apply`",
        )
    )


def _fits(held: bytes | None, schema: Schema) -> bool:
    if held is None:
        return False
    fields = Schema.from_json(held).fields
    return schema.fields[: len(fields)] == fields


def _before(held: bytes | None, schema: Schema) -> bool:
    """Whether a schema is of the first fields of the one that is held, and not of all."""
    fields = Schema.from_json(held).fields if held else ()
    return 0 < len(schema.fields) < len(fields) and fields[: len(schema.fields)] == schema.fields
