"""Topics of a user, quotas and candidates: examples by hand, and what holds for any queues."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.retrieval.rules import Reason, TopicCounts, count_topics, fill, quotas


def counted(rows):
    return list(
        zip(
            *(c.tolist() for c in count_topics(np.array(rows, np.int64).reshape(-1, 3))),
            strict=True,
        )
    )


def test_topics_of_a_user_by_hand():
    """Newest click first.

    Topics 4 and 1 have two clicks each, and 4 a newer one; 9 has three; 8 and 2 come with one
    click.
    """
    rows = [[4, 9, -1], [9, 1, -1], [-1, -1, -1], [8, 2, 4], [1, 9, -1]]
    assert counted(rows) == [(9, 3), (4, 2), (1, 2), (8, 1), (2, 1)]


def test_no_clicks_have_no_topics():
    assert counted([]) == counted([[-1, -1, -1]]) == []


slots = st.lists(st.integers(0, 9), max_size=3, unique=True).map(lambda t: t + [-1] * (3 - len(t)))


@given(st.lists(slots, max_size=20))
def test_counts_equal_a_counter(rows):
    counts = counted(rows)
    counter = Counter(t for row in rows for t in row if t >= 0)  # remembers who came first
    assert counts == sorted(counter.items(), key=lambda item: -item[1])


@pytest.mark.parametrize(
    ("clicks", "candidates", "floor", "expected"),
    [
        ([40, 30, 20, 10], 600, 0.1, [240, 180, 120, 60]),
        ([97, 1, 1, 1], 600, 0.1, [420, 60, 60, 60]),
        # 10 of 100 is below 60, so 60; of 540 left 12/90 are 72
        ([50, 28, 12, 10], 600, 0.1, [300, 168, 72, 60]),
        # 50 for the last leaves 450 for 90; the third's 11/90 are 55, so it is not raised: 245,
        # 150, 55
        ([49, 30, 11, 10], 500, 0.1, [245, 150, 55, 50]),
        # the floor of one raises another: 120 -> 4, 3, 1 of 8 is 60, 45, 15; with 30 for the last
        # 90 left: 4/7 and 3/7
        ([4, 3, 1], 120, 0.25, [51, 39, 30]),
        ([1, 1, 1], 100, 0.0, [34, 33, 33]),  # largest remainder, ties to the first
        ([5, 3, 1], 10, 0.0, [6, 3, 1]),  # 5.56, 3.33, 1.11
        ([3, 1], 1, 0.1, [1, 0]),
        ([9, 1], 10, 1.0, [5, 5]),  # no floor can be above equal parts
        ([0, 0, 0], 9, 0.1, [3, 3, 3]),
        ([7], 600, 0.1, [600]),
    ],
)
def test_quotas_by_hand(clicks, candidates, floor, expected):
    assert quotas(np.array(clicks), candidates, floor).tolist() == expected


@given(
    st.lists(st.integers(1, 128), min_size=1, max_size=8),
    st.integers(1, 700),
    st.sampled_from([0.0, 0.05, 0.1, 0.3, 1]),
)
def test_quotas_add_up_and_keep_order_and_floor(clicks, candidates, floor):
    shares = quotas(np.array(clicks), candidates, floor).tolist()
    assert sum(shares) == candidates
    assert min(shares) >= min(round(floor * candidates), candidates // len(clicks))
    by_clicks = [
        q for _, q in sorted(zip(clicks, shares, strict=True), key=lambda pair: -pair[0])
    ]  # stable: ties in order
    assert by_clicks == sorted(shares, reverse=True)
    if floor == 0:
        assert all(
            abs(q - Fraction(c * candidates, sum(clicks))) < 1
            for c, q in zip(clicks, shares, strict=True)
        )


def filled(queues, clicks, clicked=(), candidates=6, floor=0.0):
    topics = TopicCounts(np.arange(10, 10 + len(queues)), np.array(clicks))
    return fill(queues, topics, set(clicked), candidates, floor)


def test_candidates_by_hand():
    """Quotas 4 and 2.

    Video c was clicked; e and a come from the first queue, so the second gives h and i.
    """
    reasons = filled([list("abcdefg"), list("eahi")], [2, 1], "c")
    assert list(reasons.items()) == [
        ("a", Reason(10, 1, 2)),
        ("b", Reason(10, 2, 2)),
        ("d", Reason(10, 4, 2)),
        ("e", Reason(10, 5, 2)),
        ("h", Reason(11, 3, 1)),
        ("i", Reason(11, 4, 1)),
    ]


def test_refill_is_shared_in_proportion():
    """Quotas of 12 for 3, 2, 1: 6, 4, 2.

    The first queue has one video, so 5 more: 3.33 and 1.67, rounded 3 and 2.
    """
    reasons = filled([["x"], list("abcdefghij"), list("klmnopq")], [3, 2, 1], candidates=12)
    assert Counter(r.topic_id for r in reasons.values()) == {10: 1, 11: 4 + 3, 12: 2 + 2}
    assert [v for v, r in reasons.items() if r.topic_id == 11] == list("abcdefg")


def test_queues_that_run_out():
    assert list(filled([["a", "b"], ["b", "c"], []], [5, 1, 1], "a")) == ["b", "c"]
    assert filled([[], []], [1, 1]) == {}
    assert filled([], []) == {}


queues = st.lists(
    st.lists(st.integers(0, 40).map(str), unique=True, max_size=25), min_size=1, max_size=4
)


@given(queues, st.sets(st.integers(0, 40).map(str), max_size=15), st.integers(1, 30), st.data())
def test_any_candidates(queues, clicked, candidates, data):
    clicks = data.draw(st.lists(st.integers(1, 9), min_size=len(queues), max_size=len(queues)))
    reasons = filled(
        queues, clicks, clicked, candidates, data.draw(st.sampled_from([0.0, 0.1, 0.5]))
    )
    open_videos = set().union(*queues) - clicked
    assert len(reasons) == min(
        candidates, len(open_videos)
    )  # exactly N_3 where the queues have them
    assert set(reasons) <= open_videos
    for video, (topic, position, times) in reasons.items():
        assert queues[topic - 10][position - 1] == video
        assert times == clicks[topic - 10]
    for i, queue in enumerate(
        queues
    ):  # each queue is taken from its head: what is passed over was clicked or is there
        last = max((r.position for r in reasons.values() if r.topic_id == 10 + i), default=0)
        assert set(queue[:last]) <= clicked | set(reasons)
