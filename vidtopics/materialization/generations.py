"""The directory as writers change it: views, which generation of each is live, which must go.

A view's keys carry the number of a generation. A new one is filled beside the live one and becomes
live with the load that filled it (:mod:`vidtopics.materialization.switching`). Generations that
aren't live stand in a list, from before their first key is written until their last is gone, so
that whoever comes after a crash finds those that no record names, and removes them
(:meth:`Generations.sweep`).
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

import redis

from vidtopics.errors import StoreError, explain
from vidtopics.layout import KeySpace, Layout, Schema, ViewEntry, Watermark, place
from vidtopics.materialization.batches import chunks, tag_of
from vidtopics.materialization.lock import GUARD, Lease, fence, queue, transaction
from vidtopics.materialization.records import generations_of, parse_records, queue_loads
from vidtopics.materialization.registration import (
    Generation,
    Registration,
    extends,
    is_shorter,
    may_begin,
    note_of,
    retired_generations,
    same_keys,
    stale_registry_error,
)
from vidtopics.online.connections import Connection

Result = TypeVar("Result")
Trim = Callable[[Generation, list[bytes]], None]
CLUSTER_GRACE_S = 5.0

# KEYS: fence, then keys of its bucket. ARGV: the writer's number. Gives how many there were.
UNLINK = f"{GUARD} return redis.call('UNLINK', unpack(KEYS, 2))"


class Generations:
    """The directory of one prefix.

    Any writer may register a view; all else takes a lease, as it ends in keys that go.
    """

    def __init__(
        self, connection: Connection, prefix: str, buckets: int, lease: Lease | None = None
    ) -> None:
        self.connection = connection
        self.prefix = prefix
        self.layout = Layout(buckets)
        self.lease = lease

    def open(self, *, create: bool) -> None:
        """Check the prefix's layout and bucket count; write them if absent and `create` is true.

        Raises:
            StoreError: the prefix has another layout or another number of buckets.
        """
        layout, key = self.layout.to_json(), place(self.prefix, "layout")
        stored = cast("bytes | None", self.connection.get(key))
        if stored is None and create:
            self._create(layout)
            stored = cast("bytes | None", self.connection.get(key))
        stored_layout = Layout.from_json(self.prefix, stored) if stored else self.layout
        if stored_layout != self.layout:
            raise StoreError(
                explain(
                    f"Redis, prefix {self.prefix!r}",
                    expected=str(self.layout),
                    found=str(stored_layout),
                    mend="keep `buckets` as they were (a teardown leaves them), or choose another "
                    "`prefix`; `vidtopics materialize` and `feast apply` bring layout 1 to 2",
                )
            )

    def _create(self, layout: str) -> None:
        """Write the layout; no version and no view's number is used twice under a prefix.

        That holds where the directory was lost and values weren't: versions begin at the clock;
        numbers at 1 (keys stay short), and at the clock where a bucket's fence shows that there was
        a directory.
        """
        fences = [fence(self.prefix, tag) for tag in self.layout.tags]
        with self.connection.pipeline(transaction=False) as pipe:
            for name in fences:
                pipe.exists(name)
            was_used = any(pipe.execute())

        def change(pipe: Any) -> None:
            exists = pipe.exists(place(self.prefix, "layout"))
            pipe.multi()
            if not exists:
                pipe.set(self._numbers, int(time.time()) if was_used else 0)
                pipe.set(place(self.prefix, "directory"), time.time_ns() // 1000)
                pipe.set(place(self.prefix, "layout"), layout)

        transaction(self.connection, change, place(self.prefix, "layout"))
        # After the layout: whoever finds a fence and no layout knows that one was lost, and hasn't
        # only come second.
        with self.connection.pipeline(transaction=False) as pipe:
            for name in fences:
                pipe.set(name, 0, nx=True)
            pipe.execute()

    @property
    def address(self) -> str:
        """The store in the home's load log: the server's address, without password, and the prefix.

        Of a cluster it is that of the node that has the directory.
        """
        connection: Any = self.connection
        if isinstance(connection, redis.RedisCluster):
            cluster: Any = connection  # redis-py doesn't type the call
            name = cluster.get_node_from_key(place(self.prefix, "directory")).name
            return f"{name}/{self.prefix}"
        at = connection.get_connection_kwargs()
        where = at.get("path") or f"{at.get('host', 'localhost')}:{at.get('port', 6379)}"
        return f"{where}/{at.get('db', 0)}/{self.prefix}"

    def entries(self) -> dict[str, ViewEntry]:
        """Every view's entry."""
        return entries_of(cast("dict[bytes, bytes]", self.connection.hgetall(self._views)))

    def schemas(self) -> list[Schema]:
        """Every schema that values were written by."""
        texts = cast("dict[bytes, bytes]", self.connection.hgetall(self._schemas))
        return [Schema.from_json(text) for text in texts.values()]

    def widths(self, entry: ViewEntry) -> dict[str, int]:
        """The widths of the vectors in an entry's values."""
        text = cast("bytes | None", self.connection.hget(self._schemas, str(entry.schema)))
        return Schema.from_json(text).widths if text else {}

    def fits(self, entry: ViewEntry, schema: Schema) -> bool:
        """Whether values of `schema` may lie among the entry's.

        They may with the same join keys and the same fields, more behind them, or the first alone.
        """
        text = cast("bytes | None", self.connection.hget(self._schemas, str(entry.schema)))
        fields = Schema.from_json(text).fields if text else ()
        return same_keys(entry, schema) and (extends(schema, fields) or is_shorter(schema, fields))

    def register_for_load(self, view: str, schema: Schema, ttl_us: int) -> ViewEntry:
        """Register a view by its contract, or update its TTL and schema. Returns its live entry.

        Where join keys changed, or fields otherwise than by new ones at the end, the view goes on
        in a new generation, empty until it is written to: :meth:`begin` is for those who can fill
        it first. A contract of the first fields alone may be old: it leaves schema and TTL as they
        are.
        """

        def entry_for(state: Registration) -> ViewEntry:
            entry = state.continued(schema)
            if entry is None:
                return state.new_generation(schema, ttl_us)
            return replace(entry, ttl_us=ttl_us) if entry.schema == schema.hash else entry

        return self._register(view, schema, entry_for)

    def register_for_push(self, view: str, schema: Schema, ttl_us: int) -> ViewEntry:
        """Register a view for a writer whose registry may be old. Returns its live entry.

        A push leaves the TTL as it is. It begins a generation only by what the last `feast apply`
        registered, as it can't tell whether its registry is older than the values that would go.

        Raises:
            StoreError: neither live values nor the last apply fit the fields and join keys.
        """

        def entry_for(state: Registration) -> ViewEntry:
            entry = state.continued(schema)
            if entry is None and state.live and not may_begin(state.applied, schema):
                raise stale_registry_error(view, schema)
            return entry or state.new_generation(schema, ttl_us)

        return self._register(view, schema, entry_for)

    def register_for_apply(self, view: str, schema: Schema, ttl_us: int) -> ViewEntry:
        """Register a view as `feast apply` does, or update its TTL and schema. Returns its entry.

        It begins no generation of a view that has one. Where live values don't fit the schema it
        leaves a note of it, and they stay until rows are loaded or pushed by that schema.
        """

        def entry_for(state: Registration) -> ViewEntry | None:
            entry = state.continued(schema)
            if entry is None:
                return None if state.live else state.new_generation(schema, ttl_us)
            return replace(entry, ttl_us=ttl_us)

        return self._register(view, schema, entry_for, is_apply=True)

    def _register(
        self,
        view: str,
        schema: Schema,
        entry_for: Callable[[Registration], ViewEntry | None],
        *,
        is_apply: bool = False,
    ) -> ViewEntry:
        """Make `entry_for` the state the view's entry; None of it leaves the live one and a note.

        An apply whose entry is written takes the note of the one before it away.
        """

        def change(pipe: Any) -> ViewEntry:
            state = self._registration(pipe, view)
            entry, live = entry_for(state), state.live
            fields = schema  # with the widths of the live values, where it has none
            if entry and live and entry.generation == live.generation and not schema.widths:
                fields = schema.sized(Schema(state.fields).widths)
            is_known = entry is not None and pipe.hexists(
                self._written, f"{fields.hash}:{field_of(entry)}"
            )
            texts = pipe.hgetall(self._releases)
            pipe.multi()
            if entry is None:
                assert live is not None
                pipe.hset(self._applied, view, note_of(schema))
                return live
            if is_apply:
                pipe.hdel(self._applied, view)
            if entry != live or not is_known:
                retired = live if live and live.generation != entry.generation else None
                self.enter(pipe, view, entry, fields, retired=retired)
                if retired:
                    self._drop_from_records(pipe, view, texts)
            if not live:
                pipe.set(self._numbers, entry.number)
            return entry

        return self.change(change)

    def begin(self, view: str, schema: Schema, ttl_us: int) -> ViewEntry:
        """Begin the view's next generation, listed as half-made. Returns its entry to be.

        Readers don't see it before its load goes live.
        """

        def change(pipe: Any) -> ViewEntry:
            state = self._registration(pipe, view)
            assert state.live is not None
            entry = state.new_generation(schema, ttl_us)
            entry = replace(entry, keys=entry.keys or state.live.keys)
            pipe.multi()
            pipe.hset(self._retired, field_of(entry), view)
            pipe.hset(self._last_generations, str(entry.number), entry.generation)
            return entry

        return self.change(change)

    def watermarks(self, entry: ViewEntry) -> list[Watermark | None]:
        """The watermark of each bucket."""
        space = self.keys(entry)
        with self.connection.pipeline(transaction=False) as pipe:
            for bucket in range(self.layout.buckets):
                pipe.get(cast("str", space.watermark(bucket)))
            texts = cast("list[bytes | None]", pipe.execute())
        return [Watermark.parse(t) if t else None for t in texts]

    def keys(self, entry: ViewEntry) -> KeySpace:
        """The keys of a view in the entry's generation."""
        return KeySpace(self.prefix, entry.generation, entry.number, self.layout)

    def source(self, view: str) -> bytes | None:
        """What the view was loaded from, as its last load left it."""
        return cast("bytes | None", self.connection.hget(self._sources, view))

    def remember(self, view: str, source: str) -> None:
        """Keep what the view is loaded from."""

        def change(pipe: Any) -> None:
            pipe.multi()
            pipe.hset(self._sources, view, source)

        self.change(change)

    def drop(self, view: str) -> None:
        """Take a view out; :meth:`sweep` removes its keys."""

        def change(pipe: Any) -> None:
            live = entries_of(pipe.hgetall(self._views)).get(view)
            texts = pipe.hgetall(self._releases)
            pipe.multi()
            if live:
                self._drop_from_records(pipe, view, texts)
                pipe.hdel(self._views, view)
                pipe.hdel(self._sources, view)
                pipe.hdel(self._applied, view)
                pipe.hset(self._retired, field_of(live), view)
                pipe.incr(place(self.prefix, "directory"))

        self.change(change)

    def _drop_from_records(self, pipe: Any, view: str, texts: Mapping[bytes, bytes]) -> None:
        """Nobody goes back to values of a view that was dropped or begun anew by other fields."""
        for record in parse_records(texts):
            if view in record.entries:
                pipe.hset(self._releases, str(record.load), record.without_view(view).to_json())

    def sweep(self, trims: Mapping[Generation, Trim] | None = None) -> int:
        """Remove the keys of listed generations and sets of queues that nobody can read any more.

        Those are neither live nor named by a record. One look through the keys removes all, and
        hands those of the generations in `trims` to the function there. Returns how many went.

        It takes a lease: half-made generations are listed too.
        """
        generations, queues = self._unneeded()
        if not generations and not queues and not trims:
            return 0
        assert self.lease is not None
        if generations and isinstance(self.connection, redis.RedisCluster):
            # There the directory's version and the values are on several nodes: a read of the old
            # version may still be under way.
            time.sleep(CLUSTER_GRACE_S)
        removed = 0
        for part in chunks(self.keys_with_numbers(), 1_000):
            removed += unlink(
                self.lease,
                [key for key, number in part if number in generations or number in queues],
            )
            for generation, trim in (trims or {}).items():
                keys = [k for k, number in part if number == generation and not _is_watermark(k)]
                if keys:
                    trim(generation, keys)
        self.change(partial(self._forget, generations, queues))
        return removed

    def known_numbers(self) -> set[Generation | int]:
        """Generations and loads of queues that are listed, live or in a record."""
        listed, in_use = self._numbers_of_keys()
        return listed | in_use

    def _unneeded(self) -> tuple[set[Generation], set[int]]:
        """Generations and loads of queues that are listed, not live and in no record."""
        listed, in_use = self._numbers_of_keys()
        unneeded = listed - in_use
        queues = {number for number in unneeded if isinstance(number, int)}
        return {number for number in unneeded if not isinstance(number, int)}, queues

    def _numbers_of_keys(self) -> tuple[set[Generation | int], set[Generation | int]]:
        """Those that are listed, and those that are live or in a record."""
        with self.connection.pipeline(transaction=False) as pipe:
            for name in ("generations", "queues", "structures", "releases", "views"):
                pipe.hgetall(place(self.prefix, name))
            listed, queues, structures, texts, views = pipe.execute()
        records = parse_records(texts)
        live = {(e.number, e.generation) for e in entries_of(views).values()}
        facts = map(json.loads, structures.values())
        loads = queue_loads(records) | {fact["load"] for fact in facts if "load" in fact}
        return (
            {*retired_generations(listed), *map(int, queues)},
            {*live, *generations_of(records), *loads},
        )

    def keys_with_numbers(self) -> Iterator[tuple[bytes, Generation | int]]:
        """Keys of values, watermarks (with their generation) and queues (with their load)."""
        pattern = re.compile(
            rb"%s:(?:(\d+):w?(\d+)|queue:(\d+)):\{[0-9a-z]+\}" % re.escape(self.prefix.encode())
        )
        for key in self.connection.scan_iter(match=f"{self.prefix}:[0-9q]*", count=1_000):
            if match := pattern.match(key):
                yield key, int(match[3]) if match[3] else (int(match[2]), int(match[1]))

    def _registration(self, pipe: Any, view: str) -> Registration:
        entries = entries_of(pipe.hgetall(self._views))
        live = entries.get(view)
        text = pipe.hget(self._schemas, str(live.schema)) if live else None
        return Registration(
            live,
            Schema.from_json(text).fields if text else (),
            pipe.hget(self._applied, view),
            int(pipe.get(self._numbers) or 0),
            list(entries.values()),
            retired_generations(pipe.hgetall(self._retired)),
            int(pipe.hget(self._last_generations, str(live.number)) or 0) if live else 0,
        )

    def _forget(self, generations: set[Generation], queues: set[int], pipe: Any) -> None:
        """Take what is gone off the lists, and schemas that no value is written by any more."""
        written = [field.decode().split(":") for field in pipe.hkeys(self._written)]
        gone = {f"{number}:{generation}" for number, generation in generations}
        dead = [parts for parts in written if ":".join(parts[1:]) in gone]
        in_use = {parts[0] for parts in written if parts not in dead}
        unused = {parts[0] for parts in dead} - in_use
        pipe.multi()
        for fields, key in (
            (gone, self._retired),
            (gone, place(self.prefix, "dirty")),
            ({":".join(parts) for parts in dead}, self._written),
            (unused, self._schemas),
            (set(map(str, queues)), place(self.prefix, "queues")),
        ):
            if fields:
                pipe.hdel(key, *fields)

    def enter(
        self,
        pipe: Any,
        view: str,
        entry: ViewEntry,
        schema: Schema,
        retired: ViewEntry | None = None,
    ) -> None:
        """Queue the change of a view's entry; `retired` is the one that it takes the place of."""
        pipe.hset(self._schemas, str(schema.hash), schema.to_json())
        pipe.hset(self._written, f"{schema.hash}:{field_of(entry)}", "")
        pipe.hset(self._views, view, entry.to_json())
        pipe.hset(self._last_generations, str(entry.number), entry.generation)
        pipe.incr(place(self.prefix, "directory"))
        if retired:
            pipe.hset(self._retired, field_of(retired), view)
            pipe.hdel(self._applied, view)

    def change(self, change: Callable[[Any], Result]) -> Result:
        """Change the directory in one transaction, again where another writer came in between."""
        names = ("views", "schemas", "generations", "numbers", "wanted", "releases")
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
    def _written(self) -> str:
        """Schema and generation of which there may be values, as `schema:number:generation`."""
        return place(self.prefix, "written")

    @property
    def _last_generations(self) -> str:
        """Per number of a view the greatest that a generation of it ever had."""
        return place(self.prefix, "last")

    @property
    def _releases(self) -> str:
        return place(self.prefix, "releases")

    @property
    def _numbers(self) -> str:
        """The greatest number that a view ever had."""
        return place(self.prefix, "numbers")

    @property
    def _sources(self) -> str:
        return place(self.prefix, "sources")

    @property
    def _applied(self) -> str:
        """Notes of applies that live values don't fit: who pushes by one begins a generation."""
        return place(self.prefix, "wanted")

    @property
    def _retired(self) -> str:
        return place(self.prefix, "generations")


def unlink(lease: Lease, keys: Iterable[bytes]) -> int:
    """Remove keys that carry their bucket's hash tag; returns how many there were.

    Each bucket's keys go by a script that its fence guards.
    """
    removed = 0
    for part in chunks(keys, 1_000):
        buckets: dict[str, list[bytes]] = defaultdict(list)
        for key in part:
            buckets[tag_of(key)].append(key)
        with lease.connection.pipeline(transaction=False) as pipe:
            for tag, bucket_keys in buckets.items():
                queue(pipe, UNLINK, [fence(lease.prefix, tag), *bucket_keys], lease.number)
            removed += sum(pipe.execute())
    return removed


def _is_watermark(key: bytes) -> bool:
    """Whether a key with a generation is a watermark's, and no value's."""
    return key.split(b":", 3)[2].startswith(b"w")


def entries_of(texts: Mapping[bytes, bytes]) -> dict[str, ViewEntry]:
    """The entries of the hash `views`."""
    return {name.decode(): ViewEntry.from_json(text) for name, text in texts.items()}


def field_of(entry: ViewEntry) -> str:
    """An entry's generation as a field of hashes."""
    return f"{entry.number}:{entry.generation}"
