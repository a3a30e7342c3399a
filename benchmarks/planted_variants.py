"""What a consumer of a simulated world's log knows of topics: the variants that are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.line_plots import draw_panels
from benchmarks.planted_features import RANDOM_SHARE, Consumer, Floats
from benchmarks.planted_sources import Topics, clustered, of_covers, of_home, of_tags

if TYPE_CHECKING:
    from benchmarks.planted import Gain

PERMUTATIONS = 5
CLASSES, KERNEL = "residual in primary and secondary class", "topic kernel"
PERMUTED, ORACLE = "kernel, permuted topics", "oracle"
TASTES = "kernel over planted tastes"
LEARNED = "kernel over learned topics"
TOO_FEW, TOO_MANY = "a quarter as many topics", "four times as many topics"
NOISES = (0.0, 0.25, 0.5, 1.0)
"""e_I and e_G of the topics that covers and tags alone show."""

Variants = Iterator[tuple[str, str, Iterator[Floats]]]
"""Name, the variant that it is compared with, and its features, once for each permutation."""


def planted(consumer: Consumer) -> Variants:
    """What a consumer knows of planted classes, topics and tastes."""
    base, topic = consumer.base(), consumer.topic
    levels = consumer.world.classes.secondary[topic], consumer.world.classes.primary[topic]
    kernels, classes = consumer.topic_kernels(topic), consumer.residuals(*levels)

    def added(*features: Floats) -> Iterator[Floats]:
        yield np.hstack([base, *features])

    yield "base", "base", added()
    yield "share of clicks in the topic", "base", added(consumer.shares(topic))
    yield "clicks and impressions in the topic", "base", added(consumer.counts(topic))
    yield "residual in the topic", "base", added(consumer.residuals(topic))
    yield CLASSES, "base", added(classes)
    yield KERNEL, "base", added(kernels)
    yield "topic kernel and classes", CLASSES, added(kernels, classes)
    yield (
        f"kernel, {RANDOM_SHARE:.0%} of topics random",
        "base",
        added(consumer.topic_kernels(consumer.partly_random())),
    )
    yield (
        PERMUTED,
        "base",
        (
            np.hstack([base, consumer.topic_kernels(consumer.permuted())])
            for _ in range(PERMUTATIONS)
        ),
    )
    yield TASTES, "base", added(consumer.taste_kernels())
    yield ORACLE, "base", added(consumer.oracle())


def sources(consumer: Consumer) -> Variants:
    """The topic kernel by where topics come from, permuted ones at last."""
    base, world = consumer.base(), consumer.world
    count = world.settings.topics

    def added(topics: Topics) -> Iterator[Floats]:
        yield np.hstack([base, consumer.kernels(*topics)])

    yield "base", "base", iter([base])
    yield KERNEL, "base", added(Topics(consumer.topic, world.classes.centres))
    yield TOO_FEW, "base", added(clustered(world, count // 4))
    yield TOO_MANY, "base", added(clustered(world, 4 * count))
    for noise in NOISES:
        yield of_noise("covers", noise), "base", added(of_covers(world, noise))
    for noise in NOISES:
        yield of_noise("tags", noise), "base", added(of_tags(world, noise))
    yield PERMUTED, "base", added(Topics(consumer.permuted(), world.classes.centres))


def learned(consumer: Consumer, home: Path) -> Variants:
    """Learned topics between planted and permuted ones, and the ceilings above them."""
    base, world = consumer.base(), consumer.world

    def added(features: Floats) -> Iterator[Floats]:
        yield np.hstack([base, features])

    topics = of_home(home, world.settings.videos)
    yield "base", "base", iter([base])
    yield LEARNED, "base", added(consumer.kernels(*topics))
    yield KERNEL, "base", added(consumer.topic_kernels(consumer.topic))
    yield PERMUTED, "base", added(consumer.topic_kernels(consumer.permuted()))
    yield TASTES, "base", added(consumer.taste_kernels())
    yield ORACLE, "base", added(consumer.oracle())


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


def share_line(rows: Sequence[Gain]) -> str:
    """Which share of the planted topics' gain the learned ones recover, and of the ceilings."""
    gain = {row.variant: row.gain for row in rows}
    ceilings = (KERNEL, TASTES, ORACLE)
    shares = ", ".join(f"{gain[LEARNED] / gain[name]:.0%} of {name}" for name in ceilings)
    return f"learned topics recover {shares}"
