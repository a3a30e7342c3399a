"""A release for the videos that came since the last: all jobs, which compute what is new alone.

It is a run as any other, by the same lock, gates and log; what differs is that it never trains, and
that its process keeps what it loaded (docs/adr/0060-a-new-video-is-a-small-run.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from vidtopics.contracts import VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.errors import TableError, explain
from vidtopics.jobs.encoders import load_encoders
from vidtopics.jobs.job import Run
from vidtopics.jobs.pipeline import Step, find, run_jobs
from vidtopics.jobs.releasing import Decision
from vidtopics.releases.lock import SMALL_RELEASE, hold
from vidtopics.settings import Settings
from vidtopics.tables import Tables
from vidtopics.tables.releases import Release, newest, newest_released

WHERE = "a small release"


def is_due(tables: Tables) -> bool:
    """Whether videos or tags came that no release, candidate or release taken back has seen.

    What a rollback took back waits for another delivery, or for `vidtopics run`.
    """
    seen = list(_recent(newest(tables)))
    for table in (VIDEO_CATALOG, VIDEO_TAGS):
        named = max((row.versions.get(table.name, 0) for row in seen), default=0)
        if tables.data_version(table) > named:
            return True
    return False


def _recent(rows: Iterable[Release]) -> Iterator[Release]:
    """Rows of the log, newest first, to the second that was released: those taken back between."""
    released = 0
    for row in rows:
        yield row
        released += row.state == "released"
        if released == 2:
            return


def release_new(
    tables: Tables,
    settings: Settings,
    *,
    land: Callable[[int], None],
    report: Callable[[Step], None] = lambda step: None,
    progress: Callable[[str], None] = lambda text: None,
    patience_s: float = 0.0,
) -> Decision | None:
    """Run all jobs as of now with the topic model version of the release in force.

    Args:
        tables: the home's.
        settings: as for a run.
        land: lands events up to the run's time (microseconds), once that is fixed.
        report: called after each job.
        progress: called with what a job does.
        patience_s: for how long to wait where another run has the home.

    Returns:
        What became of it; None where nothing changed.

    Raises:
        BusyError: another run has the home.
        TableError: there is no release yet, or runs infer with another version than its.
    """
    with hold(tables.home, SMALL_RELEASE, patience_s=patience_s) as lock:
        run = replace(_run(tables, settings), lock=lock, progress=progress)
        require_released_model(run)
        land(run.as_of_us)
        return run_jobs(run, find([]), report)


def warm_up(tables: Tables, settings: Settings) -> None:
    """Load what a release needs; nothing where there is no topic model version yet."""
    find([])
    run = _run(tables, settings)
    if run.model_version is not None:
        load_encoders(run)


def _run(tables: Tables, settings: Settings) -> Run:
    return replace(Run.now(tables, settings), keeps_encoders=True)


def require_released_model(run: Run) -> None:
    """TableError unless the run infers with the topic model version of the release in force."""
    current = next(newest_released(run.tables), None)
    if current is None:
        raise TableError(
            explain(
                WHERE,
                expected="a release that it adds videos to",
                found="none",
                mend="`vidtopics run`, which trains a topic model version where there is none",
            )
        )
    number = run.model.version.number
    if number != current.topic_model:
        raise TableError(
            explain(
                WHERE,
                expected=f"topic model version {current.topic_model}, that of release "
                f"{current.release_id} in force",
                found=f"version {number} for runs from now on",
                mend="`vidtopics run` releases all videos with it; until then new ones wait",
            )
        )
