"""The replay of users' states against plain loops, and what it must not see."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import replay_oracle as oracle
from frame_worlds import LIMIT, NEVER, WINDOW, World, inputs, value_at, world

from consumers.encoding.topics import Centres, TopicRows
from consumers.training.frame import build_frame
from consumers.training.versions import Versions
from vidtopics.settings import RankingSettings, Settings, UserSettings

HALF_LIFE = 6
SETTINGS = Settings(
    ranking=RankingSettings(label_window=timedelta(microseconds=WINDOW), history=LIMIT),
    users=UserSettings(half_life=timedelta(microseconds=HALF_LIFE)),
)
PRIOR = SETTINGS.statistics.prior_exposures
IDS = np.arange(25)
CENTRES = Centres.of(IDS, np.eye(25, dtype=np.float32), IDS[:0], 1)


def rows(w):
    """(impression, plain dict) of all rows whose window closes some day."""
    log = oracle.entries(w)
    return log, [(e["user"], e["video"], e["t"]) for e in log]


@pytest.fixture(params=[0, 1, 2, 3])
def days(request, monkeypatch):
    """A world whose day is 10 us long, so that it has mornings."""
    monkeypatch.setattr("consumers.training.log.DAY_US", 10)
    monkeypatch.setattr(oracle, "DAY", 10)
    return world(request.param)


def test_statistics_and_counts_equal_plain_loops(days):
    frame = build_frame(inputs(days), SETTINGS, as_of_us=NEVER)
    log, asked = rows(days)
    states = [oracle.statistics(log, user, t, PRIOR, HALF_LIFE) for user, _, t in asked]
    np.testing.assert_allclose(frame.state.statistics, states, rtol=1e-9)
    assert np.array(states)[:, 2].max() > 0
    counts = [
        [sum(e["video"] == v and e[what] <= t for e in log) for what in ("known", "clicked")]
        for _, v, t in asked
    ]
    np.testing.assert_array_equal(np.nan_to_num(frame.counts), counts)


def test_windows_equal_plain_loops(days):
    frame = build_frame(inputs(days), SETTINGS, as_of_us=NEVER)
    log, asked = rows(days)
    lengths = set()
    for n, (user, _, t) in enumerate(asked):
        first, end, seen = (part[n] for part in frame.windows)
        at = np.arange(end - 1, first - 1, -1)
        at = at[frame.log.known_us[at] <= seen]
        videos = frame.videos.take(frame.log.video[at]).to_pylist()
        clicked = (frame.log.clicked_us[at] <= seen).tolist()
        expected = oracle.window(log, user, t, LIMIT)
        assert list(zip(videos, clicked, strict=True)) == expected
        lengths.add(len(expected))
    assert lengths == {0, 1, 2, 3}


def test_topic_sums_equal_plain_loops(days):
    frame = build_frame(inputs(days), SETTINGS, as_of_us=NEVER)
    log, asked = rows(days)
    topics = TopicRows.of(frame.topics, CENTRES)
    sums = frame.state.topic_sums(frame.topic_row, topics, CENTRES)
    expected = []
    for user, video, t in asked:
        counts = oracle.topic_counts(days, log, user, t, PRIOR)
        expected.append(oracle.match(counts, value_at(days.topics, video, t)))
    np.testing.assert_allclose(sums.match, expected, rtol=1e-5, atol=1e-6)
    assert np.count_nonzero(np.array(expected)[:, 1]) > 3


def test_kernels_sum_over_all_topics_of_the_user(days):
    """Every centre alike: each kernel's sums are those over all topics, whatever the candidate."""
    alike = Centres.of(IDS, np.ones((25, 1), np.float32), IDS[:0], 1)
    frame = build_frame(inputs(days), SETTINGS, as_of_us=NEVER)
    log, asked = rows(days)
    topics = TopicRows.of(frame.topics, alike)
    sums = frame.state.topic_sums(frame.topic_row, topics, alike)
    for n, (user, video, t) in enumerate(asked):
        counts = list(oracle.topic_counts(days, log, user, t, PRIOR).values())
        if value_at(days.topics, video, t) is None:
            counts = []
        residual = sum(c - p for _, c, p in counts)
        variance = sum(p * (1 - p / m) for m, _, p in counts)
        for kernel in sums.kernel[n, 1:]:
            np.testing.assert_allclose(kernel, [residual, variance], atol=1e-5)


def test_only_the_topics_of_most_decayed_exposures_count(days):
    """With one slot the topic shown last and most; here the half-life is short."""
    settings = SETTINGS.model_copy(
        update={"users": UserSettings(half_life=timedelta(microseconds=HALF_LIFE), topics=1)}
    )
    frame = build_frame(inputs(days), settings, as_of_us=NEVER)
    log, asked = rows(days)
    topics = TopicRows.of(frame.topics, CENTRES)
    sums = frame.state.topic_sums(frame.topic_row, topics, CENTRES)
    for n, (user, video, t) in enumerate(asked):
        decayed = {}
        for e in log:
            topic, since = oracle.first_topic(days, e)
            if e["user"] == user and topic is not None and max(since, e["known"]) <= t:
                decayed[topic] = decayed.get(topic, 0) + 2 ** ((e["t"] - t) / HALF_LIFE)
        counts = oracle.topic_counts(days, log, user, t, PRIOR)
        top = max(sorted(decayed), key=decayed.get, default=None)
        most = {top: counts[top]} if counts else {}
        expected = oracle.match(most, value_at(days.topics, video, t))
        np.testing.assert_allclose(sums.match[n], expected, rtol=1e-5, atol=1e-6)


def test_weights_share_an_impression_and_a_candidate_among_topics():
    """u saw v (topics 3 and 4 at .6 and .2) and clicked; w has topic 3 at .5 and 5 at .5.

    Topic 3 got .75 of an exposure and of a click, nothing was expected (no rate the first day):
    w's half share of it is .375 each, and .375 / c of residual.
    """
    w = World([("a", "u", "v", 1, 1), ("b", "u", "w", 5, 5)], [("a", 2, 2)], [], [])
    frame = build_frame(inputs(w), SETTINGS, as_of_us=NEVER)
    rows = TopicRows(
        np.array([[4, 5, 0], [4, 6, 0]], np.int32),
        np.array([[0.6, 0.2, 0], [0.5, 0.5, 0]], np.float32),
        np.array([[0.75, 0.25, 0], [0.5, 0.5, 0]], np.float32),
        np.array([[1, 1, 0], [1, 2, 0]], np.int32),
        np.array([True, True]),
        (26, 3),
    )
    state = replace(frame.state, versions=Versions.constant(np.array([0, 1])))
    sums = state.topic_sums(np.array([0, 1], np.int32), rows, CENTRES)
    residuals = [0.375 / c for c in (0.5, 2, 10, 40)]
    np.testing.assert_allclose(sums.match, [[0] * 6, [0.375, 0.375, *residuals]], rtol=1e-6)
    np.testing.assert_allclose(sums.kernel[1, 0], [0.375, 0], rtol=1e-6)
    # The parent of both has the whole impression; w is in it by half.
    np.testing.assert_allclose(sums.parents[1, :3], [0.5, 0.5, 0.5 / 0.5], rtol=1e-6)
