"""Figures that every table has: live keys, those that end, appear or change, and nulls."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from vidtopics.contracts import Table
from vidtopics.gates.verdicts import Figure
from vidtopics.gates.versions import Releases


def key_figures(releases: Releases, table: Table) -> Iterator[Figure]:
    """Live keys, and the shares of them that the candidate ends, brings and changes.

    All three shares are of the keys that were live before: twice as many keys are an appeared share
    of 1.
    """
    old, new, using = releases.old(table), releases.new(table), f"USING ({', '.join(table.key)})"
    first = table.key[0]
    rows, before, *counts = releases.row(
        f"SELECT count(n.{first}), count(o.{first}), count(*) FILTER (n.{first} IS NULL),"
        f" count(*) FILTER (o.{first} IS NULL), count(*) FILTER (n.{first} IS NOT NULL AND"
        f" o.{first} IS NOT NULL AND n.value_hash IS DISTINCT FROM o.value_hash)"
        f" FROM {new} n FULL JOIN {old} o {using}"
    )
    ended = f"FROM {old} ANTI JOIN {new} {using}"
    appeared = f"FROM {new} ANTI JOIN {old} {using}"
    changed = f"FROM {new} n JOIN {old} o {using} WHERE n.value_hash IS DISTINCT FROM o.value_hash"
    yield Figure(
        f"{table.name}.rows",
        rows,
        examples=partial(releases.keys, f"SELECT key_text {ended} ORDER BY 1"),
    )
    reason = reason_not_comparable(releases, table, before)
    shares = (("ended", ended), ("appeared", appeared), ("changed", changed))
    for (name, having), count in zip(shares, counts, strict=True):
        text = "n.key_text" if name == "changed" else "key_text"
        yield Figure(
            f"{table.name}.{name}_share",
            None if reason else count / before,
            before,
            reason,
            examples=partial(releases.keys, f"SELECT {text} {having} ORDER BY 1"),
        )


def reason_not_comparable(releases: Releases, table: Table, before: int) -> str:
    """Why the candidate's keys can't be held against those of before; empty where they can."""
    if not before:
        return releases.nothing_before(table)
    return other_epoch(releases, table) if table.key[0] == "topic_id" else ""


def other_epoch(releases: Releases, table: Table) -> str:
    """Why topic IDs can't be held against those of before; empty where they can."""
    old, new = epochs(releases, table)
    return f"topic IDs of epochs {old} and {new} differ" if new and old != new else ""


def epochs(releases: Releases, table: Table) -> tuple[int, int]:
    """The greatest topic epoch of a table before and in the candidate; 0 where it has no rows."""
    old, new = (
        releases.count(f"SELECT max(topic_epoch) FROM {rows}")
        for rows in (releases.old(table), releases.new(table))
    )
    return old, new


def null_figures(releases: Releases, table: Table) -> Iterator[Figure]:
    """Share of live keys without a value, of each column that has to have one.

    Columns of vectors are judged where they are read (:mod:`vidtopics.gates.vectors`).
    """
    new = releases.new(table)
    names = [c.name for c in table.values if not c.optional and c.type != "list<float32>"]
    counts = ", ".join(f"count(*) - count({name})" for name in names)
    rows, *nulls = releases.row(f"SELECT count(*), {counts} FROM {new}")
    for name, count in zip(names, nulls, strict=True):
        query = f"SELECT key_text FROM {new} WHERE {name} IS NULL ORDER BY 1"
        yield Figure(
            f"{table.name}.{name}.null_share",
            count / rows if rows else None,
            examples=partial(releases.keys, query),
        )
