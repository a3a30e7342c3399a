"""One run: the latest release of the tables into Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any, cast

from vidtopics.contracts import CREATED_TIME, RELEASES, STRUCTURES, VIEWS, Table
from vidtopics.layout import Layout, place
from vidtopics.materialization import strays, structures, views
from vidtopics.materialization.changes import Span
from vidtopics.materialization.generations import Generations
from vidtopics.materialization.loading import Loader, Progress, load_here
from vidtopics.materialization.lock import Lease, hold, lost
from vidtopics.materialization.reports import Moved
from vidtopics.materialization.writer import StoreWriter
from vidtopics.online.connections import Connection
from vidtopics.settings import OnlineSettings
from vidtopics.tables import Tables
from vidtopics.tables.whole import readable
from vidtopics.times import micros

Report = Callable[[Moved], None]


def _silent(*_: object) -> None:
    """Reports to nobody."""


def materialize(
    tables: Tables,
    connection: Connection,
    settings: OnlineSettings,
    *,
    full: bool = False,
    report: Report = _silent,
    progress: Progress = _silent,
    loader: Loader = load_here,
) -> list[Moved]:
    """Bring Redis to the latest release; what each view and structure needed.

    Args:
        tables: the home's tables.
        connection: Redis, one server or a cluster, answering in bytes.
        settings: prefix, buckets, whether vectors go online.
        full: fill a new generation of every view, then switch; write every list again.
        report: called after each view and structure.
        progress: called with a view's name, the rows that are moved and those there are.
        loader: moves the rows of files, in this process or on Spark's executors.

    Raises:
        LockError: another run holds the lock, or took it from this one.
        TableError: nothing was released, or a table of the release is missing or unreadable.
        StoreError: the prefix was made with other buckets, or Redis lost writes of this run.
        redis.exceptions.RedisError: the server can't be reached or refuses. Run again.
    """
    with hold(connection, settings.prefix) as lease:
        # The release is looked up under the lock: one that was found before it may be older than
        # what the last holder loaded.
        release = _latest(tables)
        number, now_us = release["release_id"], time.time_ns() // 1000
        writer = _writer(connection, settings, lease)
        writer.sweep()
        servers = strays.servers(connection, settings.prefix, Layout(settings.buckets))
        if not servers or servers != _entered(connection, settings.prefix, "servers"):
            strays.remove(writer.generations, lease)
            _enter(lease, "servers", servers)
        run = views.Round(tables, writer, lease, number, now_us, full, loader, progress)
        done = []
        for name in _unwanted(writer.generations, settings):
            writer.drop(name)
            done.append(Moved(name, number, taken_out=True))
            report(done[-1])
        for table, version in _parts(release, settings):
            moved = (
                views.bring(run, table, version)
                if table.view
                else structures.bring(tables, writer, lease, table, version, number, full=full)
            )
            report(moved)
            done.append(moved)
        if not all(moved.up_to_date for moved in done):
            _look_again(tables, writer.generations, release, settings, done)
        _enter(lease, "release", str(number))
    return done


def backfill(
    tables: Tables,
    connection: Connection,
    settings: OnlineSettings,
    span: Span,
    *,
    report: Report = _silent,
    progress: Progress = _silent,
) -> list[Moved]:
    """Write the latest release's rows with event times in `span` again; watermarks don't move.

    Raises:
        As :func:`materialize`; TableError also where a view has to be loaded first.
    """
    with hold(connection, settings.prefix) as lease:
        release = _latest(tables)
        writer = _writer(connection, settings, lease)
        now_us = time.time_ns() // 1000
        run = views.Round(
            tables, writer, lease, release["release_id"], now_us, False, load_here, progress
        )
        done = []
        for table, version in _parts(release, settings):
            if table.view:
                done.append(views.backfill(run, table, version, span))
                report(done[-1])
    return done


def preview(
    tables: Tables,
    connection: Connection,
    settings: OnlineSettings,
    *,
    full: bool = False,
    report: Report = _silent,
) -> list[Moved]:
    """What :func:`materialize` would do now; nothing is written, no lock taken.

    `written` counts the values or lists that it would send.
    """
    release = _latest(tables)
    store = Generations(connection, settings.prefix, settings.buckets)
    store.open(create=False)
    unwanted = (
        Moved(name, release["release_id"], taken_out=True) for name in _unwanted(store, settings)
    )
    done = []
    for moved in chain(unwanted, _previews(tables, store, release, settings, full=full)):
        report(moved)
        done.append(moved)
    return done


def lag_s(tables: Tables, loaded: int | None) -> float:
    """Seconds since the oldest release after `loaded` became known; 0 where there is none.

    A number that no release of the home has reached is another home's, or of before `releases` was
    lost: nothing of this one is loaded.
    """
    with readable(RELEASES):
        rows = tables.read(RELEASES, columns=["release_id", CREATED_TIME]).to_pylist()
    latest = max((row["release_id"] for row in rows), default=0)
    since = loaded if loaded and loaded <= latest else 0
    waiting = [micros(row[CREATED_TIME]) for row in rows if row["release_id"] > since]
    return max(0.0, time.time() - min(waiting) / 1e6) if waiting else 0.0


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
        table = VIEWS.get(name) or STRUCTURES.get(name)
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
            else structures.preview(tables, store, table, version, number, full=full)
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
    waiting = {moved.name for moved in done if moved.not_due}
    again = _previews(tables, store, release, settings, full=False, without=waiting)
    if not all(moved.up_to_date or moved.why for moved in again):
        raise lost(store.prefix)


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
