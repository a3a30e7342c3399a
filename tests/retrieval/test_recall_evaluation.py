"""Evaluation of recall: figures by hand and by plain loops, and a world whose answer is known."""

import json
from math import log2

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recall_world import (
    HOUR_US,
    SETTINGS,
    START_US,
    USERS,
    catalogue_row,
    log,
    make_home,
    put,
    times,
)

from vidtopics.cli.common import run
from vidtopics.contracts import CLICKS, IMPRESSIONS, VIDEO_CATALOG
from vidtopics.errors import TableError
from vidtopics.evaluate import recall as recall_evaluation
from vidtopics.evaluate.recall import evaluate
from vidtopics.evaluate.recall_log import Known, Log
from vidtopics.evaluate.recall_metrics import hit_rate, ndcg, novelty, over_users
from vidtopics.evaluate.recall_peers import Past, als, item_knn, popular, random, union
from vidtopics.tables import Tables


def test_figures_by_hand():
    """Of clicks 3, 7, 9 and 1 two are among the first four, at places 1 and 3."""
    ranked, clicked = [7, 5, 3, 8, 9], frozenset({3, 7, 9, 1})
    assert hit_rate(ranked, clicked, 4) == 0.5
    gain, best = 1 + 1 / 2, 1 + 1 / log2(3) + 1 / 2 + 1 / log2(5)
    assert ndcg(ranked, clicked, 4) == pytest.approx(gain / best)
    assert ndcg(ranked, clicked, 1) == 1  # one click is all that one place can hold
    assert hit_rate([], clicked, 4) == ndcg([], clicked, 4) == 0
    assert novelty([], np.ones(3)) == 0


@given(
    st.lists(st.integers(0, 30), unique=True, max_size=20),
    st.frozensets(st.integers(0, 30), min_size=1, max_size=10),
    st.integers(1, 25),
)
def test_figures_equal_plain_loops(ranked, clicked, k):
    hits, gain = 0, 0.0
    for place, video in enumerate(ranked[:k], 1):
        if video in clicked:
            hits, gain = hits + 1, gain + 1 / log2(1 + place)
    best = sum(1 / log2(1 + place) for place in range(1, min(k, len(clicked)) + 1))
    assert hit_rate(ranked, clicked, k) == pytest.approx(hits / len(clicked))
    assert ndcg(ranked, clicked, k) == pytest.approx(gain / best)


def test_a_user_with_many_requests_counts_once():
    """Means .5 and 0 of two users: .25, though three of four requests are the first user's."""
    values = np.array([[0.0], [0.5], [1.0], [0.0]])
    (interval,) = over_users(values, np.array([8, 8, 8, 3]), seed=1)
    assert interval == pytest.approx((0.25, 0.0, 0.5))


def test_an_interval_is_that_of_the_mean():
    """Of 400 users with spread 1 the mean's standard error is .05."""
    values = np.random.default_rng(3).normal(0.2, 1, (400, 1))
    (interval,) = over_users(np.hstack([values, values])[:, :1], np.arange(400), seed=1)
    assert interval.high - interval.low == pytest.approx(4 * 0.05, rel=0.15)


@pytest.fixture
def small_log(tmp_path):
    """ann sees a, b, a, c at hours 1 to 4; a (first) is clicked and known late, c at hour 5."""
    tables = Tables(tmp_path)
    put(tables, VIDEO_CATALOG, [catalogue_row(v) for v in "abc"], START_US)
    shown, clicked = [], []
    for n, video in enumerate("abac", 1):
        event = {"event_id": f"e{n}", "user_id": "ann", "video_id": video}
        shown.append(event | {"request_id": None, "position": n} | times(START_US + n * HOUR_US))
    for n, video, hour, known in ((1, "a", 2, 6), (4, "c", 5, 5)):
        event = {"event_id": f"e{n}", "user_id": "ann", "video_id": video, "watch_seconds": None}
        moments = times(START_US + hour * HOUR_US)
        clicked.append(event | moments | {"created_timestamp": START_US + known * HOUR_US})
    log(tables, IMPRESSIONS, shown)
    log(tables, CLICKS, clicked)
    return Log.read(tables, pa.array(["a", "b", "c"]))


