"""Rows that are pushed through Feast into a Delta table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from feast import FeatureView, RepoConfig

from vidtopics.contracts import TABLES
from vidtopics.errors import TableError, explain
from vidtopics.stores.delta.rows import fitted
from vidtopics.stores.delta.sources import table_of
from vidtopics.stores.delta.tables import open_table, reaching


def append(
    config: RepoConfig, view: FeatureView, rows: pa.Table, progress: Callable[[int], Any] | None
) -> None:
    """Append a view's rows to its table, in one commit.

    Raises:
        TableError: there is no such table; it is one that a job publishes (exactly once, checked,
            with a release); columns are missing or too many; a value doesn't fit the table's
            type; a key or a time is null.
    """
    source = view.batch_source
    assert source is not None
    place = table_of(config, source)
    delta = open_table(place, f"view {view.name}")
    schema = pa.schema(delta.schema().to_arrow())
    _refuse_published(delta, schema, view)
    back = {new: old for old, new in (source.field_mapping or {}).items()}
    rows = rows.rename_columns([back.get(name, name) for name in rows.column_names])
    if set(rows.column_names) != set(schema.names):
        raise _push_error(
            view, f"the columns {', '.join(schema.names)}", ", ".join(rows.column_names)
        )
    required = [
        *(back.get(c.name, c.name) for c in view.entity_columns),
        source.timestamp_field,
        source.created_timestamp_column or "",
    ]
    columns = [
        _column(rows[f.name], f, view, required=f.name in (back.get(r, r) for r in required))
        for f in schema
    ]
    with reaching(place, f"view {view.name}"):
        write_deltalake(delta, pa.table(columns, schema=schema), mode="append")
    if progress:
        progress(len(rows))


def _refuse_published(delta: DeltaTable, schema: pa.Schema, view: FeatureView) -> None:
    contract = TABLES.get(delta.metadata().name or "")
    if contract and {c.name for c in contract.all_columns} <= set(schema.names):
        raise TableError(
            explain(
                f"view {view.name}",
                expected="rows published by the job of this table",
                found="rows pushed through Feast",
                mend=f"publish them with vidtopics.tables, contract {contract.name}",
            )
        )


def _column(
    values: pa.ChunkedArray, field: pa.Field, view: FeatureView, *, required: bool
) -> pa.ChunkedArray:
    column = fitted(values, field.type, f"rows for view {view.name}, column {field.name}")
    if column.null_count and (required or not field.nullable):
        raise _push_error(view, f"no null in {field.name}", f"{column.null_count}")
    return column


def _push_error(view: FeatureView, expected: str, found: str) -> TableError:
    return TableError(
        explain(
            f"rows for view {view.name}",
            expected=expected,
            found=found,
            mend="bring them to the table's schema",
        )
    )
