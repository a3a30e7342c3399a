"""A run as of a time before the first topic model version, in a home that has later ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from small_home import SmallHome

from vidtopics.contracts import TOPICS, VIDEO_TOPICS
from vidtopics.errors import TableError
from vidtopics.jobs import composition, pipeline
from vidtopics.jobs.job import Run
from vidtopics.jobs.pipeline import find, run_jobs
from vidtopics.jobs.releasing import Decision
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


def run_now(home: SmallHome) -> Decision | None:
    return run_jobs(Run.now(home.tables, home.settings), find([]))


def test_a_home_in_which_one_did_is_released_by_the_next_run(
    fork: Callable[..., SmallHome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As homes have it in which it happened before it was refused.

    Of its twelve topics, as of a minute before the first of eight, none holds on as of now.
    """
    home = fork()
    earlier_us = versions(home.tables.home)[0].as_of_us - 60_000_000
    topics = home.settings.topics.model_copy(update={"clusters": 12})
    settings = home.settings.model_copy(update={"topics": topics})
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_require_first", lambda run: None)
        run_jobs(Run.backfill(home.tables, settings, earlier_us), find([]))
    assert [version.epoch for version in versions(home.tables.home)] == [1, 1, 1, 2]
    with monkeypatch.context() as patch:
        of_tables = {"topics": 1, "video_topics": 2, "topic_queues": 2}  # as was said of it
        patch.setattr(composition, "topic_epochs", lambda tables: of_tables)
        stuck = run_now(home)
    assert stuck is not None
    assert stuck.state == "candidate"
    decision = run_now(home)
    assert decision is not None
    assert (decision.release_id, decision.state) == (stuck.release_id, "released")
    row = read_log(home.tables)[-1]
    assert (row.state, row.topic_epoch, row.topic_model) == ("released", 1, 3)
    now = Run.now(home.tables, home.settings)
    assert set(now.read(TOPICS, "topic_epoch")["topic_epoch"].to_pylist()) == {1}
    assert set(now.read(VIDEO_TOPICS, "topic_epoch")["topic_epoch"].to_pylist()) == {1}
    assert run_now(home) is None
