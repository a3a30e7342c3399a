"""One view: its rows go to the live generation, or to a new one that takes its place.

Rows are staged here: written under the run's load, so that no reader sees them before the run's
switch (:mod:`vidtopics.materialization.switching`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from deltalake import DeltaTable

from vidtopics.contracts import Table
from vidtopics.errors import TableError, explain
from vidtopics.failpoints import failpoint
from vidtopics.gates import before_load
from vidtopics.layout import Schema, ViewEntry, Watermark
from vidtopics.materialization import rebuilds
from vidtopics.materialization.changes import Span, changes, files, snapshot, stand_in
from vidtopics.materialization.generations import Generations, field_of
from vidtopics.materialization.loading import Loader, Progress, Work
from vidtopics.materialization.lock import Lease
from vidtopics.materialization.plans import LoadRecord, Plan, plan
from vidtopics.materialization.records import LiveRecord, retained_loads
from vidtopics.materialization.reports import Moved
from vidtopics.materialization.rows import sized_schema
from vidtopics.materialization.switching import Staged, dirty, next_load, records
from vidtopics.materialization.writer import StoreWriter
from vidtopics.settings import GateSettings
from vidtopics.tables import Tables
from vidtopics.tables.joined import ttl_us
from vidtopics.tables.releases import Release, read_log


@dataclass
class Round:
    """What all views of a run share.

    `after_failover`: other servers answer than in the last run. `gates`: limits of versions that no
    release's gates have judged; None: any version is loaded.
    """

    tables: Tables
    writer: StoreWriter
    lease: Lease
    release: int
    now_us: int
    full: bool
    loader: Loader
    progress: Progress
    after_failover: bool = False
    gates: GateSettings | None = None

    def judge(self, table: Table, delta: DeltaTable, marks: Sequence[Watermark | None]) -> None:
        """StoreError where a version that no release judged ends, or brings, too many keys."""
        if self.gates is not None:
            known = [m.version for m in marks if m and m.table_id == str(delta.metadata().id)]
            loaded = min(known) if known and len(known) == len(marks) else None
            log = self._release_log
            before_load(self.tables, table, loaded, delta.version(), log=log, settings=self.gates)

    @cached_property
    def _release_log(self) -> Sequence[Release]:
        return read_log(self.tables)

    @cached_property
    def load(self) -> int:
        """The number of the run's load, taken where something is written first."""
        return next_load(self.store, self.release, after_failover=self.after_failover)

    @cached_property
    def records(self) -> Sequence[LiveRecord]:
        """What was live before this run, and is retained."""
        return records(self.store)

    @property
    def store(self) -> Generations:
        """The directory."""
        return self.writer.generations

    def retained(self, view: str, entry: ViewEntry) -> list[int]:
        """The loads at which values of a view's generation may be read, whatever this run does."""
        live = self.store.entries().get(view)
        return retained_loads(self.records, live, (entry.number, entry.generation))


@dataclass(frozen=True)
class ViewState:
    """What Redis holds of a view, and what brings it to a version of its table.

    `marks`: per bucket, without what was gone back from. `is_live`: readers see all that the
    watermarks count.
    """

    entry: ViewEntry | None
    plan: Plan
    source: LoadRecord | None = None
    marks: Sequence[Watermark | None] = ()
    is_live: bool = False


def stage(run: Round, table: Table, version: int) -> tuple[Moved, Staged | None]:
    """Write what a view lacks of a version of its table; nothing is staged where it lacks none."""
    began, schema, store = time.monotonic(), Schema.of(table), run.store
    delta = snapshot(run.tables, table, version)
    state = look(store, table, delta, full=run.full, live_records=run.records)
    if state.plan.up_to_date:
        entry = store.register_for_load(table.name, schema, ttl_us(table))  # its TTL may be another
        assert state.source is not None
        source = state.source.restricted_to(version).to_json()
        moved = Moved(table.name, run.release, seconds=time.monotonic() - began)
        if not state.is_live:  # a run died before its switch
            mark = lowest(state.marks)
            return moved, Staged(table.name, entry, schema, source, mark, False, mark)
        if source != state.source.to_json():  # a run died after its watermarks
            store.remember(table.name, source)
        return Moved(table.name, run.release, up_to_date=True, seconds=moved.seconds), None
    run.judge(table, delta, state.marks)
    todo = _with_widths(store, table, delta, state)
    if todo.plan.rebuild:
        with rebuilds.attempt(run, table, todo.read, todo.plan.rebuild, state.entry):
            return _fill(run, table, version, delta, state, todo, began)
    return _fill(run, table, version, delta, state, todo, began)


@dataclass(frozen=True)
class Todo:
    """A plan with the schema that its rows are written by, and the snapshot to read them from."""

    plan: Plan
    schema: Schema
    read: DeltaTable
    names: frozenset[str] | None


def _with_widths(store: Generations, table: Table, delta: DeltaTable, state: ViewState) -> Todo:
    """The plan, once the widths of the new rows' vectors are known: others are other fields."""
    todo = state.plan
    read, names = stand_in(delta, todo.names)
    schema = sized_schema(table, read, names)
    if state.entry and not todo.rebuild and not store.fits(state.entry, schema):
        todo = Plan(rebuild="fields changed")
        read, names = stand_in(delta, todo.names)
    return Todo(todo, schema, read, names)


