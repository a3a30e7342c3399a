"""The frame's replay at T holds what the user jobs commit as of T."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from event_logs import DAY, SETTINGS, START, deliver, events, rows_of, run_as_of
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from consumers.encoding.topics import TopicRows
from consumers.ranking.codes import centres_at
from consumers.training.inputs import USER_VIEWS, ViewRows, read
from consumers.training.log import build_log, expected_clicks
from consumers.training.replay import Replay
from consumers.training.served import states
from consumers.training.versions import Versions
from spark_jobs import (
    user_recent_clicks,
    user_recent_skips,
    user_statistics,
    user_topic_counts,
    user_topics,
    video_counts,
)
from vidtopics.contracts import TOPICS, VIDEO_TOPICS
from vidtopics.tables import Commit, Tables
from vidtopics.tables.schemas import arrow_schema

JOBS = (
    video_counts.JOB,
    user_statistics.JOB,
    user_topic_counts.JOB,
    user_topics.JOB,
    user_recent_clicks.JOB,
    user_recent_skips.JOB,
)
WEIGHTS = {"v": {1: 0.6, 2: 0.2}, "w": {2: 0.5}, "x": {3: 0.3, 1: 0.3}, "y": {4: 0.9}}
PARENTS = {1: 7, 2: 7, 3: 8, 4: 8}
"""z has no topics."""


def put_topics(tables: Tables) -> None:
    """Topics of all videos and their parents, known before the first event."""

    def slots(values, pad):
        return [*values, *[pad] * (8 - len(values))]

    videos = [
        {"video_id": video, "topic_ids": slots(weights, -1), "topic_count": len(weights)}
        | {"topic_weights": slots(weights.values(), 0.0), "below_threshold": False}
        | {"parent_topic_ids": slots([PARENTS[t] for t in weights], -1), "topic_epoch": 1}
        for video, weights in WEIGHTS.items()
    ]
    topics = [
        {"topic_id": topic, "centroid": [np.cos(topic), np.sin(topic)], "size": 1}
        | {"label_terms": [], "topic_epoch": 1, "born": START, "parent_topic_id": parent}
        | {"parent_label_terms": []}
        for topic, parent in PARENTS.items()
    ]
    for table, rows in ((VIDEO_TOPICS, videos), (TOPICS, topics)):
        data = pa.Table.from_pylist(rows, schema=arrow_schema(table, table.columns))
        commit = Commit(table.name, START - DAY, START - DAY)
        tables.publish(replace(table, engine="deltalake"), data, commit, widths={"topic_width": 2})


@settings(max_examples=6, deadline=None, phases=[Phase.generate])
@given(
    st.lists(events.map(lambda e: (*e[:4], 0, e[5])), min_size=8, max_size=40),
    st.lists(st.integers(1, 80), min_size=1, max_size=3),
)
def test_the_replay_at_a_time_is_what_the_jobs_commit_as_of_it(tmp_path_factory, rows, days):
    """Nothing comes late: of late impressions the job expects by what its run knew."""
    tables = Tables(tmp_path_factory.mktemp("home"))
    tables.home.mkdir(exist_ok=True)
    put_topics(tables)
    deliver(tables, rows, 1)
    for day in sorted(days):
        run = run_as_of(tables, "backfill", day)
        for job in JOBS:
            rows_of(run, job)
        replayed, served = both(tables, run.as_of_us)
        np.testing.assert_allclose(replayed[0], served[0], rtol=1e-5, atol=1e-5)
        for ours, theirs in zip(replayed[1], served[1], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def both(tables, at_us):
    """Statistics and topic sums of both users with every video at a time: replay, and tables."""
    inputs = read(tables, {})
    users, videos = pa.array(["a", "b"]), pa.array(list("vwxyz"))
    user, video = (a.astype(np.int32) for a in np.divmod(np.arange(10), 5))
    times = np.full(10, at_us)
    versions = Versions.of(inputs.views[VIDEO_TOPICS.name], videos)
    candidate = versions.at(video, times)
    log = build_log(inputs.impressions, inputs.clicks, videos, users)
    prior, half_life = SETTINGS.statistics.prior_exposures, SETTINGS.users.half_life
    half_life_us = int(half_life.total_seconds() * 1e6)
    limits = SETTINGS.users.topics, SETTINGS.users.parents
    expected = expected_clicks(log, prior_exposures=prior)
    replay = Replay(log, expected, user, times, versions, half_life_us, limits)
    keys = pa.table({"user_id": users.take(pa.array(user))})
    views = {t.name: ViewRows.of(t, tables.read(t)) for t in USER_VIEWS}
    committed_us = times + 1_000_000  # a run is known some microseconds after its as-of time
    at = {name: view.known(keys, committed_us) for name, view in views.items()}
    served = states({name: view.values for name, view in views.items()}, at, times, half_life)
    centres = centres_at(inputs.topics, at_us, 1)
    topics = TopicRows.of(inputs.views[VIDEO_TOPICS.name].values, centres)
    return [
        (state.statistics, state.topic_sums(candidate, topics, centres))
        for state in (replay, served)
    ]
