"""Queue rules: an example by hand, a plain oracle, and what holds for any queue."""

from collections import Counter
from math import exp, lgamma, log

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.queues.rules import is_disliked, members, queue, queues
from vidtopics.contracts import TOPIC_QUEUES
from vidtopics.settings import QueueSettings

COLUMNS = [
    "video_id",
    "video_exposures",
    "video_clicks",
    "video_ctr",
    "young",
    "decayed_clicks",
]
SCHEMA = pa.schema(
    [
        ("queue_level", pa.string()),
        ("topic_id", pa.int64()),
        ("video_id", pa.string()),
        ("video_exposures", pa.int64()),
        ("video_clicks", pa.int64()),
        ("video_ctr", pa.float64()),
        ("young", pa.bool_()),
        ("decayed_clicks", pa.float64()),
        ("topic_epoch", pa.int64()),
    ]
)


def rows_of(rows, level="topic", topic_id=7):
    """Rows of one queue; clicks of late are all clicks where a row doesn't say."""
    common = {"queue_level": level, "topic_id": topic_id, "topic_epoch": 3}
    whole = [row if len(row) == len(COLUMNS) else (*row, row[2]) for row in rows]
    cells = [common | dict(zip(COLUMNS, row, strict=True)) for row in whole]
    return pa.Table.from_pylist(cells, schema=SCHEMA)


def queued(rows, level="topic", topic_id=7, seed=7, **settings):
    return queue(rows_of(rows, level, topic_id), QueueSettings(**settings), seed).to_pylist()


def videos_of(rows, *, fresh=False):
    return [r["video_id"] for r in rows if r["fresh"] == fresh]


BY_HAND = [
    ("a", 10, 2, 0.07, False),  # on tau_1: judged; the lowest rate
    ("b", 500, 150, 0.30, False),
    ("c", 20, 6, 0.30, True),  # as often clicked as b, less often shown; judged whatever its age
    ("e", 20, 6, 0.30, False),  # as c: by id
    ("d", 20, 6, 0.30, False),
    ("f", 99, 45, 0.45, False),
    ("low", 10_000, 600, 0.06, False),
    ("never", 10, 0, 0.20, False),  # the smoothed rate says .2, the posterior 78% below .07
    ("n1", 9, 9, 0.9, True),
    ("n2", 0, 0, 0.02, True),
    ("old", 3, 1, 0.5, False),  # never shown often enough, and no longer young
]


def test_by_hand():
    """tau_1 = 10, tau_2 = .07: six judged ones by rate, then the two fresh ones."""
    rows = queued(BY_HAND)
    assert videos_of(rows) == ["f", "b", "c", "d", "e", "a"]
    assert sorted(videos_of(rows, fresh=True)) == ["n1", "n2"]
    assert [r["fresh"] for r in rows] == [False] * 6 + [True] * 2
    assert list(rows[0]) == [c.name for c in TOPIC_QUEUES.columns]
    assert rows[0] == {
        "queue_level": "topic",
        "topic_id": 7,
        "video_id": "f",
        "queue_position": 1,
        "queue_ctr": 0.45,
        "queue_exposures": 99,
        "queue_clicks": 45.0,
        "fresh": False,
        "topic_epoch": 3,
    }


def test_the_last_resort_by_hand():
    """All that isn't disliked, by clicks; n1 and c have 9 and 6; none is fresh."""
    rows = queued(BY_HAND, "catalogue", 0)
    assert videos_of(rows) == ["b", "f", "n1", "c", "d", "e", "a", "old", "n2"]
    assert videos_of(queued(BY_HAND, "catalogue", 0, length=3)) == ["b", "f", "n1"]


def test_what_is_popular_is_what_is_clicked_of_late():
    """b has most clicks, all of them old; of equal ones of late the more clicked, then by id."""
    rows = [("b", 99, 60, 0.5, False, 1.5), ("a", 30, 9, 0.3, False, 4.0)]
    rows += [("d", 20, 5, 0.2, False, 2.0), ("c", 20, 5, 0.2, False, 2.0)]
    rows += [("e", 30, 7, 0.2, False, 2.0)]
    for level in ("parent", "catalogue"):
        assert videos_of(queued(rows, level)) == ["a", "e", "c", "d", "b"]