@pytest.mark.parametrize(
    ("hour", "exposures", "clicks", "recent", "skips"),
    [
        (1, [0, 0, 0], [0, 0, 0], [], []),  # nothing of the same instant
        (2, [1, 0, 0], [0, 0, 0], [], [0]),
        (5, [2, 1, 1], [0, 0, 0], [], [2, 0, 1, 0]),
        (5.5, [2, 1, 1], [0, 0, 1], [2], [0, 1, 0]),
        (6, [2, 1, 1], [1, 0, 1], [2, 0], [0, 1]),  # c was clicked after a
    ],
)
def test_what_is_known_at_a_time(small_log, hour, exposures, clicks, recent, skips):
    known = Known.of(small_log, START_US + int(hour * HOUR_US))
    assert (known.exposures.tolist(), known.clicks.tolist()) == (exposures, clicks)
    assert known.recent(0, 9, clicked=True) == recent
    assert known.recent(0, 9, clicked=False) == skips
    assert known.recent(0, 1, clicked=False) == skips[:1]
    assert known.ever_clicked(0) == set(recent)


def past_of(clicks, live=None, users=4, videos=6):
    """Clicks (user, video, hour ago) as a past; all impressions were clicked."""
    order = sorted(range(len(clicks)), key=lambda i: -clicks[i][2])
    user, video, hours = (np.array([clicks[i][c] for i in order]) for c in range(3))
    at = START_US - hours * HOUR_US
    names = [pa.array([f"{i}" for i in range(n)]) for n in (users, videos)]
    known = Known.of(Log(*names, user, video, at, at, at, at), START_US)
    is_live = np.isin(np.arange(videos), range(videos) if live is None else live)
    return Past(known, is_live, seed=7)


def test_popular_by_hand():
    """Video 2 has three old clicks, video 4 two of today: with a short half-life 4 leads."""
    clicks = [(0, 2, 100), (1, 2, 100), (2, 2, 99), (0, 4, 1), (1, 4, 1), (3, 5, 0.5)]
    assert popular(past_of(clicks), 1e9)(0, (), 3) == [2, 4, 5]
    assert popular(past_of(clicks), 0.05)(0, (), 3) == [4, 5, 2]
    assert popular(past_of(clicks), 1e9)(0, {2}, 2) == [4, 5]
    assert popular(past_of(clicks, live=[0, 5]), 1e9)(0, (), 9) == [5, 0]


def test_random_is_each_users_own_and_live():
    first, again, other = (random(past_of([(0, 1, 1)], [0, 1, 2, 3]))(u, {3}, 9) for u in (1, 1, 2))
    assert first == again
    assert set(first) == set(other) == {0, 1, 2}


@pytest.mark.filterwarnings("error")  # a command's user would read them
@pytest.mark.parametrize("method", [(item_knn, "cosine", 5), (item_knn, "bm25", 5), (als, 2, 20.0)])
def test_peers_see_a_checkerboard(method, monkeypatch):
    """Even users click even videos: user 0, without video 4, is given 4 before any odd one."""
    make, *choice = method
    clicks = [
        (u, v, 1) for u in range(12) for v in range(10) if u % 2 == v % 2 and (u, v) != (0, 4)
    ]
    past = past_of(clicks, users=13, videos=10)
    monkeypatch.setattr("implicit.utils._checked_blas_config", False)  # asked once a process
    rest = popular(past, 1e9)
    recommend = make(past, rest, *choice)
    assert recommend(0, (), 3)[0] == 4
    assert not {0, 2, 6, 8} & set(recommend(0, {0, 2, 6, 8}, 9))
    assert len(recommend(0, {0, 2, 6, 8}, 6)) == 6  # topped up
    assert recommend(12, {1}, 4) == rest(12, {1}, 4)  # who never clicked


