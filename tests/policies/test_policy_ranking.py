"""Scores of many users at once are those of the ranking model in each user's request."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch
from platforms import EPOCH, PlainStore, catalog_of, platform_of, world_of

from consumers.encoding.numbers import NAMES, TOPIC_NAMES
from consumers.encoding.topics import Centres
from consumers.encoding.vocabulary import Vocabulary
from consumers.policies.frames import Candidates, FrameMaker
from consumers.policies.ranked import ManyRanker, RankedPolicy
from consumers.policies.recall import ManyRecall
from consumers.policies.slates import fill_slates
from consumers.ranking.inputs import encode
from consumers.ranking.models import VARIANTS, Pieces, Sizes, Widths, compose
from consumers.ranking.serve import Ranker
from consumers.ranking.store import Stored
from consumers.ranking.store import store as store_model
from consumers.retrieval import Recall
from vidtopics.rates import Prior
from vidtopics.settings import parse
from vidtopics.simulation.items import DAY

WORLD = world_of(seed=7)
SETTINGS = parse({"recall": {"candidates": 25}, "ranking": {"history": 20}}, where="test")
USERS = np.arange(40)


@pytest.fixture(scope="module")
def platform():
    return platform_of(WORLD)


def ranker(catalog, pieces, name="wide_and_deep", cover=0):
    """A model whose every weight counts; it knows some of the users, videos and topics."""
    rng = np.random.default_rng(3)
    topics = catalog.topic_ids[:-1]
    centres = rng.normal(size=(len(topics), 5)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    users = pa.array([f"u{user:07d}" for user in range(0, 40, 2)])
    known = Vocabulary(
        users,
        catalog.ids.slice(0, 100),
        Centres.of(topics, centres, 100 + (topics - 10) // 3, EPOCH),
        Prior(0.3, 10.0),
        0.7,
        0.4,
    )
    sizes = Sizes(len(users) + 1, 101, len(topics) + 1, 4, len(NAMES), TOPIC_NAMES, cover)
    model = compose(name, sizes, pieces, Widths(embedding=4, topic=3, hidden=(8, 4)))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    half_life_us = SETTINGS.users.half_life // timedelta(microseconds=1)
    return Stored(name, model.eval(), known, SETTINGS.ranking.history, half_life_us)


@pytest.mark.parametrize(("variant", "name"), [("topics", "wide_and_deep"), ("none", "dcn")])
def test_scores_are_those_of_each_users_request(platform, variant, name, tmp_path):
    catalog = catalog_of(WORLD)
    stored = ranker(catalog, VARIANTS[variant], name)
    recall, store = Recall(PlainStore(platform, catalog, SETTINGS), SETTINGS.recall), None
    store = recall.client
    now_us = platform.users.decayed_at + 3 * DAY // 24 + USERS * 1_000
    online = [
        recall.recall_from(store, f"u{user:07d}", at_us=int(now_us[user]), seed=1) for user in USERS
    ]
    store_model(tmp_path, stored, {})
    single = Ranker.load(tmp_path)
    expected = [
        single.score(request, store.features_of(user, request.video_ids))
        for user, request in zip(USERS.tolist(), online, strict=True)
    ]
    names = {video: row for row, video in enumerate(catalog.ids.to_pylist())}
    candidates = Candidates(
        np.repeat(USERS, [len(request.video_ids) for request in online]),
        np.array([names[v] for request in online for v in request.video_ids], np.int32),
    )
    frames = FrameMaker(catalog, SETTINGS, places=20, is_topical=variant == "topics")
    scores = ManyRanker(stored, frames).score(platform, USERS, now_us, candidates)
    np.testing.assert_allclose(scores, np.concatenate(expected), rtol=0, atol=1e-6)
    assert np.ptp(scores) > 0.1


def test_a_ranker_with_covers_reads_those_of_its_candidates(platform):
    catalog, rng = catalog_of(WORLD), np.random.default_rng(5)
    covers = rng.normal(size=(len(catalog.ids), 128)).astype(np.float32)
    stored = ranker(catalog, Pieces(cover=True), cover=128)
    frames = FrameMaker(catalog, SETTINGS, places=20, is_topical=False)
    videos = rng.permutation(120)[: 40 * 3].reshape(40, 3).astype(np.int32)
    candidates, now_us = Candidates.of(videos), platform.users.decayed_at + 1
    scores = ManyRanker(stored, frames, covers).score(platform, USERS, now_us, candidates)
    frame = frames.make(platform, USERS, now_us, candidates)
    batch = encode(frame, stored.known, places=20, covers=covers).batch(np.arange(len(scores)))
    assert torch.equal(batch.cover, torch.from_numpy(covers[videos.ravel()]))
    with torch.inference_mode():
        odds = stored.model(batch)
    np.testing.assert_allclose(scores, torch.sigmoid(odds), atol=1e-6)


def test_slates_are_the_best_by_score_and_blocks_change_nothing(platform):
    catalog = catalog_of(WORLD)
    stored, recall = (
        ranker(catalog, VARIANTS["topics"]),
        ManyRecall(catalog, SETTINGS, SETTINGS.recall),
    )
    frames = FrameMaker(catalog, SETTINGS, places=20, is_topical=True)
    policy = RankedPolicy("topics", WORLD.seed, recall, ManyRanker(stored, frames))
    policy.open_day(3, platform)
    now_us = platform.users.decayed_at + 1
    slates, odds = chosen(policy, USERS, now_us, platform)
    parts = [chosen(policy, USERS[i : i + 7], now_us[i : i + 7], platform) for i in range(0, 40, 7)]
    assert np.concatenate([part for part, _ in parts]).tolist() == slates.tolist()
    assert np.concatenate([part for _, part in parts]).tobytes() == odds.tobytes()
    recalled = recall.recall_users(USERS, platform)
    scores = policy._scorer.score(platform, USERS, now_us, Candidates.of(recalled.videos))
    best = np.argsort(-scores.reshape(40, -1), axis=1, kind="stable")
    ranked = np.take_along_axis(recalled.videos, best, axis=1)
    is_best = slates == ranked[:, :8]
    assert is_best[:, 0].mean() > 0.8
    explored = odds < 0.5
    assert 0.02 < explored.mean() < 0.09
    assert is_best[~explored.any(axis=1)].all()
    assert all(len(set(row)) == 8 for row in slates.tolist())
    assert np.isin(slates, platform.live).all()


def chosen(policy, users, now_us, platform):
    slates, odds = np.full((len(users), 8), -1, np.int32), np.full((len(users), 8), np.nan, "f4")
    policy.choose(3, 1, users, now_us, platform, slates, odds)
    return slates, odds


def test_propensities_are_the_shares_of_many_draws():
    """Slot 0: .7 + .3 / 5 for the best, .3 / 5 else; slot 1 likewise of the other four."""
    live, ranked = np.arange(5, dtype=np.int32), np.array([[3, 1, -1]], np.int32).repeat(20_000, 0)
    users = np.arange(20_000)
    slates, odds = np.zeros((20_000, 3), np.int32), np.zeros((20_000, 3), np.float32)
    fill_slates(7, 2, 0, users, live, ranked, 0.3, slates, odds)
    first = np.bincount(slates[:, 0], minlength=5) / 20_000
    np.testing.assert_allclose(first, [0.06, 0.06, 0.06, 0.76, 0.06], atol=0.012)
    of_three = slates[slates[:, 0] == 3]
    second = np.bincount(of_three[:, 1], minlength=5) / len(of_three)
    np.testing.assert_allclose(second, [0.075, 0.775, 0.075, 0, 0.075], atol=0.012)
    assert odds[(slates[:, 0] == 3), 0] == pytest.approx(0.76)
    assert odds[(slates[:, 1] == 1) & (slates[:, 0] == 3), 1] == pytest.approx(0.775)
    both = np.isin(slates[:, :2], [1, 3]).all(axis=1)  # the list is used up: any of three
    assert odds[both, 2] == pytest.approx(1 / 3)
    again = np.zeros_like(slates)
    fill_slates(7, 2, 0, users, live, ranked, 0.3, again, odds)
    assert again.tolist() == slates.tolist()