def _fill(
    run: Round,
    table: Table,
    version: int,
    delta: DeltaTable,
    state: ViewState,
    work: Todo,
    began: float,
) -> tuple[Moved, Staged]:
    """Write the rows that the plan names, to the live generation or to a new one."""
    schema, store, todo = work.schema, run.store, work.plan
    if todo.rebuild:
        goal, source = store.begin(table.name, schema, ttl_us(table)), None
    else:
        goal, source = store.register_for_load(table.name, schema, ttl_us(table)), state.source
    source = _from(source, goal, delta, todo)
    if not todo.rebuild:
        store.remember(table.name, source.to_json())
    retained = run.retained(table.name, goal)
    load = run.writer.load(goal, load=run.load, retained=retained)
    rows = Work(
        table, work.read.table_uri, work.read.version(), work.names, goal, schema, run.now_us
    )
    done = run.loader(rows, load, run.progress)
    # Rows that are not due hold the watermark back: the next run looks at them again.
    mark = None if done.not_due else Watermark(run.release, version, source.table_id)
    written = load.finish(mark, done.sent) + done.written
    failpoint("materialize.view")
    source = source.restricted_to(version) if mark else source
    if mark and not todo.rebuild:
        store.remember(table.name, source.to_json())
    staged = Staged(
        table.name,
        goal,
        schema,
        source.to_json(),
        lowest(store.watermarks(goal)),
        bool(todo.rebuild),
        str(Watermark(run.release, version, source.table_id)),
    )
    seconds, older = time.monotonic() - began, done.moved - written
    counts = (done.read, written, older, done.not_due, seconds)
    return Moved(table.name, run.release, *counts, why=todo.rebuild), staged


def backfill(run: Round, table: Table, version: int, span: Span) -> tuple[Moved, Staged]:
    """The rows of `span` into a view again, whatever its watermark says; it stays where it is."""
    began, store = time.monotonic(), run.store
    delta = snapshot(run.tables, table, version)
    state = look(store, table, delta, full=False, live_records=run.records)
    entry, todo = state.entry, state.plan
    if entry is None or todo.rebuild:
        raise TableError(
            explain(
                f"{table.name}, backfill of a range",
                expected="a view that is loaded from this table",
                found=todo.rebuild or "none yet",
                mend="run `vidtopics materialize` first",
            )
        )
    retained = run.retained(table.name, entry)
    source = _from(state.source, entry, delta, todo).to_json()
    store.remember(table.name, source)
    load = run.writer.load(entry, load=run.load, retained=retained)
    read, _ = stand_in(delta, None)
    schema = sized_schema(table, read, None)
    work = Work(table, read.table_uri, read.version(), None, entry, schema, run.now_us, span)
    done = run.loader(work, load, run.progress)
    written = load.finish(None, done.sent) + done.written
    seconds, older = time.monotonic() - began, done.moved - written
    moved = Moved(table.name, run.release, done.read, written, older, done.not_due, seconds)
    mark = lowest(store.watermarks(entry))
    return moved, Staged(table.name, entry, schema, source, mark, False, entry.source)


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
    """What :func:`stage` would read, and at most write. Reads alone."""
    began = time.monotonic()
    delta = snapshot(tables, table, version)
    state = look(store, table, delta, full=full, live_records=records(store))
    todo = state.plan
    if todo.up_to_date:
        seconds = time.monotonic() - began
        return Moved(table.name, release, up_to_date=state.is_live, seconds=seconds)
    sized = _with_widths(store, table, delta, state)
    todo = sized.plan
    new_rows = changes(table, sized.read, sized.names, now_us=now_us)
    return Moved(
        table.name,
        release,
        new_rows.read,
        new_rows.rows,
        0,
        new_rows.not_due,
        time.monotonic() - began,
        why=todo.rebuild,
        needs_bytes=rebuilds.needed_bytes(store, state.entry, sized.read, table)
        if todo.rebuild
        else 0,
    )


def look(
    store: Generations,
    table: Table,
    delta: DeltaTable,
    *,
    full: bool,
    live_records: Sequence[LiveRecord],
) -> ViewState:
    """What Redis holds of a view, and what its table needs. Reads alone."""
    entry = store.entries().get(table.name)
    if entry is None:
        return ViewState(None, Plan())
    text = store.source(table.name)
    source = LoadRecord.parse(text) if text else None
    if source and source.generation != entry.generation:
        source = None
    live = live_records[-1] if live_records else None
    live_mark = live.marks.get(table.name, "") if live else ""
    is_dirty = field_of(entry) in dirty(store)
    marks = _marks(store, entry, live_mark) if is_dirty else store.watermarks(entry)
    todo = plan(
        delta,
        entry,
        fits=store.fits(entry, Schema.of(table)),
        ttl_us=ttl_us(table),
        marks=marks,
        source=source,
        full=full,
    )
    is_live = bool(live_mark) and live_mark == lowest(marks)
    return ViewState(entry, todo, source, marks, is_live)


def _marks(store: Generations, entry: ViewEntry, text: str) -> list[Watermark | None]:
    """The watermarks as they were when what is live went live."""
    return [Watermark.parse(text.encode()) if text else None] * store.layout.buckets


def lowest(marks: Sequence[Watermark | None]) -> str:
    """The text of the lowest watermark; empty where a bucket has none.

    >>> lowest([Watermark(1, 9, "t"), Watermark(1, 8, "t")]), lowest([Watermark(1, 9, "t"), None])
    ('1 8 t', '')
    """
    known = [mark for mark in marks if mark]
    return str(min(known, key=lambda mark: mark.version)) if len(known) == len(marks) else ""


def _from(source: LoadRecord | None, entry: ViewEntry, delta: DeltaTable, todo: Plan) -> LoadRecord:
    """What a generation is loaded from, the version of `delta` included; noted before its rows."""
    source = source or LoadRecord(entry.generation, str(delta.metadata().id))
    return source.with_ttl(entry.ttl_us).with_version(delta.version(), files(delta), todo.since)
