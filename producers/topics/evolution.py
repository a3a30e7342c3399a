"""Topics that live for years: what a training does to the topics of the last one (III-A3).

Within an epoch a topic keeps its ID for as long as it has videos. A training does four things, each
within a limit of :class:`vidtopics.settings.TopicSettings`:

1. a topic that no video is nearest to is retired, its ID never given again;
2. videos that match no topic found new ones, and loose or overfull topics split (`births.py`):
   nothing has to die before something is born;
3. the centres follow their videos by Lloyd's steps from where they are;
4. births and steps stop where more of them would move too many videos (`churn.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from producers.topics.births import Birth, found_topics, split_topics
from producers.topics.churn import Judge, draw_judge
from producers.topics.clustering import best_fit, clusters_for
from producers.topics.kmeans import LocalPoints, check_points, chunks, nearest
from producers.topics.points import Points, blocks
from producers.topics.rows import Rows
from producers.topics.seeding import read_rows
from producers.topics.steps import mean_cosines, take_steps
from vidtopics.errors import ContractError, explain
from vidtopics.settings import TopicSettings

SAME = 1e-4
"""Change of a topic's mean cosine up to which its videos are the same, above float32's rounding."""
TRIALS = 40
"""Groups of births that are judged, each by one assignment of the judge's videos."""

Spread: TypeAlias = Callable[[Rows, int], AbstractContextManager[Points]]
"""Lends points to other machines, for clusterings into that many clusters."""


@dataclass(frozen=True, eq=False)
class Topics:
    """The living topics after a training, and what the next one must know.

    Attributes:
        topic_ids: int64[K], ascending.
        centroids: float32[K, D], length 1.
        sizes: int64[K], videos whose nearest centroid it is, at least 1.
        cohesion: float32[K], their mean cosine to it.
        split_from: int64[K], the topic that it was a part of, 0 for none.
        born: int64[B], the topics that are new since the last training.
        retired: int64[R], topics of the last training without videos now; never to be used again.
        next_id: above every ID that was ever given, in any epoch.
        epoch: IDs are comparable within one epoch; the first is 1.
        training: 1 for the first of the epoch, then counting on: each draws another sample.
    """

    topic_ids: NDArray[np.int64]
    centroids: NDArray[np.float32]
    sizes: NDArray[np.int64]
    cohesion: NDArray[np.float32]
    split_from: NDArray[np.int64]
    born: NDArray[np.int64]
    retired: NDArray[np.int64]
    next_id: int
    epoch: int
    training: int

    @property
    def mean_cosine(self) -> float:
        """Mean cosine of the videos to their nearest centroid."""
        return float(np.average(self.cohesion.astype(np.float64), weights=self.sizes))


