"""Metrics by hand and by scikit-learn; intervals that hold users and seeds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, ndcg_score, roc_auc_score

from consumers.ranking.bootstrap import bootstrap
from consumers.ranking.metrics import (
    Groups,
    area_under_curve,
    calibration,
    user_figures,
    weighted_auc,
)


def log_of(rows=400, users=30, seed=2):
    r = np.random.default_rng(seed)
    user, clicked = r.integers(0, users, rows), r.random(rows) < 0.4
    scores = np.clip(0.4 + 0.2 * clicked + r.normal(0, 0.2, rows), 0.01, 0.99)
    return user * 7, clicked, scores.astype(np.float32)


def ratio(figures, name):
    sums, weights = figures[name]
    return sums.sum() / weights.sum()


@given(st.integers(0, 10_000))
def test_weighted_auc_is_that_of_scikit_learn(seed):
    r = np.random.default_rng(seed)
    clicked = np.array([True, False, *(r.random(20) < 0.5)])
    scores = r.integers(0, 6, 22).astype(np.float32)  # with ties
    weights = np.vstack([np.ones(22), r.integers(0, 3, 22)]).astype(float)
    weights[1, :2] += 1  # some of both classes
    got = weighted_auc(clicked, scores, weights)
    peers = [roc_auc_score(clicked, scores, sample_weight=w) for w in weights]
    assert got == pytest.approx(peers)
    assert got[0] == pytest.approx(area_under_curve(clicked, scores))


def test_means_over_users_are_loops_over_users():
    users, clicked, scores = log_of()
    figures = user_figures(Groups.of(users, clicked), scores)
    rows = [np.flatnonzero(users == user) for user in np.unique(users)]
    both = [at for at in rows if 0 < clicked[at].sum() < len(at)]
    each = [roc_auc_score(clicked[at], scores[at]) for at in both]
    assert ratio(figures, "user_auc") == pytest.approx(np.average(each, weights=[*map(len, both)]))
    with_clicks = [at for at in rows if clicked[at].any()]
    gains = [ndcg_score([clicked[at].astype(int)], [scores[at]], k=10) for at in with_clicks]
    assert ratio(figures, "ndcg") == pytest.approx(np.mean(gains))
    assert ratio(figures, "log_loss") == pytest.approx(log_loss(clicked, scores.astype(float)))


def test_a_constant_score_gains_no_ndcg_by_the_order_of_the_rows():
    clicked = np.array([True] + [False] * 19)
    for order in (clicked, clicked[::-1]):
        figures = user_figures(Groups.of(np.zeros(20), order), np.full(20, 0.5, np.float32))
        assert figures["ndcg"][0].tolist() == [0]


def test_users_without_clicks_or_with_nothing_else_have_no_auc_of_their_own():
    users, clicked = np.array([1, 1, 2, 2, 3, 3]), np.array([1, 0, 0, 0, 1, 1], bool)
    figures = user_figures(Groups.of(users, clicked), np.array([0.2, 0.1] * 3, np.float32))
    assert figures["user_auc"][1].tolist() == [2, 0, 0]
    assert figures["ndcg"][1].tolist() == [1, 0, 1]


def test_calibration_of_a_shifted_score():
    clicked = np.arange(1_000) % 2 == 0
    assert calibration(clicked, np.full(1_000, 0.6, np.float32)) == {"ratio": 1.2, "error": 0.1}


def test_an_interval_is_that_of_plain_resampling():
    users, clicked, scores = log_of()
    interval = bootstrap(Groups.of(users, clicked), {"a": scores[None]}, seed=1).interval(
        "auc", "a"
    )
    r, ids, drawn = np.random.default_rng(9), np.unique(users), []
    for _ in range(400):
        at = np.concatenate([np.flatnonzero(users == u) for u in r.choice(ids, len(ids))])
        drawn.append(roc_auc_score(clicked[at], scores[at]))
    low, high = np.percentile(drawn, (2.5, 97.5))
    assert interval["mean"] == pytest.approx(roc_auc_score(clicked, scores))
    assert (interval["low"], interval["high"]) == pytest.approx((low, high), abs=0.02)


def test_differences_are_paired_and_seeds_widen_them():
    users, clicked, scores = log_of(rows=2_000)
    r = np.random.default_rng(3)
    groups, steady = Groups.of(users, clicked), np.stack([scores] * 4)
    noise = steady + r.normal(0, [[0.02], [0.2], [0.4], [0.02]], steady.shape)
    draws = bootstrap(groups, {"a": steady, "b": steady, "c": noise.astype(np.float32)}, seed=1)
    assert draws.interval("auc", "a", less="b") == {"mean": 0, "low": 0, "high": 0}
    once = bootstrap(groups, {"a": steady[1:2], "c": noise[1:2].astype(np.float32)}, seed=1)
    wide, narrow = (d.interval("auc", "c", less="a") for d in (draws, once))
    assert wide["high"] - wide["low"] > narrow["high"] - narrow["low"]
