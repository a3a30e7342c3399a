"""What the input tables hold before a delivery: the rows that it is judged against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow.dataset as ds

from vidtopics.contracts import CLICKS, IMPRESSIONS, INPUTS, VIDEO_CATALOG, Table
from vidtopics.tables import Tables
from vidtopics.tables.scans import scan
from vidtopics.tables.schemas import arrow_schema

JOB = "ingest"


def _no_rows() -> dict[str, ds.Dataset]:
    return {table.name: ds.dataset(arrow_schema(table).empty_table()) for table in INPUTS}


@dataclass(frozen=True)
class Known:
    """Rows of the input tables by table name, and the versions that they are of.

    `before` maps the content of a delivery to what was known before an attempt at it that did not
    end: an impression that it brought is no earlier one. None where there was no such attempt.
    """

    rows: Mapping[str, ds.Dataset] = field(default_factory=_no_rows)
    versions: Mapping[str, int] = field(default_factory=dict)
    before: Callable[[str], Known | None] = lambda content: None


def known(tables: Tables) -> Known:
    """What `tables` hold now."""
    versions = {table.name: tables.version(table) for table in INPUTS}
    return Known(
        {table.name: _rows(tables, table, versions[table.name]) for table in INPUTS},
        versions,
        lambda content: _before(tables, content),
    )


def _rows(tables: Tables, table: Table, version: int) -> ds.Dataset:
    if not tables.exists(table):
        return ds.dataset(arrow_schema(table).empty_table())
    return scan(tables.delta(table, version=version))


def _before(tables: Tables, content: str) -> Known | None:
    """The catalogue and the impressions before the commits of an attempt that brought no clicks."""
    attempts = {
        table.name: [
            c.version
            for c in (tables.commits(table) if content else [])
            if c.job == JOB and c.content == content
        ]
        for table in (VIDEO_CATALOG, IMPRESSIONS, CLICKS)
    }
    if not attempts[VIDEO_CATALOG.name] or attempts[CLICKS.name]:
        return None
    rows = _no_rows()
    for table in (VIDEO_CATALOG, IMPRESSIONS):
        first = min(attempts[table.name], default=tables.version(table) + 1)
        rows[table.name] = _rows(tables, table, first - 1)
    return Known(rows)
