"""Policies that need a world alone."""

import numpy as np
import pytest

from vidtopics.settings import SimulationSettings
from vidtopics.simulation.baselines import BASELINES, OraclePolicy, PopularPolicy, RandomPolicy
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.loop import drift, run_days
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.responses import affinity, click_logit, new_state
from vidtopics.simulation.world import World

SMALL = SimulationSettings(users=500, videos=160, days=4)


@pytest.fixture(scope="module")
def world():
    return World.build(SMALL, 7)


def run(world, policy, days=range(4), block=1_000):
    state, platform = new_state(world.users, start_of(SMALL)), Platform.new(world)
    arm_of = np.zeros(SMALL.users, np.int8)
    return list(run_days(world, state, platform, [policy], arm_of, days, block=block))


def open_platform(world, day=0):
    platform = Platform.new(world)
    platform.open_day(start_of(SMALL) + day * DAY)
    return platform


def choose(policy, platform, users, day=0, now_us=None):
    slates, odds = np.full((len(users), 8), -1, np.int32), np.empty((len(users), 8), np.float32)
    now_us = np.full(len(users), start_of(SMALL) + day * DAY) if now_us is None else now_us
    policy.open_day(day, platform)
    policy.choose(day, 0, users, now_us, platform, slates, odds)
    return slates, odds


@pytest.mark.parametrize("name", BASELINES)
def test_slates_are_of_distinct_live_videos_in_blocks_of_any_size(world, name):
    batches = run(world, BASELINES[name](world))
    for batch in batches:
        live = world.items.published < start_of(SMALL) + batch.day * DAY
        assert live[batch.slates].all()
        assert (np.diff(np.sort(batch.slates, axis=1), axis=1) > 0).all()
    slates = np.concatenate([batch.slates for batch in batches])
    blocks = run(world, BASELINES[name](world), block=41)
    assert np.array_equal(np.concatenate([batch.slates for batch in blocks]), slates)


def test_the_more_a_policy_knows_the_more_is_clicked(world):
    rates = {}
    for name in ("random", "popular", "oracle"):
        clicked = [b.responses.clicked.mean(axis=1) for b in run(world, BASELINES[name](world))]
        rates[name] = np.concatenate(clicked).mean()
    assert rates["oracle"] > 1.3 * rates["popular"] > 1.3 * rates["random"]


def test_random_videos_are_equally_likely(world):
    platform, slates, counts = open_platform(world), [], np.zeros(160)
    for day in range(40):  # the same platform on other days: other draws
        slates.append(choose(RandomPolicy(world), platform, np.arange(500), day)[0])
        counts += np.bincount(slates[-1].ravel(), minlength=160)
    live = counts[platform.live]
    expected = 40 * 500 * 8 / len(live)
    assert np.abs(live / expected - 1).max() < 5 / np.sqrt(expected)
    odds = choose(RandomPolicy(world), platform, np.arange(2))[1]
    assert odds[0].tolist() == pytest.approx([1 / (len(live) - k) for k in range(8)])


def test_popular_ones_are_those_clicked_most_that_the_user_has_not_seen(world):
    platform = open_platform(world)
    ranked = platform.live[[5, 3, 9, 1, 0, 2, 4, 6, 7, 8]]
    clicks = np.zeros(160)
    clicks[ranked] = np.arange(10, 0, -1)
    platform.known = platform.known._replace(decayed_clicks=clicks)
    platform.users.video[1, :2] = ranked[:2]
    slates, _ = choose(PopularPolicy(world), platform, np.array([0, 1]))
    assert slates.tolist() == [ranked[:8].tolist(), ranked[2:].tolist()]


def test_the_oracle_ranks_by_the_true_click_probability(world):
    """All live videos by the equations, with interests that drifted to the day."""
    day, users = 3, np.array([4, 77])
    state = new_state(world.users, start_of(SMALL))
    for earlier in range(1, day + 1):
        drift(world, state, earlier)
    platform = open_platform(world, day)
    now_us = start_of(SMALL) + day * DAY + np.array([1, 7]) * 3_600_000_000
    platform.users.video[4, :3] = choose(OraclePolicy(world), platform, users, day, now_us)[0][
        0, :3
    ]
    policy = OraclePolicy(world)
    policy.open_day(5, platform)  # a later run begins anew
    slates, _ = choose(policy, platform, users, day, now_us)
    items = world.items
    for row, user in enumerate(users):
        logits = {}
        for video in platform.live:
            tastes = (state.interests[user], state.log_weights[user], SMALL.sharpness)
            a, _ = affinity(items.taste[video], *tastes)
            seen = bool((platform.users.video[user] == video).any())
            age = (now_us[row] - items.published[video]) / DAY
            bias = world.users.bias[user]
            logits[video] = click_logit(a, items.appeal[video], bias, 0.0, seen, age)
        best = sorted(logits, key=logits.get, reverse=True)[:8]
        assert slates[row].tolist() == best