def test_a_union_takes_turns():
    assert union([1, 2, 3], [3, 1, 9], 4) == [1, 3, 2, 9]
    assert union([], [1], 4) == [1]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    tables = make_home(tmp_path_factory.mktemp("planted"))
    return evaluate(tables, SETTINGS, windows=3, users=USERS)


def test_topics_find_what_users_like_where_popularity_cannot(report):
    """12 of 90: a user's 30 videos hold all later clicks, so at least .3; popularity about .13."""
    figures = {name: row["hit_rate_12"]["mean"] for name, row in report["methods"].items()}
    assert figures["topics"] > 0.3
    assert figures["popular"] < 0.2
    assert figures["random"] < 0.2
    assert report["differences"]["topics - popular"]["hit_rate_12"]["low"] > 0.1
    assert figures["item-kNN"] > figures["popular"]
    assert report["filled"] == 1
    assert report["rules"]["live videos"] == 90


def test_topics_at_random_find_nothing(tmp_path):
    tables = make_home(tmp_path, permuted=True)
    report = evaluate(tables, SETTINGS, windows=3, users=USERS)
    interval = report["differences"]["topics - popular"]["hit_rate_12"]
    assert interval["mean"] < 0.08


def test_a_report_comes_again_byte_for_byte(tmp_path, report):
    again = evaluate(make_home(tmp_path), SETTINGS, windows=3, users=USERS)
    assert json.dumps(again) == json.dumps(report)


def test_nothing_after_the_cut_reaches_recall(tmp_path):
    """Clicks and impressions after the last cut are poisoned: candidates there stay the same."""
    clean, poisoned = make_home(tmp_path / "a"), make_home(tmp_path / "b")
    cut = START_US + 150 * HOUR_US
    late = [
        {"event_id": f"p{n}", "user_id": "u00", "video_id": "v01"} | times(cut + n)
        for n in range(40)
    ]
    log(poisoned, IMPRESSIONS, [row | {"request_id": None, "position": None} for row in late])
    log(poisoned, CLICKS, [row | {"watch_seconds": None} for row in late])
    lists = []
    for tables in (clean, poisoned):
        ids = pa.array([f"v{i:02d}" for i in range(90)])
        at = recall_evaluation._moment(tables, SETTINGS, Log.read(tables, ids), cut)
        users = [u.as_py() for u in at.past.known.log.user_ids]
        seen = recall_evaluation._seen(at, SETTINGS, users.index("u00"))
        reasons = recall_evaluation.recall(at, SETTINGS.recall, users.index("u00"), seen)
        lists.append((at.lists, sorted(seen), list(reasons.items())))
    assert lists[0] == lists[1]


def test_the_screen(tmp_path, capsys):
    make_home(tmp_path)
    config = tmp_path / "c.yaml"
    config.write_text(
        "queues: {min_exposures: 2, length: 100}\n"
        "recall: {candidates: 12, recent_clicks: 20, topics: 1, fresh_share: 0}\n"
    )
    options = ["--windows", "3", "--users", "20", "--home", str(tmp_path), "--config", str(config)]
    assert run(["evaluate", "recall", *options]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "topics - popular" in text
    assert "all N_3 for 100% of requests" in text
    assert run(["evaluate", "recall", "--json", *options]) == 0
    assert len(json.loads(capsys.readouterr().out)["windows"]) == 3


def test_a_log_that_is_too_short_is_refused(tmp_path):
    tables = make_home(tmp_path)
    with pytest.raises(TableError, match="at least 20 users with new clicks"):
        evaluate(tables, SETTINGS, windows=1, users=5)
    with pytest.raises(TableError, match="impressions in 9999 windows"):
        evaluate(tables, SETTINGS, windows=9999, users=5)
