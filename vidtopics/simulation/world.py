"""The simulated world: what is planted in it, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vidtopics.errors import SettingsError, explain
from vidtopics.settings import SimulationSettings
from vidtopics.simulation.calibration import click_intercept
from vidtopics.simulation.classes import Classes, make_classes
from vidtopics.simulation.items import Items, make_items, taste_net
from vidtopics.simulation.users import Users, make_users


@dataclass(frozen=True)
class World:
    """Classes, videos and users of a world as they are before its first day.

    `click_intercept` is part of every user's bias. A world that goes on for `later_days` after its
    log has videos behind the `settings.videos` of the log, which come out from its last day on.

    >>> world = World.build(SimulationSettings(users=10, videos=100), seed=7)
    >>> world.items.taste.shape, world.users.interests.shape
    ((100, 16), (10, 4, 16))
    """

    settings: SimulationSettings
    seed: int
    classes: Classes
    items: Items
    users: Users
    click_intercept: float
    later_days: int = 0

    @classmethod
    def build(cls, settings: SimulationSettings, seed: int, *, later_days: int = 0) -> World:
        """Draw a world; SettingsError where the settings allow none.

        >>> settings = SimulationSettings(users=10, videos=100)
        >>> log, later = (World.build(settings, 7, later_days=days) for days in (0, 14))
        >>> len(later.items.topic), bool((later.items.taste[:100] == log.items.taste).all())
        (142, True)
        """
        if not 0 <= seed < 2**32:
            raise SettingsError(
                explain("seed", expected="0 to 4294967295", found=str(seed), mend="choose another")
            )
        classes = make_classes(settings, seed)
        items = make_items(settings, classes, seed, later_days)
        users = make_users(settings, classes, taste_net(settings, seed), seed)
        intercept = click_intercept(settings, classes, seed)
        users = users._replace(bias=users.bias + np.float32(intercept))
        return cls(settings, seed, classes, items, users, intercept, later_days)
