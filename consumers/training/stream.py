"""The point-in-time join of a spine larger than memory, a chunk at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from consumers.training.sources import Known, StreamedView
from consumers.training.spill import evenly, rows_at_once
from consumers.training.spines import check_types
from vidtopics.contracts import EVENT_TIME, Table
from vidtopics.releases.served import servings
from vidtopics.tables import FOREVER, Tables
from vidtopics.tables.joined import check_columns, output_name
from vidtopics.tables.pins import Pins
from vidtopics.timestamps import microseconds

CHUNK_ROWS = 1_048_576
"""Rows of the spine that are matched at once; features, which may be wide, are taken for fewer:
:func:`rows_at_once`."""


def join_stream(
    tables: Tables,
    spine: pa.RecordBatchReader,
    views: Sequence[Table],
    *,
    known_by: bool = True,
    served: str = "",
    versions: Mapping[str, int] | None = None,
    pins: Pins | None = None,
    full_feature_names: bool = False,
    folder: Path | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> pa.RecordBatchReader:
    """The spine's rows, one for one and in order, with the views' features as of their times.

    Memory: keys and times of the views' rows, and one chunk of the spine; features lie on disk. The
    result is read once, by `deltalake.write_deltalake`, `pyarrow.parquet.ParquetWriter` or a loop.
    Its schema's metadata has the pins of what was joined, as those of Feast's offline store have.

    Args:
        tables: where the views' tables lie.
        spine: the views' keys, `event_timestamp` (without a zone: UTC), and any further columns.
        views: contracts of the views; each has its own TTL.
        known_by: rows that became known after the spine's time don't exist.
        served: with `known_by`, a row is known while a release that has it is live in this store
            of the load log (`any`: in the first that had it), and not from its commit on.
        versions: the version to read of each table, as a release names them; the latest where it
            names none.
        pins: of an earlier result, whichever of the two made it: the same rows are joined again,
            and `versions` isn't looked at.
        full_feature_names: `video_topics__topic_ids` for `topic_ids`.
        folder: where features lie meanwhile; the system's folder for temporary files if left out.
        chunk_rows: rows of the spine in memory.

    Raises:
        TableError: a table is missing, the spine lacks a column or has one of another type, names
            collide; a view has no pin, or its pinned rows can't be read any more. While it is read:
            a time is null, or past what the pins count for.

    >>> from vidtopics.contracts import VIDEO_STATISTICS
    >>> tables = Tables(tempfile.mkdtemp())
    >>> _ = tables.delta(VIDEO_STATISTICS, create=True)
    >>> times = pa.array([0], pa.timestamp("us", "UTC"))
    >>> spine = pa.table({"video_id": ["a"], "event_timestamp": times})
    >>> join_stream(tables, spine.to_reader(), [VIDEO_STATISTICS]).read_all().column_names[:4]
    ['video_id', 'event_timestamp', 'video_exposures', 'video_clicks']
    """
    check_columns(spine.schema.names, views, full=full_feature_names)
    check_types(spine.schema, views, where="spine")
    place = folder or Path(tempfile.gettempdir())
    # All of it now: delta-rs can't be called by a generator that it is writing itself.
    known = _known(tables, views, pins, known_by, served)
    if pins:
        pins.of_views([view.name for view in views], "join_stream")
        sources = [
            StreamedView.pinned(tables, view, pins.views[view.name], place, known) for view in views
        ]
    else:
        sources = [
            StreamedView.latest(tables, view, (versions or {}).get(view.name), place, known)
            for view in views
        ]
        pins = Pins({source.table.name: source.pin for source in sources})
    fields = [
        field.with_name(
            output_name(source.table, field.name, full=full_feature_names)
        ).with_nullable(True)
        for source in sources
        for field in source.features.schema
    ]
    schema = pa.schema(
        [*spine.schema, *fields], {**(spine.schema.metadata or {}), **pins.metadata()}
    )
    batches = _join_chunks(evenly(spine, chunk_rows), sources, schema, known_by)
    return pa.RecordBatchReader.from_batches(schema, batches)


def _known(
    tables: Tables, views: Sequence[Table], pins: Pins | None, known_by: bool, store: str
) -> Known:
    """What the join may know; of a result that is made again, no load that came after it."""
    if not store:
        return Known(known_by)
    until_us = max((pin.pinned_us for pin in pins.views.values()), default=0) if pins else FOREVER
    return Known(known_by, store, servings(tables, views, store, until_us))


def _join_chunks(
    chunks: Iterator[pa.RecordBatch],
    sources: Sequence[StreamedView],
    schema: pa.Schema,
    known_by: bool,
) -> Iterator[pa.RecordBatch]:
    first_row, batch_rows = 0, rows_at_once(source.features for source in sources)
    for chunk in chunks:
        spine = pa.Table.from_batches([chunk])
        times = microseconds(spine[EVENT_TIME], f"spine, {EVENT_TIME}", first_row=first_row)
        matched = [
            source.join(spine.select(list(source.table.key)), times, known_by=known_by)
            for source in sources
        ]
        for start in range(0, chunk.num_rows, batch_rows):
            part = slice(start, start + batch_rows)
            taken = [
                source.features.take(rows[part])
                for source, rows in zip(sources, matched, strict=True)
            ]
            columns = [_flat(column) for table in taken for column in table.columns]
            yield pa.record_batch(
                [*chunk.slice(start, batch_rows).columns, *columns], schema=schema
            )
        first_row += chunk.num_rows


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
