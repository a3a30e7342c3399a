"""What each setting of the world's room does."""

from dataclasses import replace

import numpy as np
import pytest

from vidtopics.settings import SimulationSettings
from vidtopics.simulation.loop import simulate
from vidtopics.simulation.world import World

TINY = SimulationSettings(users=60, videos=80, days=3, topics=40, tags=100)


def log(world):
    return [(batch.slates.tolist(), batch.responses.clicked.tolist()) for batch in simulate(world)]


@pytest.mark.parametrize("change", [{"sharpness": 4.0}, {"popularity_exponent": 0.5}])
def test_the_loop_reads_it(change):
    """In the same world: the constant that is fitted would follow a sharpness, too."""
    world = World.build(TINY, 7)
    assert log(replace(world, settings=TINY.model_copy(update=change))) != log(world)


@pytest.mark.parametrize("change", [{"content_noise": 0.6}, {"random_click_rate": 0.3}])
def test_what_is_drawn_depends_on_it(change):
    assert log(World.build(TINY.model_copy(update=change), 7)) != log(World.build(TINY, 7))


def test_content_noise_is_the_distance_from_the_topics_centre():
    world = World.build(SimulationSettings(users=1, videos=2_000), 7)
    centre = world.classes.centres[world.items.topic]
    # unit(c + e) with |e|^2 of mean .09, e nearly at right angles to c: tan of the angle is |e|.
    cosine = (world.items.sem * centre).sum(axis=1)
    assert np.sqrt(1 / cosine**2 - 1).mean() == pytest.approx(0.3, abs=0.03)
