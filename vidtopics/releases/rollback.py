"""Going back to an earlier release: its values again, as new rows under a new release.

Nothing is taken out of a table. Each derived table gets, as of now, the values that held at the
release gone back to; the releases since are marked as rolled back. So a join as of a time before,
within or after the bad release gives what consumers saw then (`docs/releases.md`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vidtopics.contracts import CREATED_TIME, DERIVED, EVENT_TIME, VALUE_HASH, Table
from vidtopics.errors import SettingsError, TableError, explain
from vidtopics.failpoints import failpoint
from vidtopics.files import scratch_folder
from vidtopics.joins import latest
from vidtopics.releases.lock import RunLock
from vidtopics.tables import Commit
from vidtopics.tables.commits import ROLLBACK, latest_commit
from vidtopics.tables.releases import Release, append, in_force, operator, read_log, released
from vidtopics.tables.scans import scan
from vidtopics.tables.schemas import arrow_schema
from vidtopics.tables.stamps import now_us, wait_until_known
from vidtopics.tables.whole import readable, whole

if TYPE_CHECKING:
    from vidtopics.tables import Tables

BATCH = 8_192
RESTORED = "values of an earlier release"
WHY = re.compile(r"rollback to (\d+): ")


@dataclass(frozen=True)
class Target:
    """The release to go back to, and those that it takes back; `done`: its values are released."""

    release: Release
    undone: Sequence[Release]
    done: Release | None = None


def target_of(tables: Tables, number: int | None) -> Target:
    """The release to go back to: `number`, else that before the one in force.

    A rollback that died is gone on with, whichever is in force meanwhile.

    Raises:
        TableError: nothing was released, or nothing before the release in force.
        SettingsError: the number is that of no release one can go back to.
    """
    log = read_log(tables)
    current = in_force(log)
    if current is None:
        raise TableError(
            explain("releases", expected="a release", found="none", mend="vidtopics run")
        )
    begun = _unfinished(log)
    if begun and number in (None, begun.release_id):
        return Target(begun, ())
    by_number = {row.release_id: row for row in released(log)}
    earlier = [n for n in by_number if n < current.release_id]
    if number is None and WHY.match(current.why):
        number = current.release_id  # this very command, run again
    if number is None and earlier:
        number = earlier[-1]
    if number == current.release_id:
        return Target(current, (), done=current)
    if number not in earlier:
        raise SettingsError(
            explain(
                f"--to {number}" if number else "vidtopics rollback",
                expected="an earlier release that is not rolled back"
                + (f": {', '.join(map(str, earlier[-10:]))}" if earlier else ""),
                found="none such" if number else f"none before {current.release_id}",
                mend="`vidtopics releases` lists them",
            )
        )
    undone = [row for n, row in by_number.items() if n > number]
    return Target(by_number[number], undone)


def _unfinished(log: Sequence[Release]) -> Release | None:
    """The release that a rollback went back to whose own release isn't there."""
    taken_back = [row for row in log if row.state == "rolled_back"]
    if not taken_back:
        return None
    last = max(taken_back, key=lambda row: (row.created_us, row.release_id))
    match = WHY.match(last.why)
    if match is None or any(
        row.release_id > last.release_id and row.state == "released" for row in log
    ):
        return None
    number = int(match.group(1))
    return next(r for r in log if r.release_id == number and r.state == "released")


def take_back(tables: Tables, target: Target, because: str, lock: RunLock) -> None:
    """Mark the releases after the target as rolled back: it is in force from here on."""
    why = f"rollback to {target.release.release_id}: {because}"
    rows = [
        replace(row, state="rolled_back", created_us=now_us(), by=operator(), why=why)
        for row in target.undone
    ]
    append(tables, rows, run=lock.number)
    failpoint("rollback.taken_back")


def restore(tables: Tables, target: Target, because: str, lock: RunLock) -> Release:
    """Publish the target's values as of now, and release them; the release.

    A table whose values are the target's still gets no row. May be run again after it died.

    Raises:
        BusyError: a later run took this one's place.
        ConflictError: another writer came first, again and again.
        TableError: a version of the target can't be read any more.
    """
    at_us = now_us()
    for table in DERIVED:
        lock.check()
        _republish(tables, table, target.release.versions, at_us)
        failpoint("rollback.table")
    versions = tables.data_versions()
    wait_until_known(tables.commits(t) for t in DERIVED if t.name in versions)
    log = read_log(tables)
    row = replace(
        target.release,
        release_id=max(r.release_id for r in log) + 1,
        as_of_us=at_us,
        created_us=now_us(),
        versions=versions,
        verdicts={f"{name}.rollback": f"not applied: {RESTORED}" for name in versions},
        by=operator(),
        why=f"rollback to {target.release.release_id}: {because}",
    )
    lock.check()
    append(tables, [row], run=lock.number)
    return row


