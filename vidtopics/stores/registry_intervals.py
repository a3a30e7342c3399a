"""How far views are online, as Feast's registry says it: their materialisation intervals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vidtopics.contracts import RELEASES, VIEWS
from vidtopics.errors import StoreError, explain
from vidtopics.materialization import Moved
from vidtopics.stores.applied import REGISTRY, read_applied, record_applied, registry_state
from vidtopics.tables import Tables
from vidtopics.tables.whole import readable

Interval = tuple[datetime, datetime]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STAMP = "registry.release"
"""A file of the home: the last release that was recorded, and the registry's state after it."""


def record_release(tables: Tables, moved: Sequence[Moved]) -> None:
    """Record in the home's registry up to when its views are online.

    A view has every row up to the release's as-of time: there `feast materialize-incremental` goes
    on. The interval is merged into those of the view, so that they don't grow with each release.
    Feast writes a registry file as a whole, and of two writers at once the last wins: here too. A
    home without a registry (no `vidtopics apply` yet) stays without.

    Args:
        tables: the home's tables.
        moved: what :func:`vidtopics.materialization.materialize` gave.

    Raises:
        StoreError: the registry can't be read or written. The values are in Redis all the same.
    """
    file, registry = tables.home / "feature_store.yaml", tables.home / REGISTRY
    views = [m.name for m in moved if m.name in VIEWS and not (m.taken_out or m.not_due)]
    if not views or not (file.is_file() and registry.is_file()):
        return
    stamp = tables.home / STAMP
    try:
        # Without Feast, whose import takes seconds: a round without news costs next to nothing.
        if stamp.is_file() and stamp.read_text() == _stamp(moved[0].release, registry):
            return
        applied = read_applied(tables.home)
        _record(file, views, (EPOCH, _as_of(tables, moved[0].release)))
        stamp.write_text(_stamp(moved[0].release, registry))
        if applied is not None:
            record_applied(tables.home, applied)
    except OSError as error:
        raise StoreError(
            explain(
                str(registry),
                expected="a registry that can be written",
                found=str(error),
                mend="the release is in Redis; make the file writable and run again, "
                "so that Feast knows of it too",
            )
        ) from error


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same times in as few intervals as possible, first to last.

    >>> day = lambda n: datetime(2026, 1, n, tzinfo=UTC)
    >>> [(a.day, b.day) for a, b in merged([(day(5), day(6)), (day(1), day(3)), (day(2), day(4))])]
    [(1, 4), (5, 6)]
    """
    union: list[Interval] = []
    for start, end in sorted(intervals):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union


def _stamp(release: int, registry: Path) -> str:
    return json.dumps({"release": release, **registry_state(registry)})


def _as_of(tables: Tables, release: int) -> datetime:
    with readable(RELEASES):
        rows = tables.newest_rows(RELEASES)
        as_of = next(row["as_of"] for row in rows if row["release_id"] == release)
    return datetime.fromtimestamp(as_of.timestamp(), UTC)


def _record(file: Path, views: Sequence[str], interval: Interval) -> None:
    from feast import FeatureStore

    store = FeatureStore(fs_yaml_file=file)
    store.refresh_registry()  # type: ignore[no-untyped-call]
    registry: Any = store.registry
    for view in store.list_feature_views():
        if view.name in views and not _covers(view.materialization_intervals, interval):
            registry.apply_materialization(view, store.project, *interval, commit=False)
    for proto in registry.cached_registry_proto.feature_views:
        if proto.spec.project == store.project and proto.spec.name in views:
            _merge(proto.meta.materialization_intervals)
    registry.commit()


def _covers(intervals: Sequence[Interval], interval: Interval) -> bool:
    return any(start <= interval[0] and interval[1] <= end for start, end in intervals)


def _merge(protos: Any) -> None:
    """Merge a view's intervals in place."""
    union = merged(
        (p.start_time.ToDatetime(tzinfo=UTC), p.end_time.ToDatetime(tzinfo=UTC)) for p in protos
    )
    del protos[:]
    for start, end in union:
        proto = protos.add()
        proto.start_time.FromDatetime(start)
        proto.end_time.FromDatetime(end)
