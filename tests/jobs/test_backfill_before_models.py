"""A run as of a time before the first topic model version, in a home that has later ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from small_home import SmallHome

from vidtopics.errors import TableError
from vidtopics.jobs.job import Run
from vidtopics.jobs.pipeline import find, run_jobs
from vidtopics.tables.releases import read_log
from vidtopics.topic_models import versions


def test_it_trains_no_second_first_version_and_releases_nothing(
    fork: Callable[..., SmallHome],
) -> None:
    """Another epoch would be in force before that of now, and every later run be blocked."""
    home = fork()
    models, releases = versions(home.tables.home), len(read_log(home.tables))
    earlier_us = models[0].as_of_us - timedelta(minutes=1) // timedelta(microseconds=1)
    run = Run.backfill(home.tables, home.settings, earlier_us)
    with pytest.raises(TableError, match="expected a version, or none of a later time, found"):
        run_jobs(run, find([]))
    assert versions(home.tables.home) == models
    assert len(read_log(home.tables)) == releases
