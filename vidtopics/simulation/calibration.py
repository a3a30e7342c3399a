"""The constant in every user's bias that gives a world its click rate.

How far random users' interests lie from random videos depends on the seed's centres and nets, and a
sharp affinity makes much of it: with one constant for all seeds the click rate of one world is .26
and that of another .29. So the constant is fitted, for each world, before its first day.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

from vidtopics.settings import SimulationSettings
from vidtopics.simulation.classes import Classes
from vidtopics.simulation.items import DAY, make_items, start_of, taste_net
from vidtopics.simulation.responses import pair_logits
from vidtopics.simulation.users import make_users

SAMPLE = 2_000
"""Users, and videos, that pairs are drawn from: the first of the seed, however many a world has."""
PAIRS = 256
"""Videos that each of them is paired with."""
BOUND = 50.0
DECIMALS = 4
"""Rounded to this, so that the last bits of another processor's sums don't matter."""


def click_intercept(settings: SimulationSettings, classes: Classes, seed: int) -> float:
    """The constant c at which a random click's mean probability is `random_click_rate`.

    sigmoid(c + a + 0.5 q + b - 0.3 log2(1 + age / 3 d)), the mean over random pairs of rested users
    and videos of the first day's pool that they haven't seen, at the first rank. It depends on the
    seed and on what tastes are drawn from, never on the numbers of users, videos and days. By
    bisection.

    >>> from vidtopics.simulation.classes import make_classes
    >>> blunt = SimulationSettings(sharpness=0.0, random_click_rate=0.5)
    >>> round(click_intercept(blunt, make_classes(blunt, 7), seed=7), 1)  # a = 0, mean ageing .74
    0.7
    """
    sample = settings.model_copy(update={"users": SAMPLE, "videos": SAMPLE, "days": 1})
    users = make_users(sample, classes, taste_net(sample, seed), seed)
    items = make_items(sample, classes, seed)
    logits = np.empty((SAMPLE, PAIRS))
    ages = (start_of(sample) - items.published) / DAY
    pair_logits(items, users, ages, settings.sharpness, logits)

    def excess(constant: float) -> float:
        return float(special.expit(logits + constant).mean()) - settings.random_click_rate

    return round(
        float(optimize.bisect(excess, -BOUND, BOUND, xtol=10 ** -(DECIMALS + 2))), DECIMALS
    )
