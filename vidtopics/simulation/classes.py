"""The planted hierarchy.

Topics within secondary within primary classes, and their centres in content space.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidtopics.errors import SettingsError, explain
from vidtopics.settings import SimulationSettings
from vidtopics.simulation.philox import Stream, normals
from vidtopics.simulation.words import FIELDS

SEM = 16
"""Width of the content space."""
SECONDARY_SPREAD = 0.8
TOPIC_SPREAD = 0.6
"""Length of a class's step from its parent's centre, before it is scaled to length 1 (A)."""
SHARE_SIGMA = 0.5
"""Log-scale spread of how frequent topics are (A)."""


class Classes(NamedTuple):
    """Of T topics: `secondary`, `primary` [T], unit `centres` [T, 16], cumulative `share`.

    `noise` is the expected length of what sets a video apart from its topic's centre.
    """

    secondary: NDArray[np.int64]
    primary: NDArray[np.int64]
    centres: NDArray[np.float64]
    share: NDArray[np.float64]
    noise: float


def make_classes(settings: SimulationSettings, seed: int) -> Classes:
    """The hierarchy of a world; SettingsError where the counts can't be nested.

    >>> small = SimulationSettings(primary_classes=2, secondary_classes=4, topics=8, tags=50)
    >>> classes = make_classes(small, seed=7)
    >>> classes.secondary.tolist(), classes.primary.tolist()
    ([0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1])
    """
    _check(settings)
    p, s, t = settings.primary_classes, settings.secondary_classes, settings.topics
    secondary = np.arange(t) * s // t
    primary_of_secondary = np.arange(s) * p // s
    level = [
        normals(seed, Stream.CENTRES, np.arange(n), SEM, day=k) / np.sqrt(SEM)
        for k, n in enumerate((p, s, t))
    ]
    primaries = unit(level[0])
    secondaries = unit(primaries[primary_of_secondary] + SECONDARY_SPREAD * level[1])
    weights = np.exp(SHARE_SIGMA * normals(seed, Stream.TOPIC_SHARE, np.arange(t), 1)[:, 0])
    return Classes(
        secondary=secondary,
        primary=primary_of_secondary[secondary],
        centres=unit(secondaries[secondary] + TOPIC_SPREAD * level[2]),
        share=np.cumsum(weights) / weights.sum(),
        noise=settings.content_noise,
    )


def pick(share: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.int64]:
    """The classes that numbers `u` in (0, 1) fall into, `share` being cumulative.

    >>> pick(np.array([0.5, 1.0]), np.array([0.2, 0.7])).tolist()
    [0, 1]
    """
    return np.minimum(np.searchsorted(share, u, side="right"), share.size - 1)


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows [n, d] brought to length 1."""
    lengths: NDArray[np.float64] = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return rows / lengths


def _check(settings: SimulationSettings) -> None:
    p, s, t = settings.primary_classes, settings.secondary_classes, settings.topics
    where = "simulation"
    if not p <= s <= t:
        raise SettingsError(
            explain(
                where,
                expected="primary_classes <= secondary_classes <= topics",
                found=f"{p}, {s}, {t}",
                mend="give every class at least one class below it",
            )
        )
    if p > len(FIELDS):
        raise SettingsError(
            explain(
                f"{where}.primary_classes",
                expected=f"at most {len(FIELDS)}, as many as the vocabulary has fields",
                found=str(p),
                mend="lower it, or add fields to vidtopics/simulation/words.py",
            )
        )
    if settings.tags < p + s + t:
        raise SettingsError(
            explain(
                f"{where}.tags",
                expected=f"at least one tag for each of {p + s + t} classes and topics",
                found=str(settings.tags),
                mend="raise tags",
            )
        )
