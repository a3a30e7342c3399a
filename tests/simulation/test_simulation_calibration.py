"""The constant that gives each world its click rate."""

import numpy as np
import pytest
from scipy import special

from vidtopics.settings import SimulationSettings
from vidtopics.simulation.calibration import click_intercept
from vidtopics.simulation.classes import make_classes
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.world import World

TINY = SimulationSettings(users=1, videos=20, days=1)


def mean_click_probability(world):
    """Of all pairs of a world's users and videos, by numpy, without the kernels."""
    cosine = np.einsum("umk,vk->uvm", world.users.interests, world.items.taste)
    terms = np.exp(world.users.log_weights[:, None] + world.settings.sharpness * (cosine - 1))
    ageing = 0.3 * np.log2(1 + (start_of(world.settings) - world.items.published) / DAY / 3)
    logit = np.log(terms.sum(axis=2)) + 0.5 * world.items.appeal - ageing
    return special.expit(logit + world.users.bias[:, None]).mean()


@pytest.mark.parametrize("seed", [7, 8])
@pytest.mark.parametrize("sharpness", [4.0, 8.0])
def test_random_pairs_click_as_often_as_the_setting_says(seed, sharpness):
    settings = SimulationSettings(users=2_000, videos=2_000, days=1, sharpness=sharpness)
    world = World.build(settings, seed)
    sample = world.users._replace(
        interests=world.users.interests[::10],
        log_weights=world.users.log_weights[::10],
        bias=world.users.bias[::10],
    )
    part = World(settings, seed, world.classes, world.items, sample, world.click_intercept)
    # 200 users of them: their mean bias has a standard error of .04, a hundredth of a probability.
    assert mean_click_probability(part) == pytest.approx(settings.random_click_rate, abs=0.03)


def test_worlds_differ_by_more_than_the_fit_leaves():
    """Why a constant for all won't do: 0.2 of logit between seeds, 1.5 between sharpnesses."""
    intercepts = [World.build(TINY, seed).click_intercept for seed in (7, 8)]
    assert abs(intercepts[0] - intercepts[1]) > 0.1
    blunt = World.build(TINY.model_copy(update={"sharpness": 4.0}), 7).click_intercept
    assert intercepts[0] - blunt > 1


def test_the_constant_is_in_every_bias_and_depends_on_no_size():
    small = World.build(TINY, 7)
    large = World.build(SimulationSettings(users=50, videos=300, days=9), 7)
    assert small.click_intercept == large.click_intercept
    assert small.users.bias[0] == large.users.bias[0]
    blind = World.build(TINY.model_copy(update={"random_click_rate": 0.1}), 7)
    shift = np.float32(small.click_intercept) - np.float32(blind.click_intercept)
    assert small.users.bias[0] - blind.users.bias[0] == pytest.approx(shift, abs=1e-5)


def test_a_higher_rate_takes_a_higher_constant():
    rates = (0.1, 0.3, 0.455, 0.9)
    classes = make_classes(TINY, 7)
    constants = [
        click_intercept(TINY.model_copy(update={"random_click_rate": rate}), classes, 7)
        for rate in rates
    ]
    assert constants == sorted(constants)
