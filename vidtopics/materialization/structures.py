"""Topic queues and recent clicks as lists in Redis.

Queues are a set of lists: a load writes all of them under its own number, and the switch that makes
the load live names it in the hash `structures`, so that readers change from one set to the other
with all else. Sets that aren't live stand in the hash `queues`, from before their first key to
after their last.

Recent clicks are what users did, no result of a model: each list is swapped as a whole, just before
the switch. A run knows which lists lie there from what the last one wrote (`facts`, a field of the
hash `clicks`). A second field stands while lists are swapped: a run that dies before the last one
leaves lists that no facts name, and the next looks for them with SCAN.

Each bucket has a mark (a field of the hash `lists:{bucket}`), written after its last list: where
one isn't what the facts say, the bucket lost lists.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from vidtopics.contracts import PARENT, TOPIC, TOPIC_QUEUES, USER_RECENT_CLICKS, Table
from vidtopics.failpoints import failpoint
from vidtopics.layout import Layout, Structures, place, queue_name
from vidtopics.materialization.batches import Sender, chunks, tag_of
from vidtopics.materialization.changes import files, files_of, snapshot
from vidtopics.materialization.generations import Generations
from vidtopics.materialization.lock import COUNTED, Lease, count, fence, queue
from vidtopics.materialization.reports import Moved
from vidtopics.materialization.views import Round
from vidtopics.online.connections import Connection
from vidtopics.tables import Tables
from vidtopics.tables.data_files import files_digest
from vidtopics.tables.whole import readable

CLICKS = "clicks"
MOVING = f"{USER_RECENT_CLICKS.name}:moving"

# KEYS: the bucket's fence and count, a list. ARGV: the writer's number, sender and number of the
# batch, the list's new items (none: it goes); Lua's stack holds some thousands at once.
SWAP = f"""{COUNTED}
redis.call('DEL', KEYS[3])
for i = 4, #ARGV, 1000 do
  redis.call('RPUSH', KEYS[3], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
"""

# KEYS: the bucket's fence and count, its marks. ARGV: as above, the mark's name, its text.
MARK = f"{COUNTED} redis.call('HSET', KEYS[3], ARGV[4], ARGV[5])"


@dataclass(frozen=True)
class Swap:
    """Lists to write, lists to remove and the facts that hold then.

    `removed` is None where all others of the kind go, wherever they are found; of queues nothing is
    removed, as their keys are the load's own.
    """

    lists: Mapping[bytes, Sequence[str]]
    removed: frozenset[bytes] | None
    facts: Mapping[str, Any]
    rows: int


def stage_queues(run: Round, version: int) -> tuple[Moved, str | None]:
    """Write the queues of a version beside the live ones. Returns the field of `structures`.

    None where the live ones are of that version.
    """
    began, store, lease = time.monotonic(), run.store, run.lease
    swap = look(run.tables, store, TOPIC_QUEUES, version, run.release, full=run.full)
    if swap is None:
        seconds = time.monotonic() - began
        return Moved(TOPIC_QUEUES.name, run.release, up_to_date=True, seconds=seconds), None
    names = Structures(store.prefix, store.layout)
    lists, facts = _Lists(lease, store.layout), {**swap.facts, "load": run.load}
    lists.enter("queues", {str(run.load): ""})  # before the first key
    lists.swap({names.queue(run.load, n.decode()): videos for n, videos in swap.lists.items()})
    lists.mark(_mark_name(TOPIC_QUEUES, facts), _mark(facts))
    failpoint("materialize.queues")
    seconds = time.monotonic() - began
    moved = Moved(TOPIC_QUEUES.name, run.release, swap.rows, len(swap.lists), seconds=seconds)
    return moved, json.dumps(facts)


def bring_clicks(run: Round, version: int) -> Moved:
    """Bring the lists of recent clicks to a version of their table."""
    began, table = time.monotonic(), USER_RECENT_CLICKS
    swap = look(run.tables, run.store, table, version, run.release, full=run.full)
    if swap is None:
        return Moved(table.name, run.release, up_to_date=True, seconds=time.monotonic() - began)
    lists = _Lists(run.lease, run.store.layout)
    # Stands until the last list is right.
    lists.enter(CLICKS, {MOVING: str(run.release)})
    lists.swap(swap.lists)
    removed = lists.others(swap.lists) if swap.removed is None else swap.removed
    lists.drop(removed)
    lists.mark(_mark_name(table, swap.facts), _mark(swap.facts))
    lists.enter(CLICKS, {table.name: json.dumps(swap.facts), MOVING: None})
    written, seconds = len(swap.lists) + len(removed), time.monotonic() - began
    return Moved(table.name, run.release, swap.rows, written, seconds=seconds)


def preview(
    tables: Tables, store: Generations, table: Table, version: int, release: int, *, full: bool
) -> Moved:
    """What a run would swap. Reads alone."""
    began = time.monotonic()
    swap = look(tables, store, table, version, release, full=full)
    seconds = time.monotonic() - began
    if swap is None:
        return Moved(table.name, release, up_to_date=True, seconds=seconds)
    return Moved(table.name, release, swap.rows, len(swap.lists), seconds=seconds)


def look(
    tables: Tables, store: Generations, table: Table, version: int, release: int, *, full: bool
) -> Swap | None:
    """What a structure needs to come to a version; None where it is there. Reads alone."""
    known, whole = facts_of(store, table)
    delta = snapshot(tables, table, version)
    loaded = known if whole and not full and is_from(delta, known) else {}
    if loaded.get("version") == version:
        return None
    with readable(table, version):
        rows = tables.read(table, version=version)
    facts: dict[str, object] = {
        "release": release,
        "version": version,
        "table_id": str(delta.metadata().id),
        "files": files_digest(files(delta)),
    }
    if table is TOPIC_QUEUES:
        return _queues(rows, facts, known)
    names = Structures(store.prefix, store.layout)
    return _clicks(names, rows, _before(tables, table, loaded), facts)


def everything(store: Generations, table: Table, rows: pa.Table, known: Mapping[str, Any]) -> Swap:
    """All lists of a table, by their keys; its facts are the catalogue alone, for topic queues."""
    names = Structures(store.prefix, store.layout)
    if table is not TOPIC_QUEUES:
        return _clicks(names, rows, None, {})
    swap = _queues(rows, {}, {})
    keys = {names.queue(known["load"], n.decode()): videos for n, videos in swap.lists.items()}
    return Swap(keys, swap.removed, swap.facts, swap.rows)


def facts_of(store: Generations, table: Table) -> tuple[dict[str, Any], bool]:
    """What Redis says that it holds of a structure, and whether all of it is there.

    It isn't where a run died over it or a bucket fell back.
    """
    is_queues = table is TOPIC_QUEUES
    key = place(store.prefix, "structures" if is_queues else CLICKS)
    names = [table.name, MOVING]
    text, halfway = cast("list[bytes | None]", store.connection.hmget(key, names))
    known: dict[str, Any] = json.loads(text) if text else {}
    return known, bool(known) and not halfway and _marked(store, table, known)


def keys_of(store: Generations, table: Table, known: Mapping[str, Any]) -> Iterator[bytes]:
    """The keys of the lists of a table that readers may see. SCAN may name a key twice."""
    kind = f"queue:{known.get('load', '*')}" if table is TOPIC_QUEUES else CLICKS
    return _keys(store.connection, store.prefix, kind)


def is_from(delta: DeltaTable, known: Mapping[str, Any]) -> bool:
    """Whether Redis holds a version of this table: the same id, the same files under its number."""
    if known.get("table_id") != str(delta.metadata().id):
        return False
    names = files_of(delta, known["version"])
    return names is not None and files_digest(names) == known.get("files")


def _keys(connection: Connection, prefix: str, kind: str) -> Iterator[bytes]:
    return cast("Iterator[bytes]", connection.scan_iter(match=f"{prefix}:{kind}:*", count=1_000))


def _queues(rows: pa.Table, facts: Mapping[str, object], known: Mapping[str, Any]) -> Swap:
    """Every queue's list; with the catalogue: epoch, topics and parents by falling clicks."""
    queue_rows = _query(
        "SELECT topic_epoch, queue_level, topic_id, fresh,"
        " list(video_id ORDER BY queue_position) AS videos,"
        " sum(queue_ctr * queue_exposures) AS clicks"
        " FROM rows GROUP BY ALL ORDER BY clicks DESC, topic_id",
        rows=rows,
    )
    lists = {
        queue_name(level, topic, fresh=fresh).encode(): videos
        for _, level, topic, fresh, videos, _ in queue_rows
    }
    by_clicks = {
        level: list(dict.fromkeys(row[2] for row in queue_rows if row[1] == level))
        for level in (TOPIC, PARENT)
    }
    catalogue = {
        "epoch": queue_rows[0][0] if queue_rows else known.get("epoch", 0),
        "topics": by_clicks[TOPIC],
        "parents": by_clicks[PARENT],
    }
    return Swap(lists, frozenset(), {**catalogue, **facts}, len(rows))


def _clicks(
    names: Structures, rows: pa.Table, before: pa.Table | None, facts: Mapping[str, object]
) -> Swap:
    """The lists of users whose recent clicks differ from `before`, and of those who are gone."""
    changed = _query(
        "SELECT user_id, rows.recent_video_ids AS videos FROM rows FULL JOIN before USING (user_id)"
        " WHERE rows.recent_video_ids IS DISTINCT FROM before.recent_video_ids ORDER BY user_id",
        rows=rows,
        before=rows.slice(0, 0) if before is None else before,
    )
    lists = {names.clicks(user): videos for user, videos in changed if videos}
    removed = (
        None
        if before is None
        else frozenset(names.clicks(user) for user, videos in changed if not videos)
    )
    return Swap(lists, removed, facts, len(rows))


def _before(tables: Tables, table: Table, loaded: Mapping[str, Any]) -> pa.Table | None:
    """The rows that Redis holds; None where their version is unknown or can't be read any more."""
    if not loaded:
        return None
    try:
        return tables.read(table, version=loaded["version"])
    except (DeltaError, OSError, pa.ArrowInvalid):  # vacuumed, damaged
        return None


def _marked(store: Generations, table: Table, known: Mapping[str, Any]) -> bool:
    """Whether every bucket has the mark of these facts; one that fell back has another or none."""
    with store.connection.pipeline(transaction=False) as pipe:
        for tag in store.layout.tags:
            pipe.hget(_marks(store.prefix, tag), _mark_name(table, known))
        return set(pipe.execute()) == {_mark(known).encode()}


def _mark(facts: Mapping[str, object]) -> str:
    return f"{facts['version']} {facts['files']}"


def _mark_name(table: Table, facts: Mapping[str, object]) -> str:
    """A field of a bucket's marks; each set of queues has its own."""
    return f"{table.name}:{facts['load']}" if table is TOPIC_QUEUES else table.name


def _marks(prefix: str, tag: str) -> str:
    return f"{prefix}:lists:{{{tag}}}"


@dataclass(frozen=True)
class _Lists:
    """Lists of one prefix as the holder of a lease changes them.

    A loss of what it sent shows with the next list or mark of the bucket.
    """

    lease: Lease
    layout: Layout
    sender: Sender = field(default_factory=Sender)

    def swap(self, lists: Mapping[bytes, Sequence[str]]) -> None:
        """Each list by one script call: a reader sees the old one or the new one."""
        for part in chunks(lists.items(), 1_000):
            with self.lease.connection.pipeline(transaction=False) as pipe:
                for key, videos in part:
                    self._queue(pipe, SWAP, tag_of(key), key, *videos)
                pipe.execute()

    def drop(self, keys: Iterable[bytes]) -> None:
        self.swap(dict.fromkeys(keys, ()))

    def mark(self, name: str, text: str) -> None:
        """Say in every bucket which lists it has."""
        with self.lease.connection.pipeline(transaction=False) as pipe:
            for tag in self.layout.tags:
                self._queue(pipe, MARK, tag, _marks(self.lease.prefix, tag), name, text)
            pipe.execute()

    def _queue(self, pipe: Any, script: str, tag: str, key: bytes | str, *arguments: str) -> None:
        guards = [fence(self.lease.prefix, tag), count(self.lease.prefix, tag)]
        batch = self.sender.next(self.layout.bucket_of_tag[tag])
        queue(pipe, script, [*guards, key], self.lease.number, *batch, *arguments)

    def others(self, remaining: Mapping[bytes, object]) -> frozenset[bytes]:
        """The lists of clicks that lie in Redis and aren't among `remaining`."""
        keys = _keys(self.lease.connection, self.lease.prefix, CLICKS)
        return frozenset(keys) - remaining.keys()

    def enter(self, name: str, fields: Mapping[str, str | None]) -> None:
        """Set fields of a hash of the directory; None removes one."""
        key = place(self.lease.prefix, name)

        def change(pipe: Any) -> None:
            pipe.multi()
            for field_, text in fields.items():
                if text is None:
                    pipe.hdel(key, field_)
                else:
                    pipe.hset(key, field_, text)

        self.lease.transaction(change)


def _query(sql: str, **tables: pa.Table) -> list[tuple[Any, ...]]:
    """Rows of a query over tables; DuckDB's default connection is not for two threads."""
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
        return rows
