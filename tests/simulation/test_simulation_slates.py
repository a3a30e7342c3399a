"""The logging policy: what it draws, and the probabilities that it says it drew with."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from vidtopics.settings import SimulationSettings
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.loop import simulate
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.slates import LoggedPolicy, recent_clicks
from vidtopics.simulation.world import World

SETTINGS = SimulationSettings(users=20_000, videos=40, days=4, topics=40, popularity_exponent=1.5)
SLATE = 8
PAST = 160
"""Impressions of each user before the draw: more than the 128 that are remembered."""


@pytest.fixture(scope="module")
def drawn():
    """A world, its platform after everybody was shown one history, and a slate for each user."""
    world = World.build(SETTINGS, 7)
    platform = Platform.new(world)
    midnight = start_of(SETTINGS) + DAY
    platform.open_day(midnight)
    rng = np.random.default_rng(0)
    history = rng.choice(30, PAST, p=np.arange(1, 31) / 465)
    clicked = rng.random(PAST) < 0.2 + 0.6 * (world.classes.primary[world.items.topic][history] < 3)
    platform.users.video[:] = np.roll(np.resize(history[-128:], 128), PAST % 128)
    platform.users.clicked[:] = np.roll(clicked[-128:], PAST % 128)
    platform.users.shown[:] = PAST
    clicks = rng.poisson(5, 40)
    platform.known = platform.known._replace(
        clicks=clicks, decayed_clicks=clicks * 0.8, decayed_at=np.full(40, midnight - 3 * DAY)
    )
    policy, users = LoggedPolicy(world), np.arange(SETTINGS.users)
    policy.open_day(1, platform)
    slates = np.full((len(users), SLATE), -1, dtype=np.int32)
    propensities = np.full(slates.shape, np.nan, dtype=np.float32)
    policy.choose(1, 0, users, users, platform, slates, propensities)
    return world, platform, slates, propensities, history[-128:], clicked[-128:]


def mixture(world, platform, seen, clicked):
    """q of every live video by whole arrays, a tenth for those in `seen`."""
    primary, live = world.classes.primary[world.items.topic], platform.live
    weight = np.zeros(40)
    # Three days at a half-life of seven.
    weight[live] = (platform.known.decayed_clicks[live] * 0.5 ** (3 / 7) + 1) ** 1.5
    rate = (clicked.sum() + 8 * 0.3) / (len(seen) + 8)
    ratio = np.array(
        [
            (clicked[primary[seen] == c].sum() + 8 * rate) / ((primary[seen] == c).sum() + 8) / rate
            for c in range(10)
        ]
    )
    tilted = weight * ratio[primary] ** 2
    q = 0.3 * weight / weight.sum() + 0.4 * tilted / tilted.sum()
    q[live] += 0.3 / len(live)
    return q * np.where(np.isin(np.arange(40), seen), 0.1, 1.0)


def test_propensities_are_the_mixtures_without_the_earlier_slots(drawn):
    world, platform, slates, propensities, seen, clicked = drawn
    assert 20 < len(platform.live) < 40  # some are not published yet
    q = mixture(world, platform, seen, clicked)
    for slate, row in zip(slates[:200], propensities[:200], strict=True):
        for k in range(SLATE):
            left = np.delete(q, slate[:k]).sum()
            assert row[k] == pytest.approx(q[slate[k]] / left, rel=1e-5)


@pytest.mark.parametrize("slot", [0, 1, 7])
def test_videos_are_drawn_as_often_as_the_propensities_say(drawn, slot):
    """The expected counts are sums of each user's own conditional distribution."""
    world, platform, slates, _, seen, clicked = drawn
    q = mixture(world, platform, seen, clicked)
    odds = np.tile(q, (len(slates), 1))
    np.put_along_axis(odds, slates[:, :slot].astype(int), 0, axis=1)
    odds /= odds.sum(axis=1, keepdims=True)
    counts, expected = np.bincount(slates[:, slot], minlength=40), odds.sum(axis=0)
    assert counts[expected == 0].sum() == 0
    deviation = counts - expected
    variance = (odds * (1 - odds)).sum(axis=0)
    assert stats.chi2.sf((deviation**2 / variance.clip(1e-9))[expected > 0].sum(), 40) > 0.001


def test_no_video_comes_twice_even_where_nearly_all_have_to_come():
    settings = SETTINGS.model_copy(update={"users": 500, "videos": 9, "topics": 40})
    world = World.build(settings, 7)
    for batch in simulate(world):
        assert all(len(set(slate)) == SLATE for slate in batch.slates.tolist())
        assert ((batch.propensities > 0) & (batch.propensities <= 1 + 1e-6)).all()


def test_propensities_weigh_the_log_to_any_other_policy():
    """Importance weights of an even draw average to 1, slot by slot, over days of history."""
    settings = SETTINGS.model_copy(update={"users": 1_000, "videos": 200, "days": 4})
    world = World.build(settings, 7)
    weights = []
    for batch in simulate(world):
        live = (world.items.published < start_of(settings) + batch.day * DAY).sum()
        weights.append(1 / (live - np.arange(SLATE)) / batch.propensities)
    weights = np.concatenate(weights)
    error = weights.std(axis=0) / np.sqrt(len(weights))
    assert len(weights) > 2_000
    assert (np.abs(weights.mean(axis=0) - 1) < 3.5 * error).all()


def test_clicks_of_earlier_days_are_decayed_to_midnight_and_todays_count_whole():
    known = SimpleNamespace(
        clicks=np.array([4, 0]), decayed_clicks=np.array([3.0, 0.0]), decayed_at=np.array([0, 0])
    )
    platform = SimpleNamespace(
        known=known,
        clicks=np.array([6, 1]),
        midnight_us=14 * DAY,
        rules=SimpleNamespace(video_half_life=7 * DAY),
    )
    assert recent_clicks(platform).tolist() == [3 / 4 + 2, 1]
