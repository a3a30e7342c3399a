"""Rows of a user with events, against plain loops over the events; states come from the scripts."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from live_worlds import NOW_US, Shown, applier, new_store, sent, user_state

from consumers.live.events import events_of
from consumers.live.folding import EventVideos, Folding
from consumers.live.part import LivePart
from consumers.live.rules import LiveRules
from consumers.live.videos import with_counts
from vidtopics.contracts import VIDEO_STATISTICS, VIDEO_TOPICS, VIEWS
from vidtopics.events.generations import Generation, open_generation
from vidtopics.layout import Schema
from vidtopics.layout.live import UserValue
from vidtopics.online import Features, Status
from vidtopics.online.events import EventClient
from vidtopics.rates import Prior

T_US = NOW_US - 1_000_000_000
HOUR_US = 3_600_000_000
HALF_LIFE_US = 600_000_000
RULES = LiveRules(HALF_LIFE_US, topics=3, parents=2, prior_exposures=10.0)
PRIOR = Prior(0.25, 10.0)
TOPICS = {"v1": {1: 0.5, 2: 0.25}, "v2": {2: 0.5}, "v3": {3: 0.5, 4: 0.5}, "v4": {5: -0.5, 1: -1.0}}
PARENTS = {1: 7, 2: 7, 3: 8, 4: -1, 5: 9}
"""v5 has no topics, topic 4 no parent; of v4 no weight is above 0."""
COUNTS = {"v1": (40, 20), "v2": (0, 0), "v3": (5, 1), "v4": (100, 1)}
VIDEOS = ["v1", "v2", "v3", "v4", "v5"]
RELEASES = dict.fromkeys(VIEWS, 1)


def shares(video: str) -> dict[int, float]:
    weights = {topic: max(w, 0.0) for topic, w in TOPICS.get(video, {}).items()}
    if not sum(weights.values()):
        weights = dict.fromkeys(weights, 1.0)
    return {topic: w / sum(weights.values()) for topic, w in weights.items() if w}


def rate(video: str) -> float:
    exposures, clicks = COUNTS.get(video, (0, 0))
    return (clicks + 2.5) / (exposures + 10)


def rows(view: str, present: list[bool], **columns: Any) -> Features:
    """Rows of a view as a read gives them; columns that aren't named are padding."""
    n = len(present)
    arrays = {field.name: field.empty(n) for field in Schema.of(VIEWS[view]).fields}
    for name, values in columns.items():
        for place, value in enumerate(values):
            arrays[name][place] = value
    status = np.where(present, np.uint8(Status.PRESENT), np.uint8(Status.NOT_FOUND))
    times = np.where(present, 5, 0).astype(np.int64)
    null = {name: ~np.array(present) for name in arrays}
    return Features(status, times, times, arrays, null)


def video_rows(videos: list[str]) -> EventVideos:
    ids = [[*TOPICS.get(v, {})] for v in videos]
    slots = {
        "topic_ids": [i + [-1] * (8 - len(i)) for i in ids],
        "topic_weights": [
            [*TOPICS.get(v, {}).values()] + [0.0] * (8 - len(TOPICS.get(v, {}))) for v in videos
        ],
        "parent_topic_ids": [[PARENTS[t] for t in i] + [-1] * (8 - len(i)) for i in ids],
        "topic_epoch": [1] * len(videos),
    }
    counts = [COUNTS.get(v, (0, 0)) for v in videos]
    return EventVideos(
        videos,
        rows(VIDEO_TOPICS.name, [True] * len(videos), **slots),
        rows(
            VIDEO_STATISTICS.name,
            [v in COUNTS for v in videos],
            video_exposures=[n for n, _ in counts],
            video_clicks=[c for _, c in counts],
        ),
    )


def earlier(present: bool) -> dict[str, Features]:
    """The release's rows: 8 exposures an hour before T, of which topic 3 has most."""
    statistics = {
        "user_exposures": [8],
        "user_clicks": [2],
        "user_expected_clicks": [1.5],
        "user_decayed_exposures": [4.0],
        "user_decayed_clicks": [1.0],
        "user_decayed_expected": [0.75],
        "user_decayed_at": [T_US - HOUR_US],
    }
    topics: dict[str, list[Any]] = {"user_topic_epoch": [1]}
    for prefix, ids, counts in (
        ("user_topic", [3, 1], [6.0, 2.0]),
        ("user_parent", [8, 7], [6.0, 2.0]),
    ):
        topics[f"{prefix}_ids"] = [np.array(ids)]
        for name, scale in (("exposures", 1.0), ("clicks", 0.25), ("expected", 0.125)):
            topics[f"{prefix}_{name}"] = [np.array(counts, np.float32) * scale]
    parts = {"user_statistics": statistics, "user_topics": topics}
    return {
        view: rows(view, [present], **(columns if present else {}))
        for view, columns in parts.items()
    }


