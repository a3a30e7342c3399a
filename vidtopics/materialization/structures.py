"""Topic queues as lists in Redis.

Queues are a set of lists: a load writes all of them under its own number, and the switch that makes
the load live names it in the hash `structures`, so that readers change from one set to the other
with all else. Sets that aren't live stand in the hash `queues`, from before their first key to
after their last.

Each bucket has a mark (a field of the hash `lists:{bucket}`), written after its last list: where
one isn't what the facts say, the bucket lost lists.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from vidtopics.contracts import CATALOGUE, PARENT, TOPIC, TOPIC_QUEUES
from vidtopics.failpoints import failpoint
from vidtopics.layout import Layout, Structures, place, queue_name
from vidtopics.materialization.batches import Sender, chunks, tag_of
from vidtopics.materialization.changes import files, files_of, snapshot
from vidtopics.materialization.generations import Generations
from vidtopics.materialization.lock import COUNTED, Lease, count, fence, queue
from vidtopics.materialization.reports import Moved
from vidtopics.materialization.views import Round
from vidtopics.tables import Tables
from vidtopics.tables.data_files import files_digest
from vidtopics.tables.whole import readable

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
    """Lists to write, by topic, and the facts that hold then.

    Nothing is removed, as the keys are the load's own.
    """

    lists: Mapping[str, Sequence[str]]
    facts: Mapping[str, Any]
    rows: int


def stage_queues(run: Round, version: int) -> tuple[Moved, str | None]:
    """Write the queues of a version beside the live ones. Returns the field of `structures`.

    None where the live ones are of that version.
    """
    began, store, lease = time.monotonic(), run.store, run.lease
    swap = look(run.tables, store, version, run.release, full=run.full)
    if swap is None:
        seconds = time.monotonic() - began
        return Moved(TOPIC_QUEUES.name, run.release, up_to_date=True, seconds=seconds), None
    names = Structures(store.prefix, store.layout)
    lists, facts = _Lists(lease, store.layout), {**swap.facts, "load": run.load}
    lists.enter("queues", {str(run.load): ""})  # before the first key
    lists.swap({names.queue(run.load, n): videos for n, videos in swap.lists.items()})
    lists.mark(_mark_name(facts), _mark(facts))
    failpoint("materialize.queues")
    seconds = time.monotonic() - began
    moved = Moved(TOPIC_QUEUES.name, run.release, swap.rows, len(swap.lists), seconds=seconds)
    return moved, json.dumps(facts)


def preview(tables: Tables, store: Generations, version: int, release: int, *, full: bool) -> Moved:
    """What a run would write. Reads alone."""
    began, name = time.monotonic(), TOPIC_QUEUES.name
    swap = look(tables, store, version, release, full=full)
    seconds = time.monotonic() - began
    if swap is None:
        return Moved(name, release, up_to_date=True, seconds=seconds)
    return Moved(name, release, swap.rows, len(swap.lists), seconds=seconds)


def look(
    tables: Tables, store: Generations, version: int, release: int, *, full: bool
) -> Swap | None:
    """What the queues need to come to a version; None where they are there. Reads alone."""
    known, whole = facts_of(store)
    delta = snapshot(tables, TOPIC_QUEUES, version)
    is_loaded = whole and not full and is_from(delta, known)
    if is_loaded and known["version"] == version:
        return None
    with readable(TOPIC_QUEUES, version):
        rows = tables.read(TOPIC_QUEUES, version=version)
    facts: dict[str, object] = {
        "release": release,
        "version": version,
        "table_id": str(delta.metadata().id),
        "files": files_digest(files(delta)),
        "global_ctr": global_ctr(tables, version),
    }
    return _queues(rows, facts, known)


def global_ctr(tables: Tables, version: int) -> float | None:
    """Clicks over exposures of all videos, as the job that wrote a version of the queues had it.

    None where its commit doesn't say it, as those of others, or is no more.
    """
    commit = tables.commits(TOPIC_QUEUES).until(version).last()
    return None if commit is None else cast("float | None", commit.facts.get("global_ctr"))


def everything(
    store: Generations, rows: pa.Table, known: Mapping[str, Any]
) -> tuple[dict[bytes, Sequence[str]], Mapping[str, Any]]:
    """All lists of the queues by their keys, and the catalogue."""
    names = Structures(store.prefix, store.layout)
    swap = _queues(rows, {}, {})
    lists = {names.queue(known["load"], n): videos for n, videos in swap.lists.items()}
    return lists, swap.facts


def facts_of(store: Generations) -> tuple[dict[str, Any], bool]:
    """What Redis says that it holds of the queues, and whether all of it is there.

    It isn't where a bucket fell back.
    """
    key = place(store.prefix, "structures")
    text = cast("bytes | None", store.connection.hget(key, TOPIC_QUEUES.name))
    known: dict[str, Any] = json.loads(text) if text else {}
    return known, bool(known) and _marked(store, known)


def keys_of(store: Generations, known: Mapping[str, Any]) -> Iterator[bytes]:
    """The keys of the lists that readers may see. SCAN may name a key twice."""
    match = f"{store.prefix}:queue:{known.get('load', '*')}:*"
    return cast("Iterator[bytes]", store.connection.scan_iter(match=match, count=1_000))


def is_from(delta: DeltaTable, known: Mapping[str, Any]) -> bool:
    """Whether Redis holds a version of this table: the same id, the same files under its number."""
    if known.get("table_id") != str(delta.metadata().id):
        return False
    names = files_of(delta, known["version"])
    return names is not None and files_digest(names) == known.get("files")


def _queues(rows: pa.Table, facts: Mapping[str, object], known: Mapping[str, Any]) -> Swap:
    """Every queue's list; with the catalogue: epoch, topics and parents, clicks of the popular."""
    queue_rows = _query(
        "SELECT topic_epoch, queue_level, topic_id, fresh,"
        " list(video_id ORDER BY queue_position) AS videos,"
        " sum(queue_clicks) AS clicks,"
        " list(queue_clicks ORDER BY queue_position) AS video_clicks"
        " FROM rows GROUP BY ALL ORDER BY clicks DESC, topic_id",
        rows=rows,
    )
    lists = {
        queue_name(level, topic, fresh=fresh): videos
        for _, level, topic, fresh, videos, *_ in queue_rows
    }
    clicks: dict[str, dict[int, float]] = {TOPIC: {}, PARENT: {}, CATALOGUE: {}}
    popular: list[float] = []
    for _, level, topic, _, _, number, of_videos in queue_rows:
        clicks[level][topic] = clicks[level].get(topic, 0) + round(number, 3)
        if level == CATALOGUE:
            popular = [float(f"{count:.4g}") for count in of_videos]
    catalogue = {
        "epoch": queue_rows[0][0] if queue_rows else known.get("epoch", 0),
        "topics": list(clicks[TOPIC]),
        "parents": list(clicks[PARENT]),
        "parent_clicks": list(clicks[PARENT].values()),
        "popular_clicks": popular,
    }
    return Swap(lists, {**catalogue, **facts}, len(rows))


def _marked(store: Generations, known: Mapping[str, Any]) -> bool:
    """Whether every bucket has the mark of these facts; one that fell back has another or none."""
    with store.connection.pipeline(transaction=False) as pipe:
        for tag in store.layout.tags:
            pipe.hget(_marks(store.prefix, tag), _mark_name(known))
        return set(pipe.execute()) == {_mark(known).encode()}


def _mark(facts: Mapping[str, object]) -> str:
    return f"{facts['version']} {facts['files']}"


def _mark_name(facts: Mapping[str, object]) -> str:
    """A field of a bucket's marks; each set of queues has its own."""
    return f"{TOPIC_QUEUES.name}:{facts['load']}"


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
