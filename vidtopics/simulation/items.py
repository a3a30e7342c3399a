"""Videos: content, hidden side, taste vector, appeal, satisfaction, duration, publication time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidtopics.errors import SettingsError, explain
from vidtopics.settings import SimulationSettings
from vidtopics.simulation.classes import SEM, Classes, pick, unit
from vidtopics.simulation.jit import kernel
from vidtopics.simulation.philox import Stream, normals, uniforms
from vidtopics.simulation.tags import tag_topics

TASTE = 16
HIDDEN = 8
NET = 32
"""Width of the hidden layer of g and g'."""
APPEAL_SATISFACTION = 0.5
"""Correlation of appeal (what is clicked) and satisfaction (what is watched and liked)."""
LOG_DURATION = (4.23, 1.03)
"""Mean and sd of log seconds (KuaiRand-Pure)."""
DAILY_SUPPLY = 0.05
"""New videos a day, as a share of the pool at the start.

Ages at the start are those of a pool in balance with it.
"""
DAY = 86_400_000_000
"""Microseconds."""


class Items(NamedTuple):
    """Latents of V videos, one row each; `published` in UTC microseconds, `duration` in seconds.

    `cover_topic` and `title_topic` are what the cover and the title are made for: another topic
    where noise swapped them.
    """

    topic: NDArray[np.int64]
    cover_topic: NDArray[np.int64]
    title_topic: NDArray[np.int64]
    sem: NDArray[np.float32]
    hidden: NDArray[np.float32]
    taste: NDArray[np.float32]
    appeal: NDArray[np.float32]
    satisfaction: NDArray[np.float32]
    duration: NDArray[np.float32]
    published: NDArray[np.int64]


class TasteNet(NamedTuple):
    """The fixed random nets g and g' from content and hidden side to taste; eta weighs the two."""

    content_in: NDArray[np.float64]
    content_out: NDArray[np.float64]
    hidden_in: NDArray[np.float64]
    hidden_out: NDArray[np.float64]
    eta: float


def make_items(
    settings: SimulationSettings, classes: Classes, seed: int, later_days: int = 0
) -> Items:
    """Latents of all videos; a video's latents don't depend on how many there are.

    Those of `later_days` after the log come behind the `settings.videos` of the log.
    """
    rows = np.arange(settings.videos + _later_videos(settings, later_days))
    u = uniforms(seed, Stream.ITEM, rows, 8)
    z = normals(seed, Stream.ITEM_NORMAL, rows, 4)
    topic = pick(classes.share, u[:, 0])
    cover_topic = np.where(u[:, 1] < settings.image_noise, pick(classes.share, u[:, 2]), topic)
    sem, hidden = content(classes, topic, seed, Stream.ITEM_NORMAL, rows, day=1)
    liked = sem
    if settings.taste_follows != "content":
        other = _taste_topics(settings, classes, seed, topic, cover_topic, u[:, 6])
        liked, _ = content(classes, other, seed, Stream.ITEM_NORMAL, rows, day=1)
    satisfaction = APPEAL_SATISFACTION * z[:, 0] + np.sqrt(1 - APPEAL_SATISFACTION**2) * z[:, 1]
    return Items(
        topic=topic,
        cover_topic=cover_topic,
        title_topic=np.where(u[:, 3] < settings.title_noise, pick(classes.share, u[:, 4]), topic),
        sem=sem.astype(np.float32),
        hidden=hidden.astype(np.float32),
        taste=tastes(liked, hidden, taste_net(settings, seed)).astype(np.float32),
        appeal=z[:, 0].astype(np.float32),
        satisfaction=satisfaction.astype(np.float32),
        duration=np.exp(LOG_DURATION[0] + LOG_DURATION[1] * z[:, 2]).astype(np.float32),
        published=_published(settings, u[:, 5]),
    )


def _taste_topics(
    settings: SimulationSettings,
    classes: Classes,
    seed: int,
    topic: NDArray[np.int64],
    cover_topic: NDArray[np.int64],
    u: NDArray[np.float64],
) -> NDArray[np.int64]:
    """The topics that videos are liked for [V], where not their own; `u` [V] draws hidden ones."""
    match settings.taste_follows:
        case "covers":
            return cover_topic
        case "tags":
            return tag_topics(settings, classes, topic, seed)
    return pick(classes.share, u)


