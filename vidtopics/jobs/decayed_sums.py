"""Sums of events by key, plain and decayed, from an earlier run's sums and the events since.

Decayed sums hold as of the key's last event, whose time stands in the row: without a new event a
row stays as it is (`docs/adr/0040-what-is-known-of-a-user.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, NamedTuple

from vidtopics.jobs.sql import Engine
from vidtopics.rates import halved


class Sums(NamedTuple):
    """What comes of a column of the events.

    Attributes:
        column: of `events`.
        total: column of the result, the plain sum.
        decayed: column of the result, the decayed sum.
        total_type: SQL type of `total`.
    """

    column: str
    total: str
    decayed: str
    total_type: Literal["BIGINT", "FLOAT"]


def name_last_events(engine: Engine, key: str, decayed_at: str) -> None:
    """Name `last_events`: of each key in `events` the time of its last one, in `base` or since.

    `decayed_at`: the column of `base` with the time of its last event, in microseconds.
    """
    engine.view(
        "last_events",
        f"SELECT e.{key}, GREATEST(MAX(e.us), COALESCE(MAX(b.{decayed_at}), MAX(e.us))) AS last_us"
        f" FROM {{events}} e LEFT JOIN {{base}} b ON e.{key} = b.{key} GROUP BY e.{key}",
        reused=True,
    )


def sum_events(
    engine: Engine, key: str, decayed_at: str, sums: Sequence[Sums], half_life: timedelta
) -> str:
    """SQL of the rows of all keys in `events`: key, totals, decayed sums, `decayed_at`.

    Args:
        engine: has `events` (key, us, the columns of `sums`) and `base`, rows of an earlier result.
        key: column of the key.
        decayed_at: column of the result, the time that the decayed sums hold at.
        sums: the columns to add up.
        half_life: after which an event counts a half.
    """
    name_last_events(engine, key, decayed_at)
    of_event = halved("us", "last_us", half_life)
    of_base = halved(decayed_at, "last_us", half_life)
    events = ", ".join(f"{s.column}, {s.column} * {of_event} AS decayed_{s.column}" for s in sums)
    base = ", ".join(f"{_widened(s)}, {s.decayed} * {of_base} AS decayed_{s.column}" for s in sums)
    engine.view(
        "parts",
        f"SELECT e.{key}, last_us, {events}"
        f" FROM {{events}} e JOIN {{last_events}} l ON e.{key} = l.{key}"
        f" UNION ALL SELECT b.{key}, last_us, {base}"
        f" FROM {{base}} b JOIN {{last_events}} l ON b.{key} = l.{key}",
    )
    totals = [f"CAST(SUM({s.column}) AS {s.total_type}) AS {s.total}" for s in sums]
    decayed = [f"CAST(SUM(decayed_{s.column}) AS FLOAT) AS {s.decayed}" for s in sums]
    columns = ", ".join([*totals, *decayed])
    return f"SELECT {key}, {columns}, MAX(last_us) AS {decayed_at} FROM {{parts}} GROUP BY {key}"


def _widened(sums: Sums) -> str:
    """A total of before, in the type that it is added up in."""
    kind = "DOUBLE" if sums.total_type == "FLOAT" else sums.total_type
    return f"CAST({sums.total} AS {kind}) AS {sums.column}"
