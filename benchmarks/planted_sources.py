"""Topics of a world's videos by where they come from: a code for each video and unit centres."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from vidtopics.cli.homes import settings
from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.evaluate.representations import released_run
from vidtopics.simulation import World
from vidtopics.simulation.classes import unit
from vidtopics.simulation.items import make_items
from vidtopics.simulation.titles import make_vocabulary, tags
from vidtopics.tables import Tables
from vidtopics.topic_models.store import load as load_model

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Topics(NamedTuple):
    """`code` [V] is the row of unit `centres` [C, D] that stands for a video."""

    code: Ints
    centres: Floats


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
    """The likeliest topic of each video by its tags at e_G = `tag_noise`, which is known.

    P(tag | topic) is (1 - e) [the tag's class is the topic's] + e P(class), up to what depends on
    the tag alone; a video without tags has the most frequent topic.
    """
    changed = world.settings.model_copy(update={"tag_noise": tag_noise})
    noisy = World(
        changed, world.seed, world.classes, world.items, world.users, world.click_intercept
    )
    vocabulary = make_vocabulary(noisy)
    slug = tags(noisy, vocabulary, np.arange(len(world.items.topic))).slug
    share = np.diff(world.classes.share, prepend=0.0)
    table = np.vstack(
        [
            _log_odds(of_topic, np.diff(pools.starts), share, max(tag_noise, 0.01))
            for of_topic, pools in zip(_levels(world), vocabulary.tags, strict=True)
        ]
    )
    votes = np.where((slug >= 0)[..., None], table[slug], 0.0).sum(axis=1) + np.log(share)
    return Topics(votes.argmax(axis=1), world.classes.centres)


def of_home(home: Path, videos: int) -> Topics:
    """The first learned topic of each video of a home, by its centre; TableError without a release.

    A video without one is alone with the others that have none, at right angles to all centres.
    """
    run = released_run(Tables(home), settings(home, None))
    rows = run.read(VIDEO_TOPICS, "video_id", "topic_ids")
    version = run.model_version
    assert version is not None  # a release has one
    topics = load_model(home, version.number).topics
    ids = topics["topic_id"].to_numpy()
    centres = np.array(topics["centroid"].to_pylist(), float)
    order = np.argsort(ids)
    code = np.full(videos, len(ids))
    for video, slots in zip(
        rows["video_id"].to_pylist(), rows["topic_ids"].to_pylist(), strict=True
    ):
        if slots and slots[0] >= 0:
            code[int(video[1:])] = order[np.searchsorted(ids[order], slots[0])]
    return Topics(code, np.vstack([unit(centres), np.zeros(centres.shape[1])]))


def _levels(world: World) -> tuple[Ints, Ints, Ints]:
    """Of each topic: itself, its secondary and its primary class."""
    classes = world.classes
    return np.arange(len(classes.secondary)), classes.secondary, classes.primary


def _log_odds(of_topic: Ints, sizes: Ints, share: Floats, noise: float) -> Floats:
    """A row for each tag of a level [S, T]."""
    matches = of_topic == np.arange(len(sizes))[:, None]
    by_class = np.log((1 - noise) * matches + noise * (matches @ share)[:, None])
    return np.repeat(by_class, sizes, axis=0)
