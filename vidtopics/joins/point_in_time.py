"""The point-in-time join: for each row of a spine, the latest row that held then and was known."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.errors import explain

Micros = NDArray[np.int64]

# What is the latest row at each of a key's times, then the last such time up to the spine's. Rows of one time are peers in
# the window, so all of them carry the winner and it doesn't matter which one ASOF picks.
JOIN = """
WITH seen AS (
    SELECT {keys}, since, max(rank) OVER (PARTITION BY {keys} ORDER BY since) AS rank FROM feature_rows
)
SELECT spine.row_no, seen.rank FROM spine ASOF JOIN seen ON {same} AND spine.at >= seen.since
"""


def matches(
    spine_keys: pa.Table,
    spine_us: Micros,
    rows: pa.Table,
    event_us: Micros,
    created_us: Micros,
    *,
    known_by: int | Micros | None = None,
    ttl_us: int = 0,
    strictly_before: bool = False,
) -> NDArray[np.int64]:
    """For each spine row the row with the latest (event, created) among those that held by its time and were known.

    int64 microseconds all through. Of rows that are equal in key, event and created the last one wins; null keys match nothing; a
    tombstone is a row like any other, whose payload is null.

    Args:
        spine_keys: N rows; its columns are the key, by the names that they have in `rows`.
        spine_us: int64[N], the times asked for.
        rows: M rows with the key's columns.
        event_us: int64[M], from when each row holds.
        created_us: int64[M], from when it was known.
        known_by: None: whatever was known when. A time: rows known by then, for the whole spine. int64[N]: rows known by
            then, which has to lie equally far from the spine's time in every row (`spine_us`: known by the time asked for).
        ttl_us: rows whose event is older than this don't count, exactly as old does; 0: no limit.
        strictly_before: an event at the spine's time doesn't count yet.

    Returns:
        int64[N], row numbers of `rows`, -1 where there is none; in the spine's order.

    Raises:
        ValueError: columns or lengths don't fit, or `known_by` lies unequally far from `spine_us`.

    >>> rows = pa.table({"video_id": ["a", "a", "b"]})
    >>> event, created = np.array([10, 20, 10]), np.array([11, 50, 11])
    >>> spine, times = pa.table({"video_id": ["a", "a", "b", "c"]}), np.array([30, 50, 9, 50])
    >>> matches(spine, times, rows, event, created).tolist()
    [1, 1, -1, -1]
    >>> matches(spine, times, rows, event, created, known_by=times).tolist()
    [0, 1, -1, -1]
    """
    _check(spine_keys, spine_us, rows, event_us, created_us)
    if not len(spine_us) or not len(event_us):
        return np.full(len(spine_us), -1, np.int64)
    since = event_us + strictly_before
    usable = np.ones(len(event_us), bool)
    if isinstance(known_by, np.ndarray):
        since = np.maximum(since, created_us - _distance(spine_us, known_by))
    elif known_by is not None:
        usable = created_us <= known_by
    order = np.lexsort((created_us, event_us))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    held = rows.select(spine_keys.column_names).append_column("since", [since]).append_column("rank", [rank])
    found = _join(spine_keys, spine_us, held.filter(pa.array(usable)))
    at = np.full(len(spine_us), -1, np.int64)
    at[found["row_no"].to_numpy()] = order[found["rank"].to_numpy()]
    if ttl_us:
        at[(at >= 0) & (event_us[at] < spine_us - ttl_us)] = -1
    return at


def _join(spine_keys: pa.Table, spine_us: Micros, held: pa.Table) -> pa.Table:
    """(row_no, rank) of the spine rows that have a row."""
    names = [f'"k{i}"' for i in range(spine_keys.num_columns)]
    plain = [name.strip('"') for name in names]
    spine = (
        spine_keys.rename_columns(plain)
        .append_column("at", [spine_us])
        .append_column("row_no", [np.arange(len(spine_us))])
    )
    same = " AND ".join(f"spine.{name} = seen.{name}" for name in names)
    with duckdb.connect() as con:
        con.register("spine", spine)
        con.register("feature_rows", held.rename_columns([*plain, "since", "rank"]))
        return con.sql(JOIN.format(keys=", ".join(names), same=same)).to_arrow_table()


def _distance(spine_us: Micros, known_by: Micros) -> int:
    """`known_by - spine_us`, the same for all rows: then "held and known" is one time, as ASOF needs it."""
    distances = np.unique(known_by - spine_us) if known_by.shape == spine_us.shape else np.empty(0)
    if len(distances) != 1:
        raise ValueError(
            explain(
                "known_by",
                expected="one distance from spine_us in all rows",
                found=f"{len(distances)} distances, shape {known_by.shape}",
                mend="join the rows of each distance by themselves",
            )
        )
    return int(distances[0])


def _check(spine_keys: pa.Table, spine_us: Micros, rows: pa.Table, event_us: Micros, created_us: Micros) -> None:
    lengths = (len(spine_keys), len(spine_us)), (len(rows), len(event_us), len(created_us))
    if any(len(set(group)) > 1 for group in lengths):
        raise ValueError(
            explain(
                "matches", expected="keys and times of equal length", found=str(lengths), mend="pass all rows of each"
            )
        )
    missing = set(spine_keys.column_names) - set(rows.column_names)
    if missing or not spine_keys.num_columns:
        found = f"no {', '.join(sorted(missing))} in rows" if missing else "no column"
        raise ValueError(
            explain("matches", expected="the key's columns on both sides", found=found, mend="rename them")
        )