def _republish(tables: Tables, table: Table, versions: Mapping[str, int], at_us: int) -> None:
    """Publish what held at a release, where the table has gone on since.

    A log only grows, and its rows hold whatever came later.
    """
    now, then = tables.data_version(table), versions.get(table.name, 0)
    if table.kind == "log" or now == then:
        return
    log = tables.commits(table)
    before = latest_commit(log.until(then), at_us)
    commit = Commit(
        table.name,
        at_us,
        at_us,
        live=True,
        inputs=_inputs(tables, before),
        facts=_facts(log, before, then),
        content=before.content if before else "",
    )
    with _values_at(tables, table, then) as rows:
        # Whichever engine owns the table: these rows were computed long ago.
        tables.publish(
            replace(table, engine="deltalake"), rows, commit, widths=_widths(table, rows)
        )


def _inputs(tables: Tables, before: Commit | None) -> dict[str, int]:
    """What the values were computed from, as it lies in the tables now."""
    names = {t.name: t for t in DERIVED}
    read = dict(before.inputs) if before else {}
    return {n: tables.data_version(names[n]) if n in names else v for n, v in read.items()}


def _facts(log: Sequence[Commit], before: Commit | None, then: int) -> dict[str, float | str]:
    """Those of the commit gone back to; IDs that were given since aren't given again."""
    facts = dict(before.facts) if before else {}
    if "next_topic_id" in facts:
        facts["next_topic_id"] = max(int(c.facts.get("next_topic_id", 0)) for c in log)
    return {**facts, ROLLBACK: str(then)}


@contextmanager
def _values_at(tables: Tables, table: Table, version: int) -> Iterator[ds.Dataset]:
    """The values that hold at a version, on disk meanwhile; none at version 0."""
    schema = arrow_schema(table, table.columns)
    with scratch_folder(tables.home, "rollback") as folder:
        path = folder / "rows.parquet"
        with pq.ParquetWriter(path, schema) as writer:
            if version:
                delta = whole(tables.delta(table, version=version))
                with readable(table, version):
                    for batch in _batches(table, scan(delta), schema):
                        writer.write_batch(batch)
        yield ds.dataset(path)


def _batches(table: Table, rows: ds.Dataset, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The contract's columns of the rows that hold."""
    numbers, start = _holding(table, rows), 0
    for batch in rows.to_batches(columns=schema.names, batch_size=BATCH, fragment_readahead=1):
        low, high = numbers.searchsorted([start, start + batch.num_rows])
        if high > low:
            yield batch.take(pa.array(numbers[low:high] - start)).cast(schema)
        start += batch.num_rows


def _holding(table: Table, rows: ds.Dataset) -> NDArray[np.int64]:
    """Numbers of the rows that hold, ascending: all of a snapshot, the latest of a history."""
    if table.kind == "snapshot":
        return np.arange(rows.count_rows(), dtype=np.int64)
    narrow = rows.to_table(columns=[*table.key, EVENT_TIME, CREATED_TIME, VALUE_HASH])
    event_us, created_us = (
        narrow[n].cast(pa.int64()).to_numpy() for n in (EVENT_TIME, CREATED_TIME)
    )
    numbers = latest(narrow.select(list(table.key)), event_us, created_us)
    hashes: NDArray[np.int64] = narrow[VALUE_HASH].to_numpy()
    holding: NDArray[np.int64] = numbers[hashes[numbers] != 0]
    return holding


def _widths(table: Table, rows: ds.Dataset) -> dict[str, int]:
    """The widths that the contract names, as the first row has them."""
    named = {c.name: c.width for c in table.columns if isinstance(c.width, str)}
    first = rows.head(1, columns=list(named))
    return {
        width: pc.max(pc.list_value_length(first[name])).as_py() or 0
        for name, width in named.items()
    }
