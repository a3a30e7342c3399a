"""All jobs in dependency order, the schedule of as-of dates, and how a run ends."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import IMPRESSIONS, VIDEO_CATALOG
from vidtopics.errors import SettingsError, TableError, explain
from vidtopics.jobs.job import Job, Run
from vidtopics.jobs.need import find_need
from vidtopics.jobs.releasing import Decision, decide, updated_versions
from vidtopics.jobs.training import Training, train
from vidtopics.jobs.training_key import is_current
from vidtopics.releases.lock import RunLock, hold
from vidtopics.settings import Settings
from vidtopics.tables import Publication, Tables
from vidtopics.tables.scans import scan
from vidtopics.times import moment
from vidtopics.topic_models import versions as topic_models_of

TRAINING_JOBS = ("tag_cooccurrence", "video_content_encoding")
"""What a training runs first: its own inputs."""
JOBS = (
    "video_content_encoding",
    "tag_embedding",
    "video_tag_embedding",
    "video_joint_representation",
    "topics",
    "video_topics",
    "video_counts",
    "video_statistics",
    "user_statistics",
    "user_topic_counts",
    "user_topics",
    "user_recent_clicks",
    "user_recent_skips",
    "topic_queues",
)
"""What a run runs, in dependency order."""
EVERY_JOB = tuple(dict.fromkeys((*TRAINING_JOBS, *JOBS)))


@dataclass(frozen=True)
class Step:
    """One job of a run: what it published, how long it took, and what its rows lack and why."""

    as_of_us: int
    publication: Publication
    seconds: float
    left_out: str = ""


def find(names: Iterable[str]) -> list[Job]:
    """The jobs of that name, in dependency order; all that a run needs if none is named.

    Raises:
        SettingsError: there is no job of a name.
    """
    requested = set(names) or set(JOBS)
    unknown = requested - set(EVERY_JOB)
    if unknown:
        raise SettingsError(
            explain(
                "run",
                expected=f"jobs of {', '.join(EVERY_JOB)}",
                found=", ".join(sorted(unknown)),
                mend="correct the name",
            )
        )
    modules = (f"spark_jobs.{name}" for name in EVERY_JOB if name in requested)
    return [importlib.import_module(module).JOB for module in modules]


def _lock(run: Run, command: str) -> AbstractContextManager[RunLock]:
    """The home's lock for a block: the run's own, where its time was fixed under that."""
    return nullcontext(run.lock) if run.lock else hold(run.tables.home, command)


def train_topics(run: Run, *, if_needed: bool = False) -> Training:
    """Train the topic model version of a run's time under the home's lock, unless it is there.

    With `if_needed`, only where there is none or the one in force serves no more.

    Raises:
        TableError, SettingsError: before anything is written, where there is too little to learn.
        BusyError: another run has the lock.
    """
    with _lock(run, "vidtopics train topics") as lock:
        run = replace(run, lock=lock)
        version = run.model_version if if_needed else None
        if version is None:
            return train(run, *find(TRAINING_JOBS))
        if is_current(run, version):
            return Training(version, is_new=False)
        need = find_need(run, version, find(["video_content_encoding"]))
        if not need.reasons:
            return Training(version, is_new=False, figures=need.figures)
        training = train(run, *find(TRAINING_JOBS))
        return replace(training, figures=need.figures, reasons=need.reasons)


def run_jobs(
    run: Run,
    jobs: Sequence[Job],
    report: Callable[[Step], None] = lambda step: None,
    trained: Callable[[Training], None] = lambda training: None,
) -> Decision | None:
    """Run jobs as of one time under the home's lock; what became of what they published.

    None where nothing changed. Where jobs infer and there is no topic model version yet, the first
    is trained before, and `trained` called with it.

    Raises:
        TableError, SettingsError: before any job starts, where one of them can't succeed.
        BusyError: another run has the lock, or took it from this one.
    """
    for job in jobs:
        job.check_inputs(run)
    with _lock(run, "vidtopics run") as lock:
        run = replace(run, lock=lock)
        if any(job.infers for job in jobs) and run.model_version is None:
            _require_first(run)
            trained(train(run, *find(TRAINING_JOBS)))
            run = replace(run)  # which finds the version now
        versions = run.tables.data_versions()
        quality: dict[str, float] = {}
        for job in jobs:
            started = time.monotonic()
            publication = job.run(run)
            versions = updated_versions(run, versions, job, publication)
            facts = job.last(run).facts
            quality |= {n: value for n, value in facts.items() if isinstance(value, int | float)}
            left_out = str(facts.get("left_out", ""))
            report(Step(run.as_of_us, publication, time.monotonic() - started, left_out))
        return decide(run, versions, quality)


def _require_first(run: Run) -> None:
    """TableError for a run as of a time before the first topic model version of a home.

    Trained then, a second first one would begin another epoch, and be in force before those of now.
    """
    later = [] if run.live else topic_models_of(run.tables.home)
    if later:
        raise TableError(
            explain(
                f"topic models as of {moment(run.as_of_us)}",
                expected="a version, or none of a later time",
                found=f"version {later[0].number} as of {moment(later[0].as_of_us)}",
                mend="run as of that time or later; the past is run in a new home, oldest time "
                "first, before any run as of now",
            )
        )


def schedule(tables: Tables, settings: Settings) -> list[int]:
    """As-of times of a backfill: quantiles of impression time, and just after the last one.

    Where there are no impressions: one, when the last video is published. TableError where there
    are no videos.
    """
    count = settings.schedule.as_of_dates
    with duckdb.connect() as con:
        if tables.exists(IMPRESSIONS):
            con.register("shown", scan(tables.delta(IMPRESSIONS)))
            shares = [i / count for i in range(1, count + 1)]
            quantiles = con.execute(
                "SELECT quantile_disc(epoch_us(event_timestamp), ?) FROM shown", [shares]
            ).fetchall()[0][0]
            if quantiles:
                return sorted({int(us) + 1 for us in quantiles})
    published = tables.read(VIDEO_CATALOG, columns=["event_timestamp"])["event_timestamp"]
    if not len(published):
        raise TableError(
            explain(
                "video_catalog",
                expected="videos",
                found="none",
                mend="run `vidtopics ingest` with a videos file that has rows",
            )
        )
    return [pc.max(published).cast(pa.int64()).as_py() + 1]


def describe(us: int) -> str:
    """An as-of time for people, to the second."""
    return moment(us)[:19]