def test_the_popular_of_a_parent_by_hand():
    """As the catalogue's, with the fresh ones, n1 and n2, behind."""
    rows = queued(BY_HAND, "parent", 4)
    assert videos_of(rows) == ["b", "f", "c", "d", "e", "a", "old"]
    assert sorted(videos_of(rows, fresh=True)) == ["n1", "n2"]


def test_a_video_is_in_the_queues_of_its_topics_their_parents_and_the_catalogue():
    """a has topics 5 and 9 of one parent, 2; b topic 5; c none."""
    videos = pa.table(
        {
            "video_id": ["a", "b", "c"],
            "topic_ids": [[5, 9, -1], [5, -1, -1], []],
            "parent_topic_ids": [[2, 2, -1], [2, -1, -1], []],
            "topic_epoch": [3] * 3,
            "video_exposures": [20, 30, 40],
            "video_clicks": [10, 10, 10],
            "video_ctr": [0.5, 0.3, 0.2],
            "young": [False] * 3,
            "decayed_clicks": [10.0] * 3,
        }
    )
    assert len(members(videos)) == 3 + 2 + 3
    parts = [part.to_pylist() for part in queues(videos, QueueSettings(), 7)]
    assert {(p[0]["queue_level"], p[0]["topic_id"]): videos_of(p) for p in parts} == {
        ("catalogue", 0): ["a", "b", "c"],
        ("parent", 2): ["a", "b"],
        ("topic", 5): ["a", "b"],
        ("topic", 9): ["a"],
    }
    assert list(queues(videos.slice(0, 0), QueueSettings(), 7)) == []


def beta_below(clicks, exposures, rate, steps=200_000):
    """P(p < rate) of Beta(clicks + 1/2, exposures - clicks + 1/2), by the trapezoid in log p."""
    a, b = clicks + 0.5, exposures - clicks + 0.5
    norm = lgamma(a + b) - lgamma(a) - lgamma(b)
    x = np.exp(np.linspace(log(1e-12), log(rate), steps))
    density = np.exp(norm + (a - 1) * np.log(x) + (b - 1) * np.log1p(-x))
    return float(np.trapezoid(density, x)) + exp(norm) * (1e-12) ** a / a


@pytest.mark.parametrize("counts", [(0, 10), (0, 30), (1, 30), (1, 40), (5, 100), (8, 100)])
def test_the_bound_of_tau_2_is_the_posterior(counts):
    """Integrated by hand; the rule changes its mind exactly where that probability says."""
    below = beta_below(*counts, 0.07)
    clicks, exposures = (np.array([n]) for n in counts)
    for confidence, expected in ((below - 1e-4, True), (below + 1e-4, False)):
        if 0.5 <= confidence < 1:
            settings = QueueSettings(confidence=confidence)
            assert is_disliked(clicks, exposures, settings).tolist() == [expected]


def test_nothing_is_disliked_without_tau_2_and_nobody_before_tau_1():
    clicks, exposures = np.array([0, 0]), np.array([9, 1_000])
    assert is_disliked(clicks, exposures, QueueSettings()).tolist() == [False, True]
    assert not is_disliked(clicks, exposures, QueueSettings(min_ctr=0)).any()


def test_draws_have_not_changed():
    """Golden: another hash would exchange the pools of every long queue at once."""
    rows = [(f"v{i}", 0, 0, 0.1, True) for i in range(100)]
    drawn = videos_of(queued(rows, fresh_pool=4), fresh=True)
    assert drawn == GOLDEN
    assert drawn != videos_of(queued(rows, fresh_pool=4, seed=8), fresh=True)
    assert drawn != videos_of(queued(rows, fresh_pool=4, topic_id=8), fresh=True)
    assert drawn != videos_of(queued(rows, "parent", fresh_pool=4), fresh=True)


GOLDEN = ["v79", "v20", "v15", "v82"]


