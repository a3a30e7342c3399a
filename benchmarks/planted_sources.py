"""Topics of a world's videos by where they come from."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans

from vidtopics.evaluate.ceiling.topics import Topics
from vidtopics.simulation import World
from vidtopics.simulation.classes import unit
from vidtopics.simulation.items import make_items
from vidtopics.simulation.tags import tag_topics


def clustered(world: World, count: int) -> Topics:
    """As many topics as `count`, found in the videos' own content: a K that isn't the world's."""
    sem = world.items.sem.astype(float)
    clusters = KMeans(count, n_init=4, random_state=0).fit(sem)
    return Topics(clusters.labels_.astype(np.int64), unit(clusters.cluster_centers_))


def of_covers(world: World, image_noise: float) -> Topics:
    """The topics that covers show at e_I = `image_noise`; the log is the same at any."""
    changed = world.settings.model_copy(update={"image_noise": image_noise})
    items = make_items(changed, world.classes, world.seed)
    return Topics(items.cover_topic, world.classes.centres)


def of_tags(world: World, tag_noise: float) -> Topics:
    """The likeliest topic of each video by its tags at e_G = `tag_noise`, which is known."""
    changed = world.settings.model_copy(update={"tag_noise": tag_noise})
    topics = tag_topics(changed, world.classes, world.items.topic, world.seed)
    return Topics(topics, world.classes.centres)