def folded(part: LivePart, before: dict[str, Features]) -> dict[str, Features]:
    events = events_of(part.state("user_topics"))
    return Folding(part, RULES, 1, PRIOR, video_rows(events.videos)).folded(before)


def part_of(value: bytes | None) -> LivePart:
    return LivePart(RELEASES, {1: T_US}, {} if value is None else {1: UserValue(value)})


def applied(store: redis.Redis, log: list[Shown], limit: int, order: list[Any]) -> bytes | None:
    """u1's value after the events went through streams and scripts, in any order."""
    store.flushall()
    keys, generation = new_store(store), Generation(1, T_US)
    assert open_generation(store, keys, generation)
    EventClient(store).send(order)
    applier(store, keys, recent=limit).apply(generation)
    value: Any = store.hget(keys.state(1, "user", "state", keys.bucket(b"u1")), "u1")
    assert value is None or user_state(store, keys, 1, "u1").exposures >= 0
    return value


@st.composite
def logs(draw: st.DrawFn) -> list[Shown]:
    """Impressions around T, with clicks since T or none: no click is the release's alone."""
    log = []
    for number in range(draw(st.integers(1, 14))):
        us = T_US + draw(st.integers(-3, 9)) * 1_000_000
        clicked = draw(st.none() | st.integers(0, 9).map(lambda s: T_US + s * 1_000_000))
        clicked = None if clicked is None else max(clicked, us)
        watch = None if clicked is None else draw(st.none() | st.just(2.0))
        video = draw(st.sampled_from(VIDEOS))
        log.append(Shown(f"e{number}", "u1", video, us, number + 1, clicked, watch))
    return log


def oracle(log: list[Shown], present: bool) -> tuple[Any, Any]:
    """Statistics and topic counts as plain loops; impressions before T are the release's."""
    new = [e for e in log if e.us >= T_US]
    clicks = [e for e in log if e.clicked_us is not None]
    times = [e.us for e in new] + [e.clicked_us for e in clicks]
    at_us = max([*times, T_US - HOUR_US if present else 0])
    decayed = lambda us: 0.5 ** ((at_us - us) / HALF_LIFE_US)  # noqa: E731
    base = np.array([8, 2, 1.5, 4, 1, 0.75]) if present else np.zeros(6)
    base[3:] *= decayed(T_US - HOUR_US)
    for e in new:
        base += [1, 0, rate(e.video), decayed(e.us), 0, decayed(e.us) * rate(e.video)]
    for e in clicks:
        base += [0, 1, 0, 0, decayed(e.clicked_us), 0]
    levels = []
    for of, ids, counts in (
        (lambda t: t, [3, 1], [6.0, 2.0]),
        (PARENTS.__getitem__, [8, 7], [6.0, 2.0]),
    ):
        met: dict[int, Any] = defaultdict(lambda: np.zeros(4))
        if present:
            for topic, n in zip(ids, counts, strict=True):
                met[topic] += [n, n / 4, n / 8, n * decayed(T_US - HOUR_US) / 2]
        for e in new:
            for topic, share in shares(e.video).items():
                if of(topic) >= 0:
                    met[of(topic)] += [share, 0, share * rate(e.video), share * decayed(e.us)]
        for e in clicks:
            for topic, share in shares(e.video).items():
                if of(topic) >= 0:
                    met[of(topic)] += [0, share, 0, 0]
        levels.append(dict(met))
    return base, levels


@given(log=logs(), present=st.booleans(), data=st.data())
@settings(max_examples=25, phases=[Phase.generate])
def test_a_user_s_rows_are_sums_over_the_events(
    valkey: str, log: list[Shown], present: bool, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(sent(log)))
    with redis.Redis.from_url(valkey) as store:
        value = applied(store, log, 100, order)
    before = earlier(present)
    after = folded(part_of(value), before)
    statistics, levels = oracle(log, present)
    row = after["user_statistics"]
    if value is None:
        assert after == before
        return
    names = [f"user_{d}{n}" for d in ("", "decayed_") for n in ("exposures", "clicks", "expected")]
    names[2] = "user_expected_clicks"
    actual = [float(row[name][0]) for name in names]  # type: ignore[arg-type]
    # An impression that only its click brought counts at the click's time, not at its own.
    np.testing.assert_allclose(actual, statistics, rtol=1e-2 if _brought(order) else 1e-5)
    np.testing.assert_allclose(actual[:3], statistics[:3], rtol=1e-5)
    assert row.present[0]
    for prefix, met, limit in zip(("user_topic", "user_parent"), levels, (3, 2), strict=True):
        if not met:
            assert not after["user_topics"].present[0]
            continue
        _assert_level(after["user_topics"], prefix, met, limit, is_exact=not _brought(order))