def content(
    classes: Classes,
    topic: NDArray[np.int64],
    seed: int,
    stream: int,
    rows: NDArray[np.int64],
    *,
    day: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Content unit(centre + noise eps) [n, 16] and hidden N(0, I) [n, 8] of videos of `topic` [n].

    eps has expected length 1.
    """
    z = normals(seed, stream, rows, SEM + HIDDEN, day=day)
    return unit(classes.centres[topic] + classes.noise * z[:, :SEM] / np.sqrt(SEM)), z[:, SEM:]


def taste_net(settings: SimulationSettings, seed: int) -> TasteNet:
    """The world's nets.

    Weights N(0, 4 / fan-in) before the tanh, so that it bends, and N(0, 1) behind it.
    """

    def weights(number: int, rows: int, columns: int) -> NDArray[np.float64]:
        return normals(seed, Stream.TASTE_NET, np.arange(rows), columns, day=number)

    return TasteNet(
        content_in=2.0 * weights(0, NET, SEM),
        content_out=weights(1, TASTE, NET),
        hidden_in=2.0 / np.sqrt(HIDDEN) * weights(2, NET, HIDDEN),
        hidden_out=weights(3, TASTE, NET),
        eta=settings.visible_taste,
    )


def tastes(
    sem: NDArray[np.float64], hidden: NDArray[np.float64], net: TasteNet
) -> NDArray[np.float64]:
    """Taste [n, 16], v = unit(sqrt(eta) g(sem) + sqrt(1 - eta) g'(h)), g and g' of length 1.

    >>> settings = SimulationSettings(visible_taste=0.0)
    >>> net, h = taste_net(settings, seed=7), np.ones((2, HIDDEN))
    >>> v = tastes(np.eye(2, SEM), h, net)
    >>> bool((v[0] == v[1]).all())
    True
    """
    out = np.empty((len(sem), TASTE))
    _tastes(np.ascontiguousarray(sem), np.ascontiguousarray(hidden), net, out)
    return out


# Plain loops and no BLAS: its sums depend on the number of rows and threads, a video's taste must
# not.
@kernel
def _tastes(
    sem: NDArray[np.float64], hidden: NDArray[np.float64], net: TasteNet, out: NDArray[np.float64]
) -> None:
    unseen = np.empty(TASTE)
    for i in range(len(out)):
        _net(sem[i], net.content_in, net.content_out, out[i])
        _net(hidden[i], net.hidden_in, net.hidden_out, unseen)
        for j in range(TASTE):
            out[i, j] = np.sqrt(net.eta) * out[i, j] + np.sqrt(1.0 - net.eta) * unseen[j]
        _to_unit(out[i])


@kernel
def _net(
    x: NDArray[np.float64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    y: NDArray[np.float64],
) -> None:
    y[:] = 0.0
    for j in range(len(first)):
        total = 0.0
        for d in range(len(x)):
            total += first[j, d] * x[d]
        for d in range(len(y)):
            y[d] += second[d, j] * np.tanh(total)
    _to_unit(y)


@kernel
def _to_unit(y: NDArray[np.float64]) -> None:
    total = 0.0
    for j in range(len(y)):
        total += y[j] * y[j]
    for j in range(len(y)):
        y[j] /= np.sqrt(total)


def start_of(settings: SimulationSettings) -> int:
    """The log's start in UTC microseconds; SettingsError where it is no ISO 8601 time.

    >>> start_of(SimulationSettings())
    1767225600000000
    """
    try:
        start = datetime.fromisoformat(settings.start)
    except ValueError:
        raise SettingsError(
            explain(
                "simulation.start",
                expected="ISO 8601",
                found=repr(settings.start),
                mend="see conf/demo.yaml",
            )
        ) from None
    start = start if start.tzinfo else start.replace(tzinfo=UTC)
    return int(start.timestamp()) * 1_000_000


def _published(settings: SimulationSettings, u: NDArray[np.float64]) -> NDArray[np.int64]:
    """When videos come out: the first are older than the log, exponentially.

    The rest come in order during all days but the last, those behind `settings.videos` at the same
    rate from the last day on.

    A video is live from the first midnight after its publication on, so that none is shown before
    it exists.
    """
    rows, first = np.arange(len(u)), _first_videos(settings)
    age = -np.log(u) / DAILY_SUPPLY * DAY
    in_log = (rows - first + u) / max(settings.videos - first, 1) * (settings.days - 1) * DAY
    behind = (rows - settings.videos + u) / (DAILY_SUPPLY * first)
    later = (settings.days - 1 + behind) * DAY
    when = np.where(rows < settings.videos, in_log, later)
    return start_of(settings) + np.where(rows < first, -age, when).astype(np.int64)


def _first_videos(settings: SimulationSettings) -> int:
    """Videos that are older than the log."""
    later = DAILY_SUPPLY * (settings.days - 1)
    return settings.videos - int(settings.videos * later / (1 + later))


def _later_videos(settings: SimulationSettings, days: int) -> int:
    """Videos that come out on `days` days from the log's last on.

    >>> _later_videos(SimulationSettings(videos=1_650), 14)  # 1,000 and 13 days of 50; 14 of 50
    700
    """
    return int(DAILY_SUPPLY * _first_videos(settings) * days)