def test_pools_are_drawn_evenly():
    """Over 400 topics each of 20 videos is drawn 400 * 10 / 20 = 200 times, s = 10: within 60."""
    rows = [(f"v{i}", i % 10, 0, 0.1, True) for i in range(20)]
    drawn = Counter(
        v
        for t in range(400)
        for v in videos_of(queued(rows, topic_id=t, fresh_pool=10), fresh=True)
    )
    assert len(drawn) == 20
    assert all(abs(n - 200) < 60 for n in drawn.values())


def test_a_fresh_video_gives_up_its_place_once_it_is_judged_or_old():
    new = [(f"n{i}", 9, 0, 0.2, True) for i in range(4)]
    first = videos_of(queued(new, fresh_pool=2), fresh=True)
    shown = [(v, 10 if v == first[0] else n, 5, ctr, y) for v, n, _, ctr, y in new]
    after = queued(shown, fresh_pool=2)
    assert (videos_of(after), first[0] in videos_of(after, fresh=True)) == ([first[0]], False)
    assert first[1] in videos_of(after, fresh=True)  # the others stay in their order
    aged = [(v, n, c, ctr, v != first[1]) for v, n, c, ctr, _ in shown]
    rows = queued(aged, fresh_pool=2)
    assert (videos_of(rows), len(videos_of(rows, fresh=True))) == ([first[0]], 2)
    assert first[1] not in {r["video_id"] for r in rows}


def test_an_empty_queue_has_the_columns_of_a_full_one():
    empty = queue(rows_of([("low", 100, 1, 0.01, False)]), QueueSettings(), 7)
    assert (len(empty), empty.column_names) == (0, [c.name for c in TOPIC_QUEUES.columns])


@st.composite
def any_rows(draw):
    ids = draw(
        st.lists(st.text("ab\u00e9\u4e00/", min_size=1, max_size=4), unique=True, min_size=1)
    )
    rows = []
    for video in ids:
        exposures = draw(st.integers(0, 60))
        clicks = draw(st.integers(0, exposures))
        rate = draw(st.sampled_from([0.0, 0.06, 0.07, 0.2, 0.9]))
        recent = draw(st.sampled_from([0.0, 0.5, 2.0, 7.5]))
        rows.append((video, exposures, clicks, rate, draw(st.booleans()), recent))
    return rows


settings = st.builds(
    dict,
    min_exposures=st.integers(0, 20),
    min_ctr=st.sampled_from([0.0, 0.07, 0.5]),
    confidence=st.sampled_from([0.5, 0.75, 0.99]),
    fresh_pool=st.integers(0, 20),
    length=st.integers(1, 70),
)


@given(any_rows(), settings, st.sampled_from(["topic", "parent", "catalogue"]), st.randoms())
def test_any_queue(rows, chosen, level, random):
    result = queued(rows, level, **chosen)
    assert queued(random.sample(rows, len(rows)), level, **chosen) == result
    assert [r["queue_position"] for r in result] == list(range(1, len(result) + 1))
    assert len({r["video_id"] for r in result}) == len(result)
    of = {v: row for v, *row in rows}
    tau_1 = chosen["min_exposures"]
    disliked = {
        v
        for v, (n, c, *_) in of.items()
        if n >= tau_1 and beta_below(c, n, chosen["min_ctr"] or 1e-12, 2_000) > chosen["confidence"]
    }
    young = {v for v, (n, _, _, y, _) in of.items() if y and n < tau_1 and level != "catalogue"}
    good = [v for v in of if v not in disliked | young and (level != "topic" or of[v][0] >= tau_1)]
    if level == "topic":
        ranked = sorted(good, key=lambda v: (-of[v][2], -of[v][0], v.encode()))
    else:
        ranked = sorted(good, key=lambda v: (-of[v][4], -of[v][1], v.encode()))
    assert videos_of(result) == ranked[: chosen["length"]]
    fresh = videos_of(result, fresh=True)
    assert set(fresh) <= young
    assert len(fresh) == min(len(young), chosen["fresh_pool"])
