"""One view: its rows go to the live generation, or to a new one that takes its place."""

from __future__ import annotations

import time
from dataclasses import dataclass

from deltalake import DeltaTable

from vidtopics.contracts import Table
from vidtopics.errors import TableError, explain
from vidtopics.failpoints import failpoint
from vidtopics.layout import Schema, ViewEntry, Watermark
from vidtopics.materialization.changes import Span, changes, files, snapshot, stand_in
from vidtopics.materialization.generations import Generations
from vidtopics.materialization.loading import Loader, Progress, Work
from vidtopics.materialization.lock import Lease
from vidtopics.materialization.plans import LoadRecord, Plan, plan
from vidtopics.materialization.reports import Moved
from vidtopics.materialization.writer import StoreWriter
from vidtopics.tables import Tables
from vidtopics.tables.joined import ttl_us


@dataclass(frozen=True)
class Round:
    """What all views of a run share."""

    tables: Tables
    writer: StoreWriter
    lease: Lease
    release: int
    now_us: int
    full: bool
    loader: Loader
    progress: Progress


def bring(run: Round, table: Table, version: int) -> Moved:
    """Bring a view to a version of its table."""
    began, schema = time.monotonic(), Schema.of(table)
    delta = snapshot(run.tables, table, version)
    generations = run.writer.generations
    _, todo, source = look(generations, table, delta, full=run.full)
    if todo.up_to_date:
        run.writer.register(table.name, schema, ttl_us(table))  # its TTL may have changed
        if source and source != source.restricted_to(version):  # a run died after its watermarks
            generations.remember(table.name, source.restricted_to(version).to_json())
        return Moved(table.name, run.release, up_to_date=True, seconds=time.monotonic() - began)
    if todo.rebuild:
        goal = generations.begin(table.name, schema, ttl_us(table))
        source = None
    else:
        goal = run.writer.register(table.name, schema, ttl_us(table))
    source = _from(source, goal, delta, todo)
    if not todo.rebuild:
        generations.remember(table.name, source.to_json())
    load = run.writer.load(goal)
    read, names = stand_in(delta, todo.names)
    done = run.loader(
        Work(table, read.table_uri, read.version(), names, goal, run.now_us), load, run.progress
    )
    # Rows that are not due hold the watermark back: the next run looks at them again.
    mark = None if done.not_due else Watermark(run.release, version, source.table_id)
    written = load.finish(mark, done.sent) + done.written
    failpoint("materialize.view")
    source = source.restricted_to(version) if mark else source
    if todo.rebuild:
        generations.switch(table.name, goal, schema, source.to_json())
        failpoint("materialize.switched")
        run.writer.sweep()
    elif mark:
        generations.remember(table.name, source.to_json())
    return Moved(
        table.name,
        run.release,
        done.read,
        written,
        done.moved - written,
        done.not_due,
        time.monotonic() - began,
        why=todo.rebuild,
    )


def backfill(run: Round, table: Table, version: int, span: Span) -> Moved:
    """The rows of `span` into a view again, whatever its watermark says; it stays where it is."""
    began = time.monotonic()
    delta = snapshot(run.tables, table, version)
    entry, todo, source = look(run.writer.generations, table, delta, full=False)
    if entry is None or todo.rebuild:
        raise TableError(
            explain(
                f"{table.name}, backfill of a range",
                expected="a view that is loaded from this table",
                found=todo.rebuild or "none yet",
                mend="run `vidtopics materialize` first",
            )
        )
    run.writer.generations.remember(table.name, _from(source, entry, delta, todo).to_json())
    load = run.writer.load(entry)
    read, _ = stand_in(delta, None)
    done = run.loader(
        Work(table, read.table_uri, read.version(), None, entry, run.now_us, span),
        load,
        run.progress,
    )
    written = load.finish(None, done.sent) + done.written
    return Moved(
        table.name,
        run.release,
        done.read,
        written,
        done.moved - written,
        done.not_due,
        time.monotonic() - began,
    )


def preview(
    tables: Tables,
    store: Generations,
    table: Table,
    version: int,
    release: int,
    *,
    now_us: int,
    full: bool,
) -> Moved:
    """What :func:`bring` would read, and at most write. Reads alone."""
    began = time.monotonic()
    delta = snapshot(tables, table, version)
    _, todo, _ = look(store, table, delta, full=full)
    if todo.up_to_date:
        return Moved(table.name, release, up_to_date=True, seconds=time.monotonic() - began)
    new_rows = changes(table, *stand_in(delta, todo.names), now_us=now_us)
    return Moved(
        table.name,
        release,
        new_rows.read,
        new_rows.rows,
        0,
        new_rows.not_due,
        time.monotonic() - began,
        why=todo.rebuild,
    )


def look(
    store: Generations, table: Table, delta: DeltaTable, *, full: bool
) -> tuple[ViewEntry | None, Plan, LoadRecord | None]:
    """The view as readers see it, what its table needs, and what it was loaded from."""
    entry = store.entries().get(table.name)
    if entry is None:
        return None, Plan(), None
    text = store.source(table.name)
    source = LoadRecord.parse(text) if text else None
    if source and source.generation != entry.generation:
        source = None
    fits = store.fits(entry, Schema.of(table))
    marks, ttl = store.watermarks(entry), ttl_us(table)
    todo = plan(delta, entry, fits=fits, ttl_us=ttl, marks=marks, source=source, full=full)
    return entry, todo, source


def _from(source: LoadRecord | None, entry: ViewEntry, delta: DeltaTable, todo: Plan) -> LoadRecord:
    """What a generation is loaded from, the version of `delta` included; noted before its rows."""
    source = source or LoadRecord(entry.generation, str(delta.metadata().id))
    return source.with_ttl(entry.ttl_us).with_version(delta.version(), files(delta), todo.since)
