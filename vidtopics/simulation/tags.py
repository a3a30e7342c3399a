"""Tags: how many a video has, of which classes they are, and what they say of its topic.

A video has 1 + Poisson(2) tags, at most 8, 30 / 35 / 35% from its topic, secondary and primary
class; 1.3% have none. With probability e_G a tag is one of another topic's classes. A tag is its
place in the list of all tags: those of topics first, then of secondary and of primary classes.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidtopics.settings import SimulationSettings
from vidtopics.simulation.classes import Classes, pick
from vidtopics.simulation.philox import Stream, uniforms

TAG_LEVELS = np.cumsum([0.30, 0.35, 0.35])
"""Topic, secondary, primary."""
TAG_RATE, MAX_TAGS = 2.0, 8
UNTAGGED = 0.013
LEAST_NOISE = 0.01
"""e_G that the likelihood assumes at least, so that no tag rules a topic out."""
_ATTEMPTS = 4
_ROWS = 4_096

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Draws(NamedTuple):
    """Numbers in (0, 1) that the tags of n videos follow from.

    `size` [n, 2]; `lateness` and `delay` [n, 8]; `tries` [n, 8, 4 attempts, 4].
    """

    size: Floats
    lateness: Floats
    delay: Floats
    tries: Floats


def draw(seed: int, rows: Ints) -> Draws:
    """The numbers of videos `rows` [n]."""
    u = uniforms(seed, Stream.TAGS, rows, 4 + 2 * MAX_TAGS + 4 * MAX_TAGS * _ATTEMPTS)
    lateness, delay, tries = np.split(u[:, 4:], [MAX_TAGS, 2 * MAX_TAGS], axis=1)
    return Draws(u[:, :2], lateness, delay, tries.reshape(len(rows), MAX_TAGS, _ATTEMPTS, 4))


def choose_tags(settings: SimulationSettings, classes: Classes, topic: Ints, u: Draws) -> Ints:
    """Distinct tags of n videos of `topic` [n]: places in the list of all tags [n, 8], -1: none."""
    return _distinct(_candidates(settings, classes, topic, u.tries), _tag_counts(*u.size.T))


def tag_topics(settings: SimulationSettings, classes: Classes, topic: Ints, seed: int) -> Ints:
    """The likeliest topics by tags of a world's first videos, which are of `topic` [V]: [V]."""
    parts = [np.empty(0, dtype=np.int64)]
    for first in range(0, len(topic), _ROWS):
        rows = np.arange(first, min(first + _ROWS, len(topic)))
        tags = choose_tags(settings, classes, topic[rows], draw(seed, rows))
        parts.append(likeliest_topics(settings, classes, tags))
    return np.concatenate(parts)


def likeliest_topics(settings: SimulationSettings, classes: Classes, tags: Ints) -> Ints:
    """The likeliest topic of each video by its tags [n, 8], e_G being known: [n].

    P(tag | topic) is (1 - e) [the tag's class is the topic's] + e P(class), up to what depends on
    the tag alone; a video without tags has the most frequent topic.
    """
    share = np.diff(classes.share, prepend=0.0)
    noise = max(settings.tag_noise, LEAST_NOISE)
    levels = zip(levels_of(classes, np.arange(share.size)), tag_sizes(settings), strict=True)
    table = np.vstack([_log_likelihood(of, sizes, share, noise) for of, sizes in levels])
    votes = np.where((tags >= 0)[..., None], table[tags], 0.0).sum(axis=1) + np.log(share)
    likeliest: Ints = votes.argmax(axis=1)
    return likeliest


def tag_sizes(settings: SimulationSettings) -> tuple[Ints, Ints, Ints]:
    """How many tags each topic, secondary and primary class has.

    One each, and the rest 30 / 35 / 35% over the levels, evenly within.

    >>> few = {"topics": 4, "secondary_classes": 2, "primary_classes": 1}
    >>> [sizes.tolist() for sizes in tag_sizes(SimulationSettings(tags=17, **few))]
    [[1, 2, 2, 2], [2, 3], [5]]
    """
    counts = (settings.topics, settings.secondary_classes, settings.primary_classes)
    ends = np.round(np.concatenate([[0], TAG_LEVELS]) * (settings.tags - sum(counts))).astype(int)
    topics, secondary, primary = (
        1 + np.diff(np.arange(n + 1) * rest // n)
        for n, rest in zip(counts, np.diff(ends), strict=True)
    )
    return topics, secondary, primary


def levels_of(classes: Classes, topic: Ints) -> tuple[Ints, Ints, Ints]:
    """Topic, secondary and primary class of `topic` [...]."""
    return topic, classes.secondary[topic], classes.primary[topic]


def place(starts: Ints, of: Ints, u: Floats, *, zipf: bool = False) -> Ints:
    """Places in a list in which class c owns `starts[c]` to `starts[c + 1]`, by numbers in (0, 1).

    With `zipf` a class's first places come more often.

    >>> place(np.array([0, 10, 12]), np.array([0, 0, 1]), np.array([0.0, 0.99, 0.6])).tolist()
    [0, 9, 11]
    """
    size = starts[of + 1] - starts[of]
    within = (size + 1.0) ** u - 1 if zipf else u * size
    places: Ints = starts[of] + np.minimum(within.astype(np.int64), size - 1)
    return places


def _log_likelihood(of_topic: Ints, sizes: Ints, share: Floats, noise: float) -> Floats:
    """A row for each tag of a level [S, T]: log P(tag | topic) for tags of classes of `sizes`."""
    matches = of_topic == np.arange(len(sizes))[:, None]
    by_class = np.log((1 - noise) * matches + noise * (matches @ share)[:, None])
    return np.repeat(by_class, sizes, axis=0)


def _tag_counts(u: Floats, v: Floats) -> Ints:
    """1 + Poisson(2) by inversion, at most 8; none for 1.3%."""
    k = np.arange(MAX_TAGS - 1)
    factorials = np.cumprod(np.maximum(k, 1))
    distribution = np.cumsum(np.exp(-TAG_RATE) * TAG_RATE**k / factorials)
    return np.where(v < UNTAGGED, 0, 1 + np.searchsorted(distribution, u))


def _candidates(settings: SimulationSettings, classes: Classes, topic: Ints, u: Floats) -> Ints:
    """A tag for each attempt [n, 8, 4]: of a class of the video's topic, or of any other's."""
    wrong = u[..., 0] < settings.tag_noise
    source = np.where(wrong, pick(classes.share, u[..., 1]), topic[:, None, None])
    level, offset = np.searchsorted(TAG_LEVELS, u[..., 2]), 0
    chosen = np.empty(source.shape, dtype=np.int64)
    for k, (of, sizes) in enumerate(
        zip(levels_of(classes, source), tag_sizes(settings), strict=True)
    ):
        starts = np.concatenate([[0], np.cumsum(sizes)])
        own = offset + place(starts, of, u[..., 3], zipf=True)
        chosen, offset = np.where(level == k, own, chosen), offset + starts[-1]
    return chosen


def _distinct(candidates: Ints, counts: Ints) -> Ints:
    """The first candidate of each place [n, 8, attempts] that the video doesn't have yet.

    -1 where all were taken.
    """
    n, places, attempts = candidates.shape
    out = np.full((n, places), -1)
    for column, attempt in product(range(places), range(attempts)):
        tag = candidates[:, column, attempt]
        free = (out[:, column] < 0) & (column < counts) & (out != tag[:, None]).all(axis=1)
        out[free, column] = tag[free]
    return out
