"""Publishing with delta-rs: input logs, `releases`, and whatever a process without Spark computes.

Rows come as an Arrow dataset and are read twice, first as keys and hashes, then only those to
write: memory holds narrow columns, one batch, and what delta-rs has of the files that it writes. A
commit is made against exactly the version that the difference was taken from
(`max_commit_retries=0`): delta-rs alone would append a repeated transaction once more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction

from vidtopics.contracts import (
    COMMIT_VERSION,
    CREATED_TIME,
    EVENT_TIME,
    PARTITION_DATE,
    VALUE_HASH,
    Table,
)
from vidtopics.errors import ConflictError, ContractError, explain
from vidtopics.failpoints import failpoint
from vidtopics.tables import difference
from vidtopics.tables.commits import METADATA, Commit
from vidtopics.tables.row_groups import batches_in_order
from vidtopics.tables.scans import scan
from vidtopics.tables.schemas import ARROW, TIMESTAMP, arrow_schema
from vidtopics.tables.scratch import scratch
from vidtopics.tables.stamps import LateError, refuse_late
from vidtopics.tables.values import TOMBSTONE, value_hash, violations
from vidtopics.times import moment

BATCH = 65_536
DAY_ROWS = 10_000
"""Rows of one day in one delivery that are worth a file of their own."""
os.environ.setdefault("DELTARS_MAX_IN_FLIGHT_UPLOAD_BYTES", str(2**28))
"""What delta-rs holds of files that the disk is still to take: else up to 3.2 GB."""
Batches = Iterator[pa.RecordBatch]


def publish_complete(
    table: Table,
    delta: DeltaTable,
    rows: ds.Dataset,
    commit: Commit,
    following: difference.RunTimes | None,
    widths: Mapping[str, int],
    reused: pa.Table | None = None,
) -> Commit:
    """Publish every entity's value as of one time; ContractError where rows break the contract.

    `reused` names rows of the table that hold as they are, by key, times and value hash: their
    values are neither read nor hashed, but where one has to be written again under later times.
    """
    computed = narrow(table, rows, widths)
    stored = _narrow_history(table, reused) if reused is not None else None
    asserted = computed if stored is None else _union(table, computed, stored)
    refuse_repeats(table, asserted, table.key)
    sql = difference.complete_run(
        table.key, difference.RunTimes(commit.as_of_us, commit.created_us), following
    )
    with _compare(asserted, _history(table, delta)) as con:
        con.execute(f"CREATE TEMP TABLE changes AS {sql}")
        using = f"USING ({', '.join(table.key)})"
        new = con.sql(
            f"SELECT c.*, a.row_no, a.value_hash FROM changes c JOIN asserted a {using}"
            " WHERE kind = 'new' AND row_no IS NOT NULL ORDER BY row_no"
        ).to_arrow_table()
        others = "SELECT * FROM changes WHERE kind <> 'new'"
        if stored is not None:
            con.register("stored", stored)
            others += (
                f" UNION ALL SELECT {', '.join(f'c.{k}' for k in table.key)}, 'reassert',"
                " c.event_us, c.created_us, s.event_us, s.created_us"
                f" FROM changes c JOIN stored s {using} WHERE kind = 'new'"
            )
        other = con.sql(f"{others} ORDER BY ALL").to_arrow_table()
    # Read before the write starts: delta-rs can't be called from within its own.
    reasserted = _reasserted(table, delta, other)
    failpoint("publish.compared")

    def batches() -> Batches:
        for batch, part in _numbered_rows(rows, new):
            yield _with_times(
                table, batch, part["event_us"], part["created_us"], part["value_hash"]
            )
        yield from _tombstones(table, other).to_batches()
        yield from reasserted.to_batches()

    return append(
        table,
        delta,
        batches(),
        counted(commit, new.num_rows + other.num_rows, new["created_us"], other["created_us"]),
    )


def publish_changes(
    table: Table, delta: DeltaTable, rows: ds.Dataset, commit: Commit, widths: Mapping[str, int]
) -> Commit:
    """Publish rows with their own times (a catalogue), where the value differs from the last.

    A row whose values are all null ends its entity (a tombstone). A row may lie before the entity's
    last one if it became known after all of them (a correction of the past).
    """
    asserted = narrow(table, rows, widths, tombstones=True)
    refuse_repeats(table, asserted, (*table.key, "event_us", "created_us"))
    keys = ", ".join(table.key)
    with _compare(asserted, _history(table, delta)) as con:
        con.execute(f"CREATE TEMP TABLE changes AS {difference.changes(table.key)}")
        new = con.sql(
            "SELECT a.* FROM asserted a JOIN changes USING (row_no) ORDER BY row_no"
        ).to_arrow_table()
        late = con.sql(
            f"SELECT a.* FROM asserted a JOIN changes USING (row_no) JOIN history h USING ({keys})"
            " WHERE h.event_us >= a.event_us AND h.created_us >= a.created_us"
            " ORDER BY row_no LIMIT 1"
        ).to_arrow_table()
    if late.num_rows:
        row = late.to_pylist()[0]
        raise ContractError(
            explain(
                f"{table.name}, {[row[k] for k in table.key]} at {moment(row['event_us'])}",
                expected="a change that holds or is known after the entity's last row",
                found="an earlier one",
                mend="deliver a correction as known from its delivery on",
            )
        )
    failpoint("publish.compared")
    batches = (
        _with_times(table, batch, part["event_us"], part["created_us"], part["value_hash"])
        for batch, part in _numbered_rows(rows, new)
    )
    return append(table, delta, batches, counted(commit, new.num_rows, new["created_us"]))


def publish_snapshot(
    table: Table, delta: DeltaTable, rows: ds.Dataset, commit: Commit, last: Commit | None
) -> Commit:
    """Replace the table's rows, or only record the run where they are the same as before.

    A commit that has its `content` already brings back rows of an earlier version.
    """
    count = rows.count_rows()
    if not commit.content:
        commit = replace(commit, content=_content(table, rows))
        if last is not None and last.content == commit.content:
            failpoint("publish.compared")
            return append(table, delta, iter(()), replace(commit, rows=0))

    def batches() -> Batches:
        for batch in batches_in_order(rows):
            _raise_first(table, batch, violations(table, batch, {}))
            times = (
                pa.repeat(pa.scalar(us, pa.int64()), batch.num_rows)
                for us in (commit.as_of_us, commit.created_us)
            )
            columns = [batch[c.name].cast(ARROW[c.type]) for c in table.columns]
            yield pa.record_batch(
                [*columns, *(t.cast(TIMESTAMP) for t in times)], schema=arrow_schema(table)
            )

    failpoint("publish.compared")
    done = replace(commit, rows=count, created_min_us=commit.created_us)
    return append(table, delta, batches(), done, mode="overwrite")


def _content(table: Table, rows: ds.Dataset) -> str:
    """Equal where two snapshots have the same rows, in whatever order."""
    asserted = narrow(table, rows, {})
    refuse_repeats(table, asserted, table.key)
    keys = ", ".join(table.key)
    with scratch() as con:
        con.register("asserted", asserted)
        parts = con.sql(
            "SELECT COUNT(*), SUM(value_hash::HUGEINT),"
            f" BIT_XOR(hash({keys}, value_hash)) FROM asserted"
        ).fetchall()[0]
    return ":".join(str(part) for part in parts)


def publish_log(
    table: Table,
    delta: DeltaTable,
    rows: ds.Dataset,
    commit: Commit,
    widths: Mapping[str, int],
    spill: str,
) -> Commit:
    """Publish the rows of a log whose keys are new; rows beyond memory go to folder `spill`.

    The delivered keys are held in memory, those of the table are streamed past them: a key is
    unique for ever, and nothing but the keys says in which files it could be.
    """
    for batch in batches_in_order(rows):
        _raise_first(table, batch, violations(table, batch, widths))
        _refuse_times(
            table, batch[EVENT_TIME].cast(pa.int64()), batch[CREATED_TIME].cast(pa.int64())
        )
    keys = ", ".join(table.key)
    with _compare_spilling(rows, scan(delta), spill) as con:
        repeated = con.sql(
            f"SELECT {keys} FROM asserted GROUP BY {keys} HAVING COUNT(*) > 1 LIMIT 1"
        ).fetchall()
        if repeated:
            raise _repeated_key_error(table, repeated[0])
        con.execute(
            f"CREATE TEMP TABLE known AS SELECT {keys} FROM (SELECT {keys} FROM history)"
            f" SEMI JOIN (SELECT {keys} FROM asserted) USING ({keys})"
        )
        con.execute(
            f"CREATE TEMP TABLE fresh AS SELECT {_columns(table, delta)} FROM asserted"
            f" ANTI JOIN known USING ({keys})"
        )
        count, first = con.sql(
            f"SELECT COUNT(*), EPOCH_US(MIN({CREATED_TIME})) FROM fresh"
        ).fetchall()[0]
        failpoint("publish.compared")
        order = ", ".join([*_partitions(table), EVENT_TIME, keys])
        reader = con.sql(f"SELECT * FROM fresh ORDER BY {order}").to_arrow_reader(BATCH)
        batches = (batch.cast(arrow_schema(table)) for batch in reader)
        return append(table, delta, batches, replace(commit, rows=count, created_min_us=first))


def _columns(table: Table, delta: DeltaTable) -> str:
    """SQL of a log's stored columns; rows of a day that brings few go to its month's partition."""
    columns = ", ".join(c.name for c in table.timed_columns)
    if not table.by_day:
        return columns
    day = f"CAST({EVENT_TIME} AS DATE)"
    return (
        f"{columns}, CASE WHEN COUNT(*) OVER (PARTITION BY {day}) >= {DAY_ROWS} THEN {day}"
        f" ELSE CAST(date_trunc('month', {day}) AS DATE) END AS {PARTITION_DATE},"
        f" CAST({delta.version() + 1} AS BIGINT) AS {COMMIT_VERSION}"
    )


def _partitions(table: Table) -> list[str]:
    return [PARTITION_DATE] if table.by_day else []


def append(
    table: Table,
    delta: DeltaTable,
    batches: Batches,
    commit: Commit,
    mode: Literal["append", "overwrite"] = "append",
) -> Commit:
    """Commit rows on top of the version that `delta` was read at.

    Raises:
        ConflictError: another writer was first.
        LateError: the rows would be readable only after their created time.
    """
    schema = arrow_schema(table)
    late: list[LateError] = []
    try:
        write_deltalake(
            delta,
            pa.RecordBatchReader.from_batches(schema, _in_time(table, batches, commit, late)),
            mode=mode,
            partition_by=_partitions(table) or None,
            commit_properties=_properties(commit),
        )
    except CommitFailedError as error:
        raise _conflict(table, delta, error) from error
    except Exception as error:
        if late:  # delta-rs wraps what its reader raises
            raise late[0] from error
        raise
    failpoint("publish.committed")
    return replace(commit, version=delta.version())


def append_files(
    table: Table,
    delta: DeltaTable,
    files: Sequence[AddAction],
    commit: Commit,
    mode: Literal["append", "overwrite"] = "append",
) -> Commit:
    """Commit data files that executors wrote; the same errors as :func:`append`."""
    refuse_late(table.name, commit)
    try:
        delta.create_write_transaction(
            [*files], mode, delta.schema(), commit_properties=_properties(commit)
        )
    except CommitFailedError as error:
        raise _conflict(table, delta, error) from error
    failpoint("publish.committed")
    return replace(commit, version=delta.version() + 1)


def _properties(commit: Commit) -> CommitProperties:
    """What a commit carries; it is made on the version that was read, or not at all."""
    return CommitProperties(
        custom_metadata={METADATA: commit.to_json()},
        app_transactions=[Transaction(commit.job, commit.ordinal)],
        max_commit_retries=0,
    )


def _conflict(table: Table, delta: DeltaTable, error: CommitFailedError) -> ConflictError:
    return ConflictError(
        explain(
            table.name,
            expected=f"version {delta.version()} as the latest",
            found=str(error),
            mend="run again",
        )
    )


def _in_time(table: Table, batches: Batches, commit: Commit, late: list[LateError]) -> Batches:
    """The batches; at their end LateError where a commit would come too late, also in `late`."""
    yield from batches
    try:
        refuse_late(table.name, commit)
    except LateError as error:
        late.append(error)
        raise


def counted(commit: Commit, rows: int, *created: pa.ChunkedArray) -> Commit:
    """The commit with its number of rows and the earliest time that one of them became known."""
    earliest = [pc.min(c).as_py() for c in created if len(c)]
    return replace(commit, rows=rows, created_min_us=min(earliest, default=None))


def narrow(
    table: Table, rows: ds.Dataset, widths: Mapping[str, int], *, tombstones: bool = False
) -> pa.Table:
    """Keys, value hash, row number and any times of every asserted row, after the checks.

    With `tombstones`, a row whose values are all null is one, with value hash 0.
    """
    schema = [(k, ARROW[table.column(k).type]) for k in table.key]
    times = [
        (n, t)
        for n, t in (("event_us", EVENT_TIME), ("created_us", CREATED_TIME))
        if t in rows.schema.names
    ]
    schema += [(n, pa.int64()) for n in ("value_hash", "row_no", *(n for n, _ in times))]
    parts, start = [], 0
    for batch in batches_in_order(rows):
        ended = _all_values_null(table, batch) if tombstones else np.zeros(batch.num_rows, bool)
        faults = violations(table, batch, widths)
        _raise_first(table, batch, [None if e else f for e, f in zip(ended, faults, strict=True)])
        columns = [batch[k] for k in table.key]
        columns += [
            pa.array(np.where(ended, TOMBSTONE, value_hash(table, batch))),
            pa.array(range(start, start + batch.num_rows), pa.int64()),
        ]
        columns += [batch[t].cast(pa.int64()) for _, t in times]
        if times:
            _refuse_times(table, columns[-2], columns[-1])
        parts.append(pa.record_batch(columns, schema=pa.schema(schema)))
        start += batch.num_rows
    return pa.Table.from_batches(parts, schema=pa.schema(schema))


def _all_values_null(table: Table, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Whether every value of a row is null, bool[rows]."""
    nulls = [batch[c.name].is_null().to_numpy(zero_copy_only=False) for c in table.values]
    ended: npt.NDArray[np.bool_] = np.logical_and.reduce(nulls)
    return ended


