"""One run: a release of the tables into Redis, visible as a whole by its switch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import chain, takewhile
from typing import Any, cast

import pyarrow.compute as pc
from deltalake.exceptions import DeltaError

from vidtopics.contracts import (
    RELEASES,
    TOPIC_QUEUES,
    USER_TOPICS,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
    VIEWS,
    Table,
)
from vidtopics.errors import ContractError, StoreError, TableError, explain
from vidtopics.failpoints import failpoint
from vidtopics.layout import place
from vidtopics.materialization import (
    cleaning,
    live,
    owners,
    pins,
    strays,
    structures,
    switching,
    views,
)
from vidtopics.materialization.changes import Span
from vidtopics.materialization.generations import Generations
from vidtopics.materialization.live_queues import LoadOrdering, prepare_queues
from vidtopics.materialization.loading import Loader, Progress, load_here
from vidtopics.materialization.lock import Lease, LockError, hold, lost
from vidtopics.materialization.reports import Moved
from vidtopics.materialization.upgrade import upgrade
from vidtopics.materialization.writer import StoreWriter
from vidtopics.online.connections import Connection
from vidtopics.online.live import LIVE_VIEWS
from vidtopics.releases import loads
from vidtopics.settings import GateSettings, OnlineSettings
from vidtopics.tables import Tables
from vidtopics.tables.releases import newest_released
from vidtopics.tables.whole import readable

Report = Callable[[Moved], None]
_logger = logging.getLogger(__name__)
GROUPS = (frozenset({VIDEO_TOPICS.name, USER_TOPICS.name, TOPIC_QUEUES.name}),)
"""Views and structures that go live together or not at all: their topics are of one epoch."""


class IncompleteError(TableError):
    """A run brought all but what the message names; `moved` has what it did."""

    def __init__(self, moved: Sequence[Moved]) -> None:
        super().__init__("\n".join(m.error for m in moved if m.error))
        self.moved = list(moved)


def _silent(*_: object) -> None:
    """Reports to nobody."""


def materialize(
    tables: Tables,
    connection: Connection,
    settings: OnlineSettings,
    *,
    full: bool = False,
    release: int | None = None,
    pin: str = "",
    take_over: bool = False,
    gates: GateSettings | None = None,
    report: Report = _silent,
    progress: Progress = _silent,
    loader: Loader = load_here,
    load_ordering: LoadOrdering | None = None,
) -> list[Moved]:
    """Bring Redis to a release, by default the one in force; what each view and structure needed.

    Nothing is seen of it before it is there as a whole. Where the prefix is pinned to a release, or
    the one in force was rolled back here, nothing is done (:func:`vidtopics.materialization.pins`
    says which).

    Args:
        tables: the home's tables.
        connection: Redis, one server or a cluster, answering in bytes.
        settings: prefix, buckets, whether vectors go online, how long releases are retained.
        full: fill a new generation of every view, then switch; write every list again.
        release: another release than the one in force.
        pin: who asks for later runs to stay at `release`; empty: nobody.
        take_over: the prefix becomes this home's, whoever loaded it before.
        gates: limits of versions that no release's gates have judged; None: any version is loaded.
        report: called after each view and structure.
        progress: called with a view's name, the rows that are moved and those there are.
        loader: moves the rows of files, in this process or on Spark's executors.
        load_ordering: reads the members of live queues, so that the release goes live with them;
            None: its queues are the batch's until a consumer has ordered them.

    Raises:
        LockError: another run holds the lock, or took it from this one.
        TableError: nothing was released, or a table of the release is missing or unreadable; then
            all others were brought all the same (:class:`IncompleteError`).
        StoreError: the prefix is another home's, was made with other buckets or is pinned to
            another release; Redis has no room; or it lost writes of this run.
        redis.exceptions.RedisError: the server can't be reached or refuses. Run again.
    """
    with hold(connection, settings.prefix) as lease:
        # The release is looked up under the lock: one that was found before it may be older than
        # what the last holder loaded.
        store = Generations(connection, settings.prefix, settings.buckets, lease)
        target = _target(tables, store, release)
        if target is None:
            _log_load(tables, store)
            return []
        owners.claim(lease, tables, take_over=take_over)
        upgrade(lease, settings.buckets)
        writer = _writer(connection, settings, lease)
        writer.sweep()
        number, now_us = target["release_id"], time.time_ns() // 1000
        after_failover = _clean_after_failover(writer, lease)
        _go_back_to(writer.generations, number)
        cleaning.reset(writer)
        run = views.Round(
            tables, writer, lease, number, now_us, full, loader, progress, after_failover, gates
        )
        prepare = partial(_prepare_queues, run, load_ordering) if load_ordering else _silent
        done = []
        for name in _unwanted(writer.generations, settings):
            writer.drop(name)
            done.append(Moved(name, number, taken_out=True))
            report(done[-1])
        done += _bring(run, list(_parts(target, settings)), report, prepare)
        keep_us = settings.keep // timedelta(microseconds=1)
        cleaning.expire(writer, keep_us, time.time_ns() // 1000)
        if not all(moved.up_to_date for moved in done):
            _look_again(tables, writer.generations, target, settings, done)
        if not any(moved.error for moved in done):
            _enter(lease, "release", str(number))
        if pin:
            pins.enter(lease, number, pin)
        _log_load(tables, writer.generations)
    if any(moved.error for moved in done):
        raise IncompleteError(done)
    return done


def _bring(
    run: views.Round,
    parts: Sequence[tuple[Table, int]],
    report: Report,
    prepare: Callable[[switching.Switch], None],
) -> list[Moved]:
    """Stage every view and structure of a release, then make all of them live at once."""
    done: dict[str, Moved] = {}
    staged: dict[str, switching.Staged] = {}
    queues: str | None = None
    for table, version in parts:
        try:
            if table.view:
                done[table.name], view = views.stage(run, table, version)
                if view:
                    staged[table.name] = view
            else:
                done[table.name], queues = structures.stage_queues(run, version)
        except (TableError, ContractError, StoreError) as error:
            if isinstance(error, LockError):
                raise
            done[table.name] = Moved(table.name, run.release, error=str(error))
        report(done[table.name])
    failed = _failed(done)
    views_to_switch = [view for name, view in staged.items() if name not in failed]
    fields = {TOPIC_QUEUES.name: queues} if queues and TOPIC_QUEUES.name not in failed else {}
    if views_to_switch or fields or _is_news(run, failed):
        live_us = time.time_ns() // 1000
        switch = switching.Switch(
            run.load, run.release, live_us, views_to_switch, fields, sorted(failed)
        )
        if {*LIVE_VIEWS} & {view.view for view in views_to_switch}:
            live.prepare(run.tables, run.store.connection, run.store.prefix, run.release)
        prepare(switch)
        failpoint("materialize.staged")
        switching.go_live(run.store, switch)
        failpoint("materialize.switched")
    return list(done.values())


def _prepare_queues(run: views.Round, ordering: LoadOrdering, switch: switching.Switch) -> None:
    """Write the live queues that go with a switch; a line where their tables can't be read.

    Then the batch's are shown until a consumer has them.
    """
    if TOPIC_QUEUES.name in switch.incomplete:
        return
    shown = {view.view: view.shown for view in switch.staged}
    try:
        prepare_queues(
            run.tables,
            run.store.connection,
            run.store.prefix,
            ordering,
            release=switch.release,
            shown=shown.get(VIDEO_STATISTICS.name),
            load=switch.load if switch.structures else None,
        )
    except TableError as error:
        _logger.warning("the queues of release %s aren't live yet: %s", switch.release, error)


def _failed(done: dict[str, Moved]) -> set[str]:
    """What stays at the release before: what failed, and what must not be of another than it."""
    failed = {name for name, moved in done.items() if moved.error}
    for group in GROUPS:
        if group & failed:
            failed |= group & done.keys()
    return failed


def _is_news(run: views.Round, failed: Collection[str]) -> bool:
    """Whether the live record says another release, or other parts that were left behind."""
    if not run.records:
        return True
    last = run.records[-1]
    return last.release != run.release or set(last.incomplete) != set(failed)


def _target(tables: Tables, store: Generations, release: int | None) -> dict[str, Any] | None:
    """The release to bring; None where nothing is to be done."""
    pin = pins.pinned(store)
    if pin and release not in (None, pin.release):
        raise StoreError(
            explain(
                f"Redis, prefix {store.prefix!r}",
                expected=f"a prefix that may go to release {release}",
                found=str(pin),
                mend="`vidtopics materialize --unpin` first",
            )
        )
    if release is not None:
        return release_of(tables, release)
    if pin:
        known = switching.records(store)
        is_there = bool(known) and known[-1].release == pin.release and not known[-1].incomplete
        return None if is_there else release_of(tables, pin.release)
    latest = _latest(tables)
    rolled_back = pins.held(store)
    return None if rolled_back and rolled_back.holds(latest["release_id"]) else latest


def _go_back_to(store: Generations, release: int) -> None:
    """Make the record of a release live where it is retained and another one is live."""
    known = switching.records(store)
    if known and known[-1].release != release and any(r.release == release for r in known):
        switching.go_back(store, release)


def release_of(tables: Tables, release: int) -> dict[str, Any]:
    """A release by its number; TableError where there is none."""
    with readable(RELEASES):
        rows = tables.read(RELEASES, columns=["release_id", "versions"])
    rows = rows.filter(pc.equal(rows["release_id"], release)).to_pylist()
    if not rows:
        raise TableError(
            explain(
                "releases",
                expected=f"release {release}",
                found="none of that number",
                mend="`vidtopics releases` lists them",
            )
        )
    return {"release_id": release, "versions": dict(rows[-1]["versions"])}


def _clean_after_failover(writer: StoreWriter, lease: Lease) -> bool:
    """Remove what a failover left, where other servers answer than at the end of the last run."""
    store = writer.generations
    servers, before = strays.servers(store), _entered(store.connection, store.prefix, "servers")
    if servers and servers == before:
        return False
    strays.remove(store, lease)
    _enter(lease, "servers", servers)
    return bool(before)


def backfill(
    tables: Tables,
    connection: Connection,
    settings: OnlineSettings,
    span: Span,
    *,
    report: Report = _silent,
    progress: Progress = _silent,
) -> list[Moved]:
    """Write the live release's rows with event times in `span` again; watermarks don't move.

    Raises:
        As :func:`materialize`; TableError also where a view has to be loaded first.
    """
    with hold(connection, settings.prefix) as lease:
        owners.claim(lease, tables)
        writer = _writer(connection, settings, lease)
        cleaning.reset(writer)
        known = switching.records(writer.generations)
        release = release_of(tables, known[-1].release) if known else _latest(tables)
        number, now_us = release["release_id"], time.time_ns() // 1000
        run = views.Round(tables, writer, lease, number, now_us, False, load_here, progress)
        done, staged = [], []
        for table, version in _parts(release, settings):
            if table.view:
                moved, view = views.backfill(run, table, version, span)
                staged.append(view)
                done.append(moved)
                report(moved)
        if staged:
            incomplete = known[-1].incomplete if known else ()
            switching.go_live(
                writer.generations,
                switching.Switch(run.load, number, now_us, staged, {}, incomplete),
            )
    return done


def preview(
    tables: Tables,
    connection: Connection,
    settings: OnlineSettings,
    *,
    full: bool = False,
    release: int | None = None,
    report: Report = _silent,
) -> list[Moved]:
    """What :func:`materialize` would do now; nothing is written, no lock taken.

    `written` counts the values or lists that it would send. Raises as :func:`materialize`.
    """
    store = Generations(connection, settings.prefix, settings.buckets)
    store.open(create=False)
    owners.check(connection, settings.prefix, tables)
    target = _target(tables, store, release)
    if target is None:
        return []
    number = target["release_id"]
    unwanted = (Moved(name, number, taken_out=True) for name in _unwanted(store, settings))
    done = []
    for moved in chain(unwanted, _previews(tables, store, target, settings, full=full)):
        report(moved)
        done.append(moved)
    return done


def lag_s(tables: Tables, loaded: int | None, *, until: int | None = None) -> float:
    """Seconds since the oldest release after `loaded` became known; 0 where there is none.

    `until`: a release that the prefix is pinned to; later ones don't count.

    A number that no release of the home has reached is another home's, or of before `releases` was
    lost: nothing of this one is loaded.
    """
    with readable(RELEASES):
        known = newest_released(tables)
        releases = (r for r in known if until is None or r.release_id <= until)
        latest = next(releases, None)
        if latest is None:
            return 0.0
        since = loaded if loaded and loaded <= latest.release_id else 0
        after = takewhile(lambda release: release.release_id > since, chain([latest], releases))
        oldest_us = min((release.created_us for release in after), default=None)
    return 0.0 if oldest_us is None else max(0.0, time.time() - oldest_us / 1e6)


def loaded_release(connection: Connection, prefix: str) -> int | None:
    """The release that the last complete run brought; None where there was none."""
    text = _entered(connection, prefix, "release")
    return int(text) if text else None


def _latest(tables: Tables) -> dict[str, Any]:
    with readable(RELEASES):
        return tables.latest_release()


def _parts(release: dict[str, Any], settings: OnlineSettings) -> Iterator[tuple[Table, int]]:
    """The views and structures of a release that go online, with the version of each."""
    for name, version in release["versions"].items():
        table = TOPIC_QUEUES if name == TOPIC_QUEUES.name else VIEWS.get(name)
        if table and _wanted(table, settings):
            yield table, version


def _wanted(table: Table, settings: OnlineSettings) -> bool:
    return settings.vectors or not (table.view and table.view.vectors)


def _unwanted(store: Generations, settings: OnlineSettings) -> list[str]:
    """Views that runs brought to Redis and that the settings leave out.

    Nothing would keep them fresh. What Feast alone wrote stays.
    """
    loaded = (name for name in store.entries() if name in VIEWS and store.source(name) is not None)
    return [name for name in loaded if not _wanted(VIEWS[name], settings)]


def _writer(connection: Connection, settings: OnlineSettings, lease: Lease) -> StoreWriter:
    """The holder's writer; from here on no earlier holder changes a key."""
    writer = StoreWriter(
        connection,
        prefix=settings.prefix,
        buckets=settings.buckets,
        lease=lease,
        max_ahead_us=settings.max_ahead // timedelta(microseconds=1),
    )
    lease.claim(writer.layout)
    return writer


