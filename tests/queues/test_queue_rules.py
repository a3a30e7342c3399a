"""Queue rules: an example by hand, a plain oracle, and what holds for any topic."""

from collections import Counter
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.queues.rules import fresh_count, fresh_places, topic_queue
from vidtopics.contracts import TOPIC_QUEUES
from vidtopics.settings import QueueSettings

COLUMNS = ["video_id", "video_exposures", "video_ctr"]
SCHEMA = pa.schema(
    [
        ("topic_id", pa.int64()),
        ("video_id", pa.string()),
        ("video_exposures", pa.int64()),
        ("video_ctr", pa.float64()),
        ("topic_epoch", pa.int64()),
    ]
)


def topic(rows, topic_id=7):
    cells = [
        {"topic_id": topic_id, "topic_epoch": 3} | dict(zip(COLUMNS, row, strict=True))
        for row in rows
    ]
    return pa.Table.from_pylist(cells, schema=SCHEMA)


def queue(rows, topic_id=7, seed=7, **settings):
    return topic_queue(topic(rows, topic_id), QueueSettings(**settings), seed).to_pylist()


def test_by_hand():
    """tau_1 = 10, tau_2 = 0.07, share 0.25: 6 judged, so 6 * 1/3 = 2 fresh of 3 unjudged."""
    rows = [
        ("a", 10, 0.07),  # on both thresholds: in, the last
        ("b", 500, 0.30),
        ("c", 20, 0.30),  # as often clicked as b, less often shown
        ("e", 20, 0.30),  # as c: by id
        ("d", 20, 0.30),
        ("f", 99, 0.45),
        ("low", 10_000, 0.0699),
        ("n1", 9, 0.9),
        ("n2", 0, 0.02),
        ("n3", 3, 0.5),
    ]
    rows_of_queue = queue(rows, fresh_share=0.25)
    assert [r["video_id"] for r in rows_of_queue if not r["fresh"]] == [
        "f",
        "b",
        "c",
        "d",
        "e",
        "a",
    ]
    # 8 places in 2 stretches of 4, a fresh video at the third of each
    assert [r["queue_position"] for r in rows_of_queue if r["fresh"]] == [3, 7]
    assert {r["video_id"] for r in rows_of_queue if r["fresh"]} < {"n1", "n2", "n3"}
    assert list(rows_of_queue[0]) == [c.name for c in TOPIC_QUEUES.columns]
    assert rows_of_queue[0] == {
        "topic_id": 7,
        "video_id": "f",
        "queue_position": 1,
        "queue_ctr": 0.45,
        "queue_exposures": 99,
        "fresh": False,
        "topic_epoch": 3,
    }


@pytest.mark.parametrize(
    ("judged", "unjudged", "share", "length", "fresh"),
    [
        (90, 1_000, 0.1, 1_000, 10),  # 10 of 100
        (94, 1_000, 0.1, 1_000, 10),  # 10.44
        (95, 1_000, 0.1, 1_000, 11),  # 10.56
        (90, 4, 0.1, 1_000, 4),  # there are no more
        (2_000, 1_000, 0.1, 1_000, 100),  # of a queue that is cut
        (0, 1_000, 0.1, 1_000, 10),  # a new topic starts with ten
        (6, 1_000, 0.1, 1_000, 4),
        (9, 1_000, 0.1, 1_000, 1),  # from here on it is the share
        (0, 1_000, 0.3, 1_000, 4),  # 1 / 0.3 rounded up
        (0, 1_000, 0.1, 5, 5),
        (50, 1_000, 0.0, 1_000, 0),
        (0, 1_000, 0.0, 1_000, 0),
    ],
)
def test_number_of_fresh_videos(judged, unjudged, share, length, fresh):
    assert fresh_count(judged, unjudged, QueueSettings(fresh_share=share, length=length)) == fresh


def test_draws_have_not_changed():
    """Golden: another hash would exchange the fresh videos of every queue at once."""
    rows = [(f"v{i}", 0, 0.1) for i in range(100)]
    drawn = [r["video_id"] for r in queue(rows, fresh_share=0.25)]
    assert drawn == GOLDEN
    assert drawn != [r["video_id"] for r in queue(rows, fresh_share=0.25, seed=8)]
    assert drawn != [r["video_id"] for r in queue(rows, fresh_share=0.25, topic_id=8)]


GOLDEN = ["v73", "v45", "v99", "v76"]