def refuse_repeats(table: Table, rows: pa.Table, keys: tuple[str, ...]) -> None:
    """ContractError if a key stands twice in `rows`."""
    counts = rows.group_by(list(keys)).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))
    if twice.num_rows:
        raise _repeated_key_error(table, tuple(twice[k][0].as_py() for k in keys))


def _repeated_key_error(table: Table, key: tuple[object, ...]) -> ContractError:
    return ContractError(
        explain(
            f"{table.name}, {key}",
            expected="each key once",
            found="it twice",
            mend="deduplicate before publishing",
        )
    )


def _refuse_times(table: Table, event: pa.Array, created: pa.Array) -> None:
    late = pc.greater(event, created)
    if pc.any(late).as_py():
        i = pc.index(late, True).as_py()
        raise ContractError(
            explain(
                f"{table.name}, row {i}",
                expected="an event time at or before the created time",
                found=f"{moment(event[i].as_py())} after {moment(created[i].as_py())}",
                mend="a value can't be known before it holds; correct the created time",
            )
        )


def _raise_first(table: Table, batch: pa.RecordBatch, messages: list[str | None]) -> None:
    for i, message in enumerate(messages):
        if message:
            key = {k: batch[k][i].as_py() for k in table.key}
            raise ContractError(
                f"{table.name}, {key}: {message}."
                " Mend: correct the job, or its contract in vidtopics/contracts."
            )


