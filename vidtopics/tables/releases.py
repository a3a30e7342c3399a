"""The release log: which versions belong together, and what became of each release.

Delta has no commit over several tables, so consumers move by release: until the row is there, they
stay where they were. A row per change of state; the release in force is the latest one that was
released and not rolled back.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, RELEASES
from vidtopics.errors import BusyError, ConflictError, TableError, explain
from vidtopics.failpoints import failpoint
from vidtopics.tables.commits import Commit, CommitLog, commits, next_ordinal
from vidtopics.tables.schemas import TIMESTAMP, arrow_schema
from vidtopics.times import EPOCH, micros

if TYPE_CHECKING:
    from vidtopics.tables import Tables

State = Literal["candidate", "released", "rejected", "rolled_back"]
JOB = "release"
TOPIC_MODEL = "topic_model"
"""The figure of a release's quality that is the number of its topic model version."""


@dataclass(frozen=True)
class Release:
    """One row of the log.

    `created_us`: when the state was reached; of a release, when its versions became known.
    """

    release_id: int
    state: State
    as_of_us: int
    created_us: int
    versions: Mapping[str, int]
    topic_epoch: int = 0
    settings_hash: str = ""
    quality: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)
    by: str = ""
    why: str = ""

    @property
    def topic_model(self) -> int:
        """Number of the topic model version that its topics are of; 0: none."""
        return int(self.quality.get(TOPIC_MODEL, 0))


def read_log(tables: Tables) -> list[Release]:
    """All rows, oldest first; empty where nothing was released."""
    rows = [*newest(tables)][::-1]
    return sorted(rows, key=lambda row: (row.release_id, row.created_us))


def newest(tables: Tables) -> Iterator[Release]:
    """The rows from the end of the log on, each read when it is asked for."""
    return map(_parse, tables.newest_rows(RELEASES))


def released(log: Iterable[Release]) -> list[Release]:
    """The releases that were released and not rolled back, ascending by number.

    >>> states = [(1, "released"), (2, "released"), (2, "rolled_back"), (3, "rejected")]
    >>> log = [Release(number, state, 0, 0, {}) for number, state in states]
    >>> [release.release_id for release in released(log)]
    [1]
    """
    rows = list(log)
    taken_back = {row.release_id for row in rows if row.state == "rolled_back"}
    live = [r for r in rows if r.state == "released" and r.release_id not in taken_back]
    return sorted(live, key=lambda row: row.release_id)


def in_force(log: Iterable[Release]) -> Release | None:
    """The release that consumers go by; None before the first."""
    return next(reversed(released(log)), None)


def newest_released(tables: Tables) -> Iterator[Release]:
    """The same from the end of the log on, the release in force first, each when it is asked for.

    Releases are released in the order of their numbers, and taken back after that.
    """
    taken_back = set()
    for release in newest(tables):
        if release.state == "rolled_back":
            taken_back.add(release.release_id)
        elif release.state == "released" and release.release_id not in taken_back:
            yield release


def latest_release(tables: Tables) -> dict[str, Any]:
    """The row of the release in force; TableError if there is none.

    `versions`, `quality`, `figures` and `verdicts` are mappings; `as_of_us` stands beside `as_of`.
    """
    release = next(newest_released(tables), None)
    if release is None:
        raise TableError(
            explain(
                str(tables.path(RELEASES)),
                expected="a release",
                found="none",
                mend="run `vidtopics ingest` and `vidtopics run`",
            )
        )
    return _plain(release)


@retry(
    retry=retry_if_exception_type(ConflictError),
    stop=stop_after_attempt(20),
    wait=wait_random(0, 0.2),
    reraise=True,
)
def append(tables: Tables, rows: Sequence[Release], *, run: int) -> None:
    """Append rows in one commit that carries the number of the run which writes them.

    The commit is made against the version that was read, so of two runs the second reads again, and
    is refused where the first has the greater number. A row that is there already is left out: a
    call may be repeated.

    Raises:
        BusyError: a run with a greater number has written to the log.
    """
    delta = tables.delta(RELEASES, create=True)
    log = commits(delta)
    last = last_run(log)
    if run < last:
        raise overtaken(str(tables.path(RELEASES)), f"run {last} has written since")
    recorded = {(row.release_id, row.state) for row in read_log(tables)}
    failpoint("release.read")
    new = [row for row in rows if (row.release_id, row.state) not in recorded]
    if not new:
        return
    commit = Commit(
        JOB,
        max(row.as_of_us for row in new),
        max(row.created_us for row in new),
        facts={"run": run},
        rows=len(new),
        created_min_us=min(row.created_us for row in new),
        ordinal=next_ordinal(delta, JOB),
    )
    from vidtopics.tables import deltalake_engine  # it loads DuckDB, which readers don't need

    with tables.committing(RELEASES):
        deltalake_engine.append(RELEASES, delta, iter([_batch(new)]), commit)
    failpoint("release.committed")


def last_run(log: CommitLog) -> int:
    """The number of the run that wrote to the release log last, the greatest; 0: none has."""
    return next((int(c.facts.get("run", 0)) for c in reversed(log) if c.job == JOB), 0)


def overtaken(where: str, found: str) -> BusyError:
    """The error of a run whose place a later one took."""
    return BusyError(
        explain(
            where,
            expected="no later run than this one",
            found=f"that it was overtaken: {found}",
            mend="run again; nothing of this run is in force",
        )
    )


def operator() -> str:
    """Who runs this process: user and host.

    >>> "@" in operator()
    True
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _parse(row: Mapping[str, Any]) -> Release:
    maps = {name: dict(row[name]) for name in ("versions", "quality", "figures", "verdicts")}
    return Release(
        row["release_id"],
        row["state"],
        micros(row["as_of"]),
        micros(row[CREATED_TIME]),
        **maps,
        topic_epoch=row["topic_epoch"],
        settings_hash=row["settings_hash"],
        by=row["by"],
        why=row["why"],
    )


def _plain(release: Release) -> dict[str, Any]:
    names = {"as_of": release.as_of_us, EVENT_TIME: release.as_of_us}
    times = {name: _time(us) for name, us in (names | {CREATED_TIME: release.created_us}).items()}
    return {f.name: getattr(release, f.name) for f in fields(release)} | times


def _time(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


def _batch(rows: Sequence[Release]) -> pa.RecordBatch:
    schema = arrow_schema(RELEASES)
    columns = {c.name: [_cell(row, c.name) for row in rows] for c in RELEASES.all_columns}
    arrays = [
        pa.array(columns[f.name], pa.int64() if f.type == TIMESTAMP else f.type).cast(f.type)
        for f in schema
    ]
    return pa.record_batch(arrays, schema=schema)


def _cell(row: Release, column: str) -> object:
    names = {"as_of": "as_of_us", EVENT_TIME: "as_of_us", CREATED_TIME: "created_us"}
    value = getattr(row, names.get(column, column))
    return list(value.items()) if isinstance(value, Mapping) else value
