"""A release of counts and lists alone, by their jobs in this process: a second, no Spark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

from benchmarks.homes import release_tables
from spark_jobs import (
    user_recent_clicks,
    user_recent_skips,
    user_statistics,
    video_counts,
    video_statistics,
)
from vidtopics.jobs.job import Run
from vidtopics.settings import Settings
from vidtopics.tables import Tables
from vidtopics.tables.stamps import now_us, wait_until_known

MODULES = (
    video_counts,
    video_statistics,
    user_statistics,
    user_recent_clicks,
    user_recent_skips,
)


def release_counts(
    tables: Tables,
    settings: Settings,
    at_us: int | None = None,
    *,
    modules: Sequence[ModuleType] = MODULES,
) -> int | None:
    """Run the jobs as of a time, now by default, and release what they published; its number.

    None: nothing changed.

    `modules`: of the jobs, in their order.
    """
    run = Run(tables, settings, at_us or now_us(), live=True)
    for module in modules:
        job = module.JOB
        computed, table = job.compute(run), replace(job.table, engine="deltalake")
        commit = replace(job.commit(run), facts=computed.facts)
        tables.publish(table, computed.rows, commit, reused=computed.reused)
    # As a run's release does: what isn't known yet wouldn't be loaded.
    wait_until_known(tables.commits(module.JOB.table) for module in modules)
    return release_tables(tables, as_of_us=run.as_of_us, created_us=now_us())
