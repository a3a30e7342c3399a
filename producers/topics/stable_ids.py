"""Topics that keep their IDs from run to run: the last centres are the next start (III-A3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from producers.topics.assignment import calibrate_threshold
from producers.topics.kmeans import check_points, nearest, spherical_kmeans
from vidtopics.errors import ContractError, explain
from vidtopics.settings import TopicSettings


@dataclass(frozen=True, eq=False)
class Topics:
    """The living topics of one run, and what the next run must know.

    Attributes:
        topic_ids: int64[K], ascending.
        centroids: float32[K, D], length 1.
        sizes: int64[K], videos whose nearest centroid it is, at least 1.
        born: int64[B], the topics that are new in this run.
        retired: int64[R], topics of the last run without videos now; never to be used again.
        next_id: above every ID that was ever given, in any epoch.
        epoch: IDs are comparable within one epoch; the first is 1.
        threshold: tau_3 of this epoch, as set or as calibrated on its first run.
    """

    topic_ids: NDArray[np.int64]
    centroids: NDArray[np.float32]
    sizes: NDArray[np.int64]
    born: NDArray[np.int64]
    retired: NDArray[np.int64]
    next_id: int
    epoch: int
    threshold: float


def learn_topics(
    a: NDArray[np.float32],
    *,
    previous: Topics | None,
    settings: TopicSettings,
    seed: int,
    new_epoch: bool = False,
    device: str = "cpu",
) -> Topics:
    """Cluster topic representations such that a topic keeps its ID for as long as it has videos.

    Within an epoch the last centroids are the start of K-means and carry their IDs along. A topic
    without videos is retired; a centre that takes its place, and every centre beyond the last ones,
    gets a new ID. When `settings.clusters` falls, the smallest topics are retired; when it rises,
    k-means++ adds centres.

    An epoch ends only where IDs stop being comparable: the width of `a` is another one, or the
    caller says so (another encoder, say, or blocks weighted anew). Then all topics are retired and
    none of their IDs comes back.

    Args:
        a: float32[N, D], topic representations of length 1; zero rows are no videos here.
        previous: the last run's topics, or None for the first run.
        settings: clusters, iterations, sample, threshold or its target.
        seed: of the sample and of seeding; same seed, inputs and threads, same bytes on a CPU.
        new_epoch: true: IDs of `previous` are not comparable with what `a` holds now.
        device: where torch computes.

    Raises:
        SettingsError: fewer videos have a representation than clusters are set.
        TableError: no video has one.
        ContractError: an ID of `previous` is not below its `next_id`, or a row of `a` is not of
            length 1.

    >>> a = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]
    >>> settings = TopicSettings(clusters=3)
    >>> first = learn_topics(a, previous=None, settings=settings, seed=0)
    >>> first.topic_ids.tolist(), first.sizes.tolist(), first.epoch
    ([1, 2, 3], [2, 2, 2], 1)
    >>> lost = first.topic_ids[first.centroids[:, 2] == 1].tolist()  # now without a video
    >>> a = np.eye(4, dtype=np.float32)[[0, 1, 3]]
    >>> then = learn_topics(a, previous=first, settings=settings, seed=0)
    >>> then.retired.tolist() == lost, then.born.tolist(), then.next_id
    (True, [4], 5)
    """
    points = a[check_points(a)]
    epoch, next_id = _epoch(previous, a.shape[1], new_epoch)
    ids, start, closest = _start(previous, epoch, points, settings.clusters, device)
    clustering = spherical_kmeans(
        _sample(points, settings.sample, closest, seed),
        settings.clusters,
        iterations=settings.iterations,
        seed=seed,
        initial=start,
        device=device,
    )
    sizes = _sizes(points, clustering.centroids, device)
    live = np.flatnonzero(sizes)
    topic_ids, born = _name(clustering.origin[live], ids, next_id)
    rows = live[np.argsort(topic_ids)]
    centroids = clustering.centroids[rows]
    threshold = _threshold(previous, epoch, points, centroids, settings, device=device)
    return Topics(
        topic_ids=np.sort(topic_ids),
        centroids=centroids,
        sizes=sizes[rows],
        born=born,
        retired=born[:0] if previous is None else np.setdiff1d(previous.topic_ids, topic_ids),
        next_id=next_id + len(born),
        epoch=epoch,
        threshold=threshold,
    )


def _epoch(previous: Topics | None, width: int, new_epoch: bool) -> tuple[int, int]:
    """The epoch of this run and the first free ID."""
    if previous is None:
        return 1, 1
    if len(previous.topic_ids) and previous.topic_ids.max() >= previous.next_id:
        found = f"topic {previous.topic_ids.max()} and next_id {previous.next_id}"
        raise ContractError(
            explain(
                "previous topics",
                expected="next_id above every ID",
                found=found,
                mend="set next_id from all rows of the table, retired ones included",
            )
        )
    changed = new_epoch or previous.centroids.shape[1] != width
    return previous.epoch + changed, previous.next_id


def _start(
    previous: Topics | None, epoch: int, points: NDArray[np.float32], clusters: int, device: str
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """IDs, centroids and closest video of the epoch's `clusters` largest topics with videos."""
    if previous is None or previous.epoch != epoch:
        return (
            np.empty(0, np.int64),
            np.empty((0, points.shape[1]), np.float32),
            np.empty(0, np.int64),
        )
    labels, cosines = _nearest(points, previous.centroids, device)
    sizes = np.bincount(labels, minlength=len(previous.centroids))
    largest = np.lexsort((previous.topic_ids, -sizes))[:clusters]
    live = np.sort(largest[sizes[largest] > 0])
    by_topic = np.lexsort((cosines, labels))  # the closest video is the last of its topic
    closest = by_topic[np.cumsum(sizes)[live] - 1]
    return previous.topic_ids[live], previous.centroids[live], closest


def _threshold(
    previous: Topics | None,
    epoch: int,
    points: NDArray[np.float32],
    centroids: NDArray[np.float32],
    settings: TopicSettings,
    *,
    device: str,
) -> float:
    """As set, or as calibrated on the epoch's first run: a new one would move all videos."""
    if not settings.target_topics:
        return settings.threshold
    if previous is not None and previous.epoch == epoch:
        return previous.threshold
    return calibrate_threshold(points, centroids, settings.target_topics, device=device)


def _name(
    origin: NDArray[np.int64], ids: NDArray[np.int64], next_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each centre's ID, the old one where it moved from an old centre, and the new IDs."""
    born = np.arange(next_id, next_id + int((origin < 0).sum()))
    topic_ids = np.empty(len(origin), np.int64)
    topic_ids[origin < 0], topic_ids[origin >= 0] = born, ids[origin[origin >= 0]]
    return topic_ids, born


def _sample(
    points: NDArray[np.float32], size: int, closest: NDArray[np.int64], seed: int
) -> NDArray[np.float32]:
    """At most `size` points, and the videos `closest`, so that no topic dies of the sampling."""
    if len(points) <= size:
        return points
    chosen = np.random.default_rng(seed).choice(len(points), size, replace=False)
    return points[np.union1d(chosen, closest)]


def _sizes(
    points: NDArray[np.float32], centroids: NDArray[np.float32], device: str
) -> NDArray[np.int64]:
    return np.bincount(_nearest(points, centroids, device)[0], minlength=len(centroids))


def _nearest(
    points: NDArray[np.float32], centroids: NDArray[np.float32], device: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    labels, cosines = nearest(
        torch.as_tensor(points, device=device), torch.as_tensor(centroids, device=device)
    )
    return labels.cpu().numpy(), cosines.cpu().numpy()
