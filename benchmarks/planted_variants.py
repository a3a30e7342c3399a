"""What a consumer of a simulated world's log knows of topics: the variants that are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.line_plots import draw_panels
from benchmarks.planted_sources import clustered, of_covers, of_tags
from vidtopics.evaluate.ceiling.consumer import RANDOM_SHARE, Consumer
from vidtopics.evaluate.ceiling.gains import Features
from vidtopics.evaluate.ceiling.log import Floats
from vidtopics.evaluate.ceiling.topics import Topics

if TYPE_CHECKING:
    from benchmarks.planted import Gain

PERMUTATIONS = 5
CLASSES, KERNEL = "residual in primary and secondary class", "topic kernel"
PERMUTED, ORACLE = "kernel, permuted topics", "oracle"
TASTES = "kernel over planted tastes"
TOO_FEW, TOO_MANY = "a quarter as many topics", "four times as many topics"
NOISES = (0.0, 0.25, 0.5, 1.0)
"""e_I and e_G of the topics that covers and tags alone show."""

BESIDE_CLASSES = "topic kernel and classes"
BASE = "base"
COMPARED_WITH = {BESIDE_CLASSES: CLASSES}
"""The variant that one is compared with, where it isn't the base."""
Variants = Iterator[tuple[str, Features]]
"""Name and features."""


def planted(consumer: Consumer) -> Variants:
    """What a consumer knows of planted classes, topics and tastes."""
    base, topic = consumer.base(), consumer.topic
    levels = consumer.world.classes.secondary[topic], consumer.world.classes.primary[topic]
    kernels, classes = consumer.topic_kernels(topic), consumer.residuals(*levels)

    def added(*features: Floats) -> Features:
        yield np.hstack([base, *features])

    yield BASE, added()
    yield "share of clicks in the topic", added(consumer.shares(topic))
    yield "clicks and impressions in the topic", added(consumer.counts(topic))
    yield "residual in the topic", added(consumer.residuals(topic))
    yield CLASSES, added(classes)
    yield KERNEL, added(kernels)
    yield BESIDE_CLASSES, added(kernels, classes)
    yield (
        f"kernel, {RANDOM_SHARE:.0%} of topics random",
        added(consumer.topic_kernels(consumer.partly_random())),
    )
    yield (
        PERMUTED,
        (
            np.hstack([base, consumer.topic_kernels(consumer.permuted())])
            for _ in range(PERMUTATIONS)
        ),
    )
    yield TASTES, added(consumer.taste_kernels())
    yield ORACLE, added(consumer.oracle())


def sources(consumer: Consumer) -> Variants:
    """The topic kernel by where topics come from, permuted ones at last."""
    base, world = consumer.base(), consumer.world
    count = world.settings.topics

    def added(topics: Topics) -> Features:
        yield np.hstack([base, consumer.kernels(*topics)])

    yield BASE, iter([base])
    yield KERNEL, added(Topics(consumer.topic, world.classes.centres))
    yield TOO_FEW, added(clustered(world, count // 4))
    yield TOO_MANY, added(clustered(world, 4 * count))
    for noise in NOISES:
        yield of_noise("covers", noise), added(of_covers(world, noise))
    for noise in NOISES:
        yield of_noise("tags", noise), added(of_tags(world, noise))
    yield PERMUTED, added(Topics(consumer.permuted(), world.classes.centres))


def modalities(consumer: Consumer) -> Variants:
    """The topic kernel by what shows the topics in this world, and the ceiling of tastes."""
    base, world = consumer.base(), consumer.world
    image_noise, tag_noise = world.settings.image_noise, world.settings.tag_noise

    def added(topics: Topics) -> Features:
        yield np.hstack([base, consumer.kernels(*topics)])

    yield BASE, iter([base])
    yield KERNEL, added(Topics(consumer.topic, world.classes.centres))
    yield of_noise("covers", image_noise), added(of_covers(world, image_noise))
    yield of_noise("tags", tag_noise), added(of_tags(world, tag_noise))
    yield PERMUTED, added(Topics(consumer.permuted(), world.classes.centres))
    yield TASTES, iter([np.hstack([base, consumer.taste_kernels()])])


def of_noise(modality: str, noise: float) -> str:
    """The name of a source in :func:`sources`.

    >>> of_noise("tags", 0.25)
    'topics of tags, 0.25 wrong'
    """
    return f"topics of {modality}, {noise:g} wrong"


def figure(rows: Sequence[Gain]) -> str:
    """Gains of :func:`sources`, means over worlds, as SVG: a line for each eta."""
    panels = {
        "K of the consumer: a quarter, right, four times": {
            -2.0: TOO_FEW,
            0.0: KERNEL,
            2.0: TOO_MANY,
        },
        "topics of tags alone, by e_G": {x: of_noise("tags", x) for x in NOISES},
        "topics of covers alone, by e_I": {x: of_noise("covers", x) for x in NOISES},
    }
    return draw_panels(
        {
            title: {
                f"eta {eta:g}": [(x, _mean_gain(rows, eta, name)) for x, name in variants.items()]
                for eta in sorted({row.eta for row in rows})
            }
            for title, variants in panels.items()
        }
    )


def _mean_gain(rows: Sequence[Gain], eta: float, variant: str) -> float:
    return float(np.mean([r.gain for r in rows if r.eta == eta and r.variant == variant]))