def learn_topics(
    a: NDArray[np.float32],
    *,
    previous: Topics | None,
    settings: TopicSettings,
    seed: int,
    new_epoch: bool = False,
    last: NDArray[np.int64] | None = None,
    threshold: NDArray[np.float32] | None = None,
    device: str = "cpu",
    spread: Spread | None = None,
) -> Topics:
    """Learn topics such that one keeps its ID for as long as it has videos.

    The first training of an epoch is spherical K-means with `settings.clusters` centres (0: as many
    as the catalogue's size asks for), the best of `settings.restarts` by mean cosine. Later ones go
    on from the last centres: they retire, add and split topics and move centres, as this module's
    head says. Of the videos with topics in `last` at least `settings.keep_first` keep
    their first topic and `settings.keep_set` their set of topics: births and steps beyond are left
    to the next training. (Retirements and new representations may move more; then nothing is added
    to it.) Where every topic has as many videos at the same mean cosine as at the last training,
    nothing changes at all.

    An epoch ends only where IDs stop being comparable: the width of `a` is another one, or the
    caller says so (another encoder, say, or blocks weighted anew). Then all topics are retired and
    none of their IDs comes back.

    Args:
        a: float32[N, D], topic representations of length 1; zero rows are no videos here. May be a
            memory map: nothing copies more of it than `settings.sample` rows.
        previous: the last training's topics, or None for the first.
        settings: the section `topics`.
        seed: of samples and of seeding; same seed, inputs and threads, same bytes on a CPU.
        new_epoch: true: IDs of `previous` are not comparable with what `a` holds now.
        last: int64[N, slots], topics of each video before, in any order, padded with -1 behind the
            first; all -1 for a video that is new or has changed, on which no limit holds. None:
            those that the last centres give now to videos within the threshold.
        threshold: float32[N], tau_3 of each video, by the blocks that it has; None:
            `settings.threshold` for all.
        device: where torch computes.
        spread: where the points of an epoch's first K-means lie, if they are more than one block
            (:func:`producers.topics.points.blocks`); None: in this process. The same topics either
            way.

    Raises:
        SettingsError: fewer videos have a representation than clusters are set, in an epoch's first
            training.
        TableError: no video has one.
        ContractError: an ID of `previous` is not below its `next_id`, or a row of `a` is not of
            length 1.

    >>> a = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]
    >>> settings = TopicSettings(clusters=3, min_size=2)
    >>> first = learn_topics(a, previous=None, settings=settings, seed=0)
    >>> first.topic_ids.tolist(), first.sizes.tolist(), first.epoch
    ([1, 2, 3], [2, 2, 2], 1)
    >>> lost = first.topic_ids[first.centroids[:, 2] == 1].tolist()  # now without a video
    >>> a = np.eye(4, dtype=np.float32)[[0, 1, 3, 3]]
    >>> then = learn_topics(a, previous=first, settings=settings, seed=0)
    >>> then.retired.tolist() == lost, then.born.tolist(), then.next_id
    (True, [4], 5)
    """
    present = check_points(a)
    points = Rows(a, np.flatnonzero(present))
    epoch, next_id = _epoch(previous, a.shape[1], new_epoch)
    if previous is None or previous.epoch != epoch or not points.count:
        centres = _cluster(points, next_id, settings, seed, device, spread)
        training = 1
    else:
        rows = last if last is None else last[present]
        if threshold is None:
            threshold = np.full(len(a), settings.threshold, np.float32)
        rng = np.random.default_rng([seed, epoch, previous.training + 1])
        evolved = _evolve(points, threshold[present], rows, previous, settings, rng, device)
        if evolved is None:
            return replace(previous, born=previous.born[:0], retired=previous.retired[:0])
        centres, training = evolved, previous.training + 1
    labels, cosines = _nearest(points, centres.centroids, device)
    sizes = np.bincount(labels, minlength=len(centres.topic_ids))
    live = sizes > 0
    topic_ids, centroids = centres.topic_ids[live], centres.centroids[live]
    old_ids = np.empty(0, np.int64) if previous is None else previous.topic_ids
    return Topics(
        topic_ids,
        centroids,
        sizes=sizes[live],
        cohesion=mean_cosines(labels, cosines, len(sizes))[live],
        split_from=centres.split_from[live],
        born=np.setdiff1d(topic_ids, old_ids),
        retired=np.setdiff1d(old_ids, topic_ids),
        next_id=max(next_id, int(topic_ids[-1]) + 1),
        epoch=epoch,
        training=training,
    )


class _Centres(NamedTuple):
    """Centres on their way: int64[K] ascending, int64[K], float32[K, D]."""

    topic_ids: NDArray[np.int64]
    split_from: NDArray[np.int64]
    centroids: NDArray[np.float32]


def _epoch(previous: Topics | None, width: int, new_epoch: bool) -> tuple[int, int]:
    """The epoch of this training and the first free ID."""
    if previous is None:
        return 1, 1
    if len(previous.topic_ids) and previous.topic_ids.max() >= previous.next_id:
        raise ContractError(
            explain(
                "previous topics",
                expected="next_id above every ID",
                found=f"topic {previous.topic_ids.max()} and next_id {previous.next_id}",
                mend="set next_id from all rows of the table, retired ones included",
            )
        )
    changed = new_epoch or previous.centroids.shape[1] != width
    return previous.epoch + changed, previous.next_id