def test_draws_are_even():
    """Over 400 topics each of 20 videos is drawn 400 * 10 / 20 = 200 times, s = 10: within 60."""
    rows = [(f"v{i}", i % 10, 0.1) for i in range(20)]
    drawn = Counter(r["video_id"] for t in range(400) for r in queue(rows, topic_id=t))
    assert len(drawn) == 20
    assert all(abs(n - 200) < 60 for n in drawn.values())


def test_a_fresh_video_stays_until_it_is_judged():
    rows = [(f"k{i}", 100, 0.2) for i in range(18)] + [(f"n{i}", 0, 0.2) for i in range(50)]
    first = [r["video_id"] for r in queue(rows) if r["fresh"]]
    assert len(first) == 2
    shown = [(v, 9 if v in first else n, ctr) for v, n, ctr in rows]
    assert [r["video_id"] for r in queue(shown) if r["fresh"]] == first
    judged = [(v, 10 if v == first[0] else n, 0.01 if v == first[0] else ctr) for v, n, ctr in rows]
    after = [r["video_id"] for r in queue(judged) if r["fresh"]]
    assert first[0] not in {r["video_id"] for r in queue(judged)}
    assert (after[0], len(after)) == (first[1], 2)


@pytest.mark.parametrize("videos", [[], [("low", 100, 0.01)]], ids=["no video", "none judged"])
def test_an_empty_queue_has_the_columns_of_a_full_one(videos):
    empty = topic_queue(topic(videos), QueueSettings(), 7)
    assert (len(empty), empty.column_names) == (0, [c.name for c in TOPIC_QUEUES.columns])


videos = st.lists(
    st.tuples(
        st.text("ab\u00e9\u4e00/", min_size=1, max_size=4),
        st.integers(0, 30),
        st.sampled_from([0.0, 0.06, 0.07, 0.2, 0.9]),
    ),
    max_size=60,
    unique_by=lambda row: row[0],
)
settings = st.builds(
    dict,
    min_exposures=st.integers(0, 20),
    min_ctr=st.sampled_from([0.0, 0.07, 0.5]),
    fresh_share=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]),
    length=st.integers(1, 70),
)


@given(videos, settings, st.randoms())
def test_any_queue(rows, chosen, random):
    queued = queue(rows, **chosen)
    shuffled = random.sample(rows, len(rows))
    assert queue(shuffled, **chosen) == queued
    assert [r["queue_position"] for r in queued] == list(range(1, len(queued) + 1))
    assert len({r["video_id"] for r in queued}) == len(queued) <= chosen["length"]
    of = {v: (n, ctr) for v, n, ctr in rows}
    judged = [r for r in queued if not r["fresh"]]
    good = [
        v for v, (n, ctr) in of.items() if n >= chosen["min_exposures"] and ctr >= chosen["min_ctr"]
    ]
    ranked = sorted(good, key=lambda v: (-of[v][1], -of[v][0], v.encode()))
    assert [r["video_id"] for r in judged] == ranked[: len(judged)]
    fresh = [r for r in queued if r["fresh"]]
    assert all(of[r["video_id"]][0] < chosen["min_exposures"] for r in fresh)
    unjudged = sum(n < chosen["min_exposures"] for n, _ in of.values())
    assert len(queued) == chosen["length"] or (len(judged) == len(good))
    check_share(len(judged), len(fresh), len(good), unjudged, chosen)


def check_share(judged, fresh, good, unjudged, chosen):
    share, length = Fraction(str(chosen["fresh_share"])), chosen["length"]
    if (
        share and fresh < min(unjudged, length) and judged + fresh > -(-1 // share)
    ):  # longer than one that was filled up
        assert abs(fresh - share * (judged + fresh)) <= Fraction(1, 2)
    if share and good == 0:
        assert fresh == min(unjudged, length, -(-1 // share))
    if not share:
        assert fresh == 0


@given(st.integers(0, 300), st.data())
def test_every_prefix_has_its_share_of_fresh_places(total, data):
    fresh = data.draw(st.integers(0, total))
    places = fresh_places(total, fresh)
    assert (len(places), places.sum()) == (total, fresh)
    assert all(abs(2 * places[:p].sum() * total - 2 * p * fresh) <= total for p in range(total + 1))


def test_the_least_share_above_zero_fills_a_queue_and_overflows_nothing():
    """1 / 1e-320 is infinite in double precision."""
    assert fresh_count(0, 5, QueueSettings(fresh_share=1e-320, length=3)) == 3
