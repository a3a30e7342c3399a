"""A file of answered requests, and the release that each should have been answered from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from consumers.live import LivePart
from consumers.parity.live_log import LiveLog
from consumers.parity.live_queue_log import LiveQueueLog
from consumers.parity.log import is_blanked
from consumers.parity.release_store import ReleaseStore
from consumers.parity.requests import Logged, differences
from consumers.recommendation import Scorer
from vidtopics.contracts import LOADS
from vidtopics.errors import InputError, TableError, explain
from vidtopics.materialization.live_queues import LoadOrdering
from vidtopics.releases.loads import Load, read_loads
from vidtopics.settings import Settings
from vidtopics.tables import Tables
from vidtopics.tables.releases import Release, read_log
from vidtopics.times import moment

NAMES = {field.name for field in fields(Logged)}
LATER = {"live"}
"""What lines of earlier versions lack."""


def append(path: Path, logged: Logged) -> None:
    """Add a request to a file, as a line of JSON by one write: processes may share the file."""
    line = json.dumps(logged.to_json(), separators=(",", ":"), ensure_ascii=False) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def read_requests(path: Path) -> Iterator[tuple[int, Logged | None]]:
    """Each line's number, from 1, and its request; None where the line can't be read.

    Raises:
        InputError: there is no such file.
    """
    if not path.is_file():
        raise InputError(
            explain(
                str(path),
                expected="a file of answered requests",
                found="a folder" if path.is_dir() else "nothing",
                mend="let the service log: `vidtopics recommend USER --log FILE`, or"
                " consumers.parity.request_log.append",
            )
        )
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not is_blanked(line):
                yield number, _parse(line)


def _parse(line: bytes) -> Logged | None:
    try:
        row: Any = json.loads(line)
        return Logged(**row) if NAMES - LATER <= row.keys() <= NAMES and _is_whole(row) else None
    except (ValueError, AttributeError, KeyError, TypeError):
        return None


def _is_whole(row: dict[str, Any]) -> bool:
    """Whether a line's values have the types and lengths of a request."""
    numbers = all(type(row[name]) is int for name in ("logged_us", "at_us", "seed"))
    videos, scores = row["candidates"], row["scores"]
    if not (numbers and isinstance(row["user_id"], str) and isinstance(row["features"], dict)):
        return False
    if row.get("live") is not None:
        LivePart.from_json(row["live"])
    return (
        isinstance(videos, list)
        and isinstance(scores, list)
        and len(videos) == len(scores)
        and all(isinstance(video, str) for video in videos)
        and all(isinstance(score, float | int) for score in scores)
    )


class LiveReleases:
    """The releases of one online store by the load log, each as a store to ask again."""

    def __init__(self, tables: Tables, store: str = "") -> None:
        """Choose the loads of a store; empty: of the only one that there is.

        Raises:
            TableError: no release ever went live there, or `store` is needed.
        """
        loads = read_loads(tables)
        stores = sorted({load.store for load in loads})
        if (store and store not in stores) or not stores:
            raise _no_load(tables, store, ", ".join(stores) or "no load")
        if not store and len(stores) > 1:
            raise _no_load(tables, "one store", f"loads of {', '.join(stores)}")
        self.tables = tables
        self.loads: list[Load] = [load for load in loads if load.store == (store or stores[0])]
        self._releases = {row.release_id: row for row in read_log(tables)}
        self._stores: dict[int, ReleaseStore] = {}

    def release_at(self, us: int) -> Release | None:
        """The release that was live at a time; None before the first."""
        earlier = [load.release_id for load in self.loads if load.live_us <= us]
        return self._releases[earlier[-1]] if earlier else None

    def at(self, us: int) -> ReleaseStore | None:
        """That release as a store."""
        release = self.release_at(us)
        if release is None:
            return None
        number = release.release_id
        if number not in self._stores:
            self._stores = {number: ReleaseStore(self.tables, release.versions)}
        return self._stores[number]


def _no_load(tables: Tables, expected: str, found: str) -> TableError:
    return TableError(
        explain(
            str(tables.path(LOADS)),
            expected=f"a load of {expected or 'a store'}",
            found=found,
            mend="name the store by --store; `vidtopics materialize` loads a release",
        )
    )


@dataclass(frozen=True)
class ReplayReport:
    """What a replay of a file found.

    Attributes:
        requests: that could be read.
        unreadable: lines that could not.
        live: that saw events beside the release.
        differing: by line what differs from the release's own answer, and from the log of events.
    """

    requests: int
    unreadable: int
    live: int
    differing: dict[int, list[str]]

    @property
    def is_fine(self) -> bool:
        """Whether a request was replayed and all gave the same."""
        return self.requests > 0 and not self.differing


def replay_file(
    path: Path,
    live: LiveReleases,
    ranker: Scorer,
    settings: Settings,
    load_ordering: LoadOrdering,
) -> ReplayReport:
    """Answer each request of a file again, from the release that was live when it was logged.

    What a request saw of events, and the queues that these had moved, are held against the log of
    events; `load_ordering` reads the members of queues.

    Raises:
        InputError: there is no such file.
        TableError: a version of the release can't be read any more.
    """
    requests = unreadable = with_events = 0
    log, queues = (
        LiveLog(live.tables),
        LiveQueueLog(live.tables, settings.statistics.half_life, load_ordering),
    )
    differing: dict[int, list[str]] = {}
    for number, logged in read_requests(path):
        if logged is None:
            unreadable += 1
            continue
        requests += 1
        with_events += logged.live is not None
        store = live.at(logged.logged_us)
        lines = (
            differences(logged, store, ranker, settings)
            if store
            else [f"release: none was live at {moment(logged.logged_us)}"]
        )
        if logged.live is not None:
            part = LivePart.from_json(logged.live)
            lines += log.differences(logged.user_id, part, logged.candidates, logged.logged_us)
            if release := live.release_at(logged.logged_us):
                lines += queues.differences(part, release, logged.logged_us)
        if lines:
            differing[number] = [f"user {logged.user_id}", *lines]
    return ReplayReport(requests, unreadable, with_events, differing)