def _brought(order: Any) -> bool:
    """Whether a click came before its impression."""
    seen: set[str] = set()
    for event in order:
        if event["kind"] != "impression" and event["event_id"] not in seen:
            return True
        seen.add(event["event_id"])
    return False


def _assert_level(
    row: Features, prefix: str, met: dict[int, Any], limit: int, *, is_exact: bool
) -> None:
    ids: Any = row[f"{prefix}_ids"][0]
    assert len(ids) == min(len(met), limit)
    for place, topic in enumerate(ids.tolist()):
        counts: list[Any] = [row[f"{prefix}_{n}"][0] for n in ("exposures", "clicks", "expected")]
        np.testing.assert_allclose([c[place] for c in counts], met[topic][:3], rtol=1e-5)
    if is_exact:
        decayed = np.array([met[topic][3] for topic in ids.tolist()])
        assert (np.diff(decayed) <= 1e-9).all()
        rest = [counts[3] for topic, counts in met.items() if topic not in ids.tolist()]
        assert not rest or max(rest) <= decayed[-1] + 1e-9


def test_a_flooding_user_s_counts_stay_exact_and_nothing_grows_without_bound(
    store: redis.Redis,
) -> None:
    log = [
        Shown(
            f"e{i}",
            "u1",
            VIDEOS[i % 4],
            T_US + i * 1_000,
            1,
            T_US + i * 1_000 + 1 if i % 3 == 0 else None,
        )
        for i in range(60)
    ]
    part = part_of(applied(store, log, 4, sent(log)))
    state = part.state("user_statistics")
    assert len(state.records) < 25
    events = events_of(state)
    assert events.lost_exposures == 60 - len(events.shown) > 0
    after = folded(part, earlier(True))
    row = after["user_statistics"]
    assert (row["user_exposures"].tolist(), row["user_clicks"].tolist()) == ([68], [22])
    mean = 1.5 + sum(rate(v) for v in events.shown) + 0.25 * events.lost_exposures
    assert row["user_expected_clicks"][0] == pytest.approx(mean, rel=1e-6)
    total: Any = after["user_parents" if False else "user_topics"]["user_topic_exposures"][0]
    assert 0 < total.sum() <= 68


def test_topics_of_another_epoch_add_nothing(store: redis.Redis) -> None:
    log = [Shown("e1", "u1", "v1", T_US, 1, T_US + 1)]
    part = part_of(applied(store, log, 4, sent(log)))
    before = earlier(True)
    before["user_topics"].columns["user_topic_epoch"][0] = 2
    after = folded(part, before)
    assert after["user_topics"] is before["user_topics"]
    assert after["user_statistics"]["user_exposures"].tolist() == [9]


def test_the_release_s_order_of_topics_stays_where_its_exposures_have_another() -> None:
    """Topic 3 stands first though 1 was shown oftener: what was shown of 1 is older."""
    from consumers.live.topics import Sums, merged

    counts = np.array([[2, 0, 0, 1.0], [9, 0, 0, 1.0], [1, 0, 0, 0.5]])
    nothing = Sums(np.zeros(0, np.int64), np.zeros((0, 4)))
    assert merged(Sums(np.array([3, 1, 2]), counts), nothing, 3).ids.tolist() == [3, 1, 2]
    live = Sums(np.array([1]), np.array([[1, 0, 0, 0.25]]))
    assert merged(Sums(np.array([3, 1, 2]), counts), live, 2).ids.tolist() == [1, 3]


def test_counts_of_videos() -> None:
    status = [Status.PRESENT, Status.NOT_FOUND, Status.NULL, Status.NOT_FOUND]
    before = rows("video_statistics", [True, False, False, False], video_exposures=[7, 0, 0, 0])
    before.status[:] = status
    counts = np.array([[2, 1], [3, 0], [5, 5], [0, 0]])
    after = with_counts(before, counts, T_US)
    assert after.status.tolist() == [Status.PRESENT, Status.PRESENT, Status.NULL, Status.NOT_FOUND]
    assert after["video_exposures"].tolist() == [9, 3, 0, 0]
    assert after["video_clicks"].tolist() == [1, 0, 0, 0]
    assert after.event_us.tolist() == [5, T_US, 0, 0]
    assert after.null["video_clicks"].tolist() == [False, False, True, True]
    assert after.null["video_decayed_clicks"].tolist() == [False, True, True, True]
    assert before["video_exposures"].tolist() == [7, 0, 0, 0]