def _previews(
    tables: Tables,
    store: Generations,
    release: dict[str, Any],
    settings: OnlineSettings,
    *,
    full: bool,
    without: Collection[str] = (),
) -> Iterator[Moved]:
    number, now_us = release["release_id"], time.time_ns() // 1000
    for table, version in _parts(release, settings):
        if table.name in without:
            continue
        yield (
            views.preview(tables, store, table, version, number, now_us=now_us, full=full)
            if table.view
            else structures.preview(tables, store, version, number, full=full)
        )


def _look_again(
    tables: Tables,
    store: Generations,
    release: dict[str, Any],
    settings: OnlineSettings,
    done: Sequence[Moved],
) -> None:
    """StoreError where the next run would do some of this one again.

    Then a watermark, a view or a mark of lists was lost after it was set.

    A view that would go to a new generation wasn't lost: somebody else has changed its fields or
    its TTL meanwhile.
    """
    waiting = {moved.name for moved in done if moved.not_due} | _failed({m.name: m for m in done})
    again = _previews(tables, store, release, settings, full=False, without=waiting)
    if not all(moved.up_to_date or moved.why for moved in again):
        raise lost(store.prefix)


def _log_load(tables: Tables, store: Generations) -> None:
    """Say in the home's log that the live release is live here, where it doesn't say so yet.

    A home that can't be written to goes without; the next run that can says it.
    """
    known = switching.records(store)
    if not known:
        return
    last = known[-1]
    if _entered(store.connection, store.prefix, "logged") == str(last.release) or last.incomplete:
        return
    assert store.lease is not None
    try:
        loads.record(tables, last.release, store.address, last.load, last.live_us)
    except (OSError, DeltaError, ContractError) as error:  # also a clock that is ahead
        _logger.warning("the home's load log can't be written: %s", error)
        return
    _enter(store.lease, "logged", str(last.release))


def _entered(connection: Connection, prefix: str, name: str) -> str:
    """What :func:`_enter` left; empty at first."""
    return cast("bytes", connection.get(place(prefix, name)) or b"").decode()


def _enter(lease: Lease, name: str, text: str) -> None:
    """Keep something of a run that came to its end."""
    if _entered(lease.connection, lease.prefix, name) == text:
        return
    key = place(lease.prefix, name)

    def change(pipe: Any) -> None:
        pipe.multi()
        pipe.set(key, text)

    lease.transaction(change)