def _union(table: Table, computed: pa.Table, stored: pa.Table) -> pa.Table:
    """Asserted rows, computed and stored ones: these have no row number."""
    columns = [*table.key, "value_hash"]
    numbers = pa.nulls(len(stored), pa.int64())
    named = stored.select(columns).append_column("row_no", numbers)
    return pa.concat_tables([computed.select(named.column_names), named])


def _history(table: Table, delta: DeltaTable) -> pa.Table:
    columns = [*table.key, EVENT_TIME, CREATED_TIME, VALUE_HASH]
    return _narrow_history(table, scan(delta).to_table(columns=columns))


def _narrow_history(table: Table, rows: pa.Table) -> pa.Table:
    times = [rows[name].cast(pa.int64()) for name in (EVENT_TIME, CREATED_TIME)]
    return pa.table(
        [*(rows[k] for k in table.key), *times, rows[VALUE_HASH]],
        names=[*table.key, "event_us", "created_us", "value_hash"],
    )


@contextmanager
def _compare(asserted: object, history: object) -> Iterator[duckdb.DuckDBPyConnection]:
    with scratch() as con:
        con.register("asserted", asserted)
        con.register("history", history)
        yield con


@contextmanager
def _compare_spilling(
    asserted: object, history: object, spill: str
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same beyond memory, in folder `spill`."""
    with duckdb.connect(config={"temp_directory": spill, "memory_limit": "2GB"}) as con:
        con.sql("SET TimeZone = 'UTC'")
        con.register("asserted", asserted)
        con.register("history", history)
        yield con


def _numbered_rows(
    rows: ds.Dataset, changes: pa.Table
) -> Iterator[tuple[pa.RecordBatch, pa.Table]]:
    """Batches of the rows numbered in `changes` (ascending), each with its part of `changes`."""
    numbers = changes["row_no"].to_numpy()
    start = 0
    for batch in batches_in_order(rows):
        low, high = numbers.searchsorted([start, start + batch.num_rows])
        if high > low:
            yield batch.take(pa.array(numbers[low:high] - start)), changes.slice(low, high - low)
        start += batch.num_rows


def _with_times(
    table: Table, batch: pa.RecordBatch, event: pa.Array, created: pa.Array, hashes: pa.Array
) -> pa.RecordBatch:
    columns = [batch[c.name].cast(ARROW[c.type]) for c in table.columns]
    times = [pc.cast(_flat(t), TIMESTAMP) for t in (event, created)]
    return pa.record_batch([*columns, *times, _flat(hashes)], schema=arrow_schema(table))


def _flat(array: pa.ChunkedArray | pa.Array) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _tombstones(table: Table, changes: pa.Table) -> pa.Table:
    """The rows that end their entities."""
    ended = changes.filter(pc.equal(changes["kind"], "tombstone"))
    nulls = {c.name: pa.nulls(ended.num_rows, ARROW[c.type]) for c in table.values}
    columns = {k: ended[k] for k in table.key} | nulls
    columns |= {
        EVENT_TIME: ended["event_us"].cast(TIMESTAMP),
        CREATED_TIME: ended["created_us"].cast(TIMESTAMP),
    }
    columns |= {VALUE_HASH: pa.array([TOMBSTONE] * ended.num_rows, pa.int64())}
    return (
        pa.table(columns, schema=arrow_schema(table))
        if ended.num_rows
        else arrow_schema(table).empty_table()
    )


def _reasserted(table: Table, delta: DeltaTable, changes: pa.Table) -> pa.Table:
    """The held rows that are written again under later times."""
    reasserted = changes.filter(pc.equal(changes["kind"], "reassert"))
    if not reasserted.num_rows:
        return arrow_schema(table).empty_table()
    values = ", ".join(f"h.{c.name}" for c in table.columns)
    matches = " AND ".join(f"h.{k} = a.{k}" for k in table.key)
    with _compare(reasserted, scan(delta)) as con:
        rows = con.sql(
            f"SELECT {values}, make_timestamptz(a.event_us) AS {EVENT_TIME},"
            f" make_timestamptz(a.created_us) AS {CREATED_TIME}, h.{VALUE_HASH}"
            f" FROM asserted a JOIN history h ON {matches}"
            f" AND epoch_us(h.{EVENT_TIME}) = a.held_event"
            f" AND epoch_us(h.{CREATED_TIME}) = a.held_created"
        ).to_arrow_table()
    return rows.cast(arrow_schema(table))
