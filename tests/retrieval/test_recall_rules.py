"""Topics of a user, quotas and candidates: examples by hand, and what holds for any queues."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.retrieval.rules import (
    Queue,
    Reason,
    count_topics,
    fill,
    fresh_count,
    fresh_places,
    in_turn,
    queue_of_request,
    quotas,
)


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


def test_a_parent_counts_once_for_a_click():
    assert counted([[4, 4, 2], [4, 4, 4], [2, -1, -1]]) == [(4, 2), (2, 2)]


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


def filled(queues, clicks, excluded=(), candidates=6, floor=0.0):
    rows = [
        Queue("topic", 10 + i, c, q) for i, (q, c) in enumerate(zip(queues, clicks, strict=True))
    ]
    return fill(rows, set(excluded), candidates, floor)


def test_candidates_by_hand():
    """Quotas 4 and 2, in turn at 1/8, 3/8, 5/8, 7/8 and at 1/4, 3/4.

    Video c was seen; e and a come from the first queue, so the second gives h and i.
    """
    reasons = filled([list("abcdefg"), list("eahi")], [2, 1], "c")
    assert list(reasons.items()) == [
        ("a", Reason("topic", 10, 1, 2)),
        ("h", Reason("topic", 11, 3, 1)),
        ("b", Reason("topic", 10, 2, 2)),
        ("d", Reason("topic", 10, 4, 2)),
        ("i", Reason("topic", 11, 4, 1)),
        ("e", Reason("topic", 10, 5, 2)),
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
def test_any_candidates(queues, seen, candidates, data):
    clicks = data.draw(st.lists(st.integers(1, 9), min_size=len(queues), max_size=len(queues)))
    floor = data.draw(st.sampled_from([0.0, 0.1, 0.5]))
    reasons = filled(queues, clicks, seen, candidates, floor)
    open_videos = set().union(*queues) - seen
    assert len(reasons) == min(candidates, len(open_videos))  # exactly where the queues have them
    assert set(reasons) <= open_videos
    for video, (_, topic, position, times, _) in reasons.items():
        assert queues[topic - 10][position - 1] == video
        assert times == clicks[topic - 10]
    for i, queue in enumerate(queues):
        # Each queue is taken from its head: what is passed over was seen or is there.
        places = [r.position for r in reasons.values() if r.topic_id == 10 + i]
        assert places == sorted(places)
        assert set(queue[: max(places, default=0)]) <= seen | set(reasons)


@given(queues, st.integers(1, 30))
def test_every_prefix_has_each_queues_share(queues, candidates):
    topics = [r.topic_id for r in filled(queues, [1] * len(queues), (), candidates).values()]
    totals = Counter(topics)
    for length in range(len(topics) + 1):
        for topic, total in totals.items():
            share = topics[:length].count(topic) - total * length / len(topics)
            assert abs(share) <= len(queues)


@given(
    st.permutations("abcdefghij"),
    st.permutations("abcdefghij"),
    st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]),
    st.integers(1, 10),
)
def test_every_prefix_of_a_union_has_the_heads_of_both_lists(first, second, share, number):
    """The first p hold the head of each list, as far as its share of the places goes."""
    own = {v: Reason("topic", 0, 1, 0) for v in first}
    union = in_turn(own, dict.fromkeys(second, 1), share, number)
    assert len(union) == number
    for length in range(1, number + 1):
        head = list(union)[:length]
        for videos, part in ((first, 1 - share), (second, share)):
            assert set(videos[: int(part * length)]) <= set(head)
    assert {r.level for r in union.values()} == {"topic"}  # each is in both lists


@given(
    st.lists(st.sampled_from("abcdefgh"), unique=True),
    st.lists(st.sampled_from("efghijkl"), unique=True),
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    st.integers(1, 12),
)
def test_a_union_is_both_lists_sorted_by_their_places(first, second, share, number):
    """A list whose share is 0 comes behind the other."""
    own = {v: Reason("topic", 1, place, 1) for place, v in enumerate(first, 1)}
    popular = {v: place for place, v in enumerate(second, 1)}
    places = [
        ((i + 0.5) / part if part else 1e9, video)
        for part, videos in ((1 - share, first), (share, second))
        for i, video in enumerate(videos)
    ]
    expected = {}
    for _, video in sorted(places, key=lambda place: place[0]):
        if len(expected) < number:
            expected[video] = own.get(video) or Reason("catalogue", 0, popular[video], 0)
    assert list(in_turn(own, popular, share, number).items()) == list(expected.items())


@pytest.mark.parametrize(
    ("ranked", "pool", "share", "fresh"),
    [
        (90, 1_000, 0.1, 10),  # 10 of 100
        (94, 1_000, 0.1, 10),  # 10.44
        (95, 1_000, 0.1, 11),  # 10.56
        (90, 4, 0.1, 4),  # there are no more
        (2, 1, 0.1, 1),
        (0, 1_000, 0.1, 10),  # a new topic starts with ten
        (6, 1_000, 0.1, 4),
        (9, 1_000, 0.1, 1),  # from here on it is the share
        (0, 1_000, 0.3, 4),  # 1 / 0.3 rounded up
        (50, 1_000, 0.0, 0),
        (0, 1_000, 0.0, 0),
        (0, 5, 1e-320, 5),  # 1 / 1e-320 is infinite in double precision
    ],
)
def test_number_of_fresh_videos(ranked, pool, share, fresh):
    assert fresh_count(ranked, pool, share) == fresh


@given(st.integers(0, 300), st.data())
def test_every_prefix_has_its_share_of_fresh_places(total, data):
    fresh = data.draw(st.integers(0, total))
    places = fresh_places(total, fresh)
    assert (len(places), places.sum()) == (total, fresh)
    assert all(abs(2 * places[:p].sum() * total - 2 * p * fresh) <= total for p in range(total + 1))


def test_draws_of_a_request_are_even_and_have_not_changed():
    """Each of 20 is drawn in 2 of 20 places: over 1,000 seeds 100 times, s = 9.5, within 50."""
    queue, pool = Queue("topic", 5, 1, [f"r{i}" for i in range(18)]), [f"f{i}" for i in range(20)]
    drawn = Counter(v for s in range(1_000) for v in queue_of_request(queue, pool, 0.1, s).fresh)
    assert len(drawn) == 20
    assert all(abs(n - 100) < 50 for n in drawn.values())
    golden = queue_of_request(queue, pool, 0.1, 7)
    assert [v for v in golden.videos if v in golden.fresh] == GOLDEN
    assert golden.fresh != queue_of_request(queue._replace(topic_id=6), pool, 0.1, 7).fresh
    assert golden.fresh != queue_of_request(queue._replace(level="parent"), pool, 0.1, 7).fresh
    assert [v for v in golden.videos if v not in golden.fresh] == queue.videos


GOLDEN = ["f5", "f6"]