def _cluster(
    points: Rows,
    first_id: int,
    settings: TopicSettings,
    seed: int,
    device: str,
    spread: Spread | None,
) -> _Centres:
    """The centres of an epoch's first training, numbered from `first_id` on."""
    sample = points.sample(settings.sample, np.random.default_rng(seed))
    clusters = settings.clusters or clusters_for(points.count)
    cuts = len([*blocks(sample.count, sample.array.shape[1], clusters)])
    lent = (
        spread(sample, clusters)
        if spread and cuts > 1
        else nullcontext(LocalPoints(sample.take(), device))
    )
    with lent as sampled:
        centroids = best_fit(
            sampled,
            clusters,
            restarts=settings.restarts,
            iterations=settings.iterations,
            seed=seed,
        ).centroids
    sizes = np.bincount(_nearest(points, centroids, device)[0], minlength=len(centroids))
    centroids = centroids[sizes > 0]
    topic_ids = np.arange(first_id, first_id + len(centroids))
    return _Centres(topic_ids, np.zeros_like(topic_ids), centroids)


def _evolve(
    points: Rows,
    threshold: NDArray[np.float32],
    last: NDArray[np.int64] | None,
    previous: Topics,
    settings: TopicSettings,
    rng: np.random.Generator,
    device: str,
) -> _Centres | None:
    """The last centres less the retired, with births, after their steps; None: nothing changed."""
    labels, cosines = _nearest(points, previous.centroids, device)
    sizes = np.bincount(labels, minlength=len(previous.sizes))
    cohesion = mean_cosines(labels, cosines, len(sizes))
    if np.array_equal(sizes, previous.sizes) and np.allclose(
        cohesion, previous.cohesion, rtol=0, atol=SAME
    ):
        return None
    live = sizes > 0
    centres = _Centres(
        previous.topic_ids[live], previous.split_from[live], previous.centroids[live]
    )
    alone = cosines < threshold
    known = ~alone if last is None else last[:, 0] >= 0
    judge = draw_judge(
        points,
        threshold,
        known,
        last,
        (centres.topic_ids, centres.centroids),
        settings,
        rng,
        device,
    )
    limit = ceil(settings.growth * live.sum()) + int((~live).sum())
    births = found_topics(points.restrict(alone), threshold[alone], settings.min_size, limit, rng)
    matched = np.flatnonzero(~alone)  # the others found topics, they make none loose or overfull
    rows = np.cumsum(live)[labels[matched]] - 1  # of the living centres
    births += split_topics(
        points.restrict(~alone),
        rows,
        cosines[matched],
        len(centres.topic_ids),
        settings,
        limit - len(births),
        rng,
    )
    centres = _with_births(centres, births, previous.next_id, judge)
    sampled = points.draw(settings.sample, rng)
    centroids = take_steps(sampled, centres.topic_ids, centres.centroids, settings, judge, device)
    return centres._replace(centroids=centroids)


def _with_births(centres: _Centres, births: list[Birth], next_id: int, judge: Judge) -> _Centres:
    """The centres and as many of the births, first ones first, as the judge allows.

    Births that move too many together are tried by halves. So a topic that alone would take too
    many videos stands in nobody's way, and the number of trials grows with the logarithm.
    """
    chosen: list[Birth] = []
    groups = [births] if births else []
    for _ in range(TRIALS):
        if not groups:
            break
        group = groups.pop(0)
        grown = _add(centres, chosen + group, next_id)
        if judge.allows(grown.topic_ids, grown.centroids):
            chosen += group
        elif len(group) > 1:
            half = len(group) // 2
            groups = [group[:half], group[half:], *groups]
    return _add(centres, chosen, next_id) if chosen else centres


def _add(centres: _Centres, births: list[Birth], next_id: int) -> _Centres:
    centroids = centres.centroids.copy()
    parents = np.zeros(len(births), np.int64)
    for at, birth in enumerate(births):
        if birth.remainder is not None:
            centroids[birth.parent] = birth.remainder
            parents[at] = centres.topic_ids[birth.parent]
    return _Centres(
        np.concatenate([centres.topic_ids, next_id + np.arange(len(births))]),
        np.concatenate([centres.split_from, parents]),
        np.concatenate([centroids, [birth.centroid for birth in births]]),
    )


def _nearest(
    points: Rows, centroids: NDArray[np.float32], device: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Each row's nearest centre and the cosine to it; all of the array is read, in its order."""
    centres = torch.as_tensor(centroids, device=device)
    parts = [
        nearest(read_rows(points.array, rows, device), centres)
        for rows in chunks(*points.array.shape)
    ]
    labels, cosines = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return labels[points.numbers], cosines[points.numbers]
