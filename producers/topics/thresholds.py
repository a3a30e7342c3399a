"""Least cosines to a centre, tau_3, one for each pattern of present blocks (paper, III-A3).

A video without tags fills its length with the joint block, so that its cosine to a centre that has
both is less by about the joint block's weight: one threshold for all leaves most of them without a
topic. So each pattern has the threshold at which its videos have the topics that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from producers.topics.assignment import top_centroids
from producers.unit_length import to_unit_length
from vidtopics.contracts import TOPIC_SLOTS
from vidtopics.errors import SettingsError, explain

UNMATCHED_TAGGED, UNMATCHED_UNTAGGED = 0.10, 0.15
"""Shares of videos with and without tags that may have no centre within the threshold."""
LEAST_VIDEOS = 100
"""A pattern of fewer videos is calibrated on whole videos whose other block is taken away."""
CALIBRATION_VIDEOS = 20_000
"""Cosines of more say no more: the share at a threshold is off by 0.4 points at most."""
TOPICS_OFF = 0.5
"""Mean topics of a video that may be more or less than asked for before thresholds follow."""
SHARES = tuple(0.5**n for n in range(7))
"""Of the way to the thresholds of now, greatest first."""
MARGIN = 1e-4
"""Below the least of all cosines, where all are to lie above a threshold."""


@dataclass(frozen=True)
class Thresholds:
    """tau_3 of videos with both blocks, with tags alone, and with cover or title alone.

    >>> Thresholds(0.6, 0.5, 0.4).of_rows(np.array([1, 1, 0, 0]) > 0, np.array([1, 0, 1, 0]) > 0)
    array([0.6, 0.5, 0.4, 0.6], dtype=float32)
    """

    whole: float
    tag_alone: float
    joint_alone: float

    def of_rows(
        self, has_tag: NDArray[np.bool_], has_joint: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """float32[N], each video's threshold by the blocks that it has, flags bool[N]."""
        alone = np.where(has_tag, self.tag_alone, self.joint_alone)
        return np.where(has_tag == has_joint, self.whole, alone).astype(np.float32)


def calibrate_thresholds(
    a: NDArray[np.float32],
    has_tag: NDArray[np.bool_],
    has_joint: NDArray[np.bool_],
    centroids: NDArray[np.float32],
    target: float,
    *,
    tag_width: int,
    seed: int = 0,
    device: str = "cpu",
) -> Thresholds:
    """The thresholds at which videos of each pattern have `target` topics on average (paper: 4).

    Where more than :data:`UNMATCHED_TAGGED` (:data:`UNMATCHED_UNTAGGED`) of a pattern's videos
    would have no centre within it, the threshold is the one at which that share have none, and they
    have more topics than asked for.

    Args:
        a: float32[N, D], topic representations of length 1 or zero.
        has_tag: bool[N], the video has a tag block.
        has_joint: bool[N], it has a joint block.
        centroids: float32[K, D].
        target: mean number of topics, 1 to the slots and to K.
        tag_width: d, columns of the tag block.
        seed: of the sample of :data:`CALIBRATION_VIDEOS` at most.
        device: where torch computes.

    Raises:
        SettingsError: the target is below 1 or above what slots and centroids allow, or no video
            has a representation.

    >>> a = to_unit_length(np.random.default_rng(0).normal(size=(500, 4))).astype(np.float32)
    >>> every, centroids = np.ones(500, bool), a[:40]
    >>> thresholds = calibrate_thresholds(a, every, every, centroids, 3, tag_width=2)
    >>> float(((a @ centroids.T) >= thresholds.whole).sum(axis=1).clip(1, 8).mean().round(1))
    3.0
    """
    slots = min(TOPIC_SLOTS, len(centroids))
    present = np.flatnonzero(a.any(axis=1))
    if not (1 <= target <= slots and len(present)):
        raise SettingsError(
            explain(
                "topics.target_topics",
                expected=f"1 to {slots}, and videos with a representation",
                found=f"{target:g} and {len(present)} videos",
                mend="set 0 to use topics.threshold as it is",
            )
        )
    rng = np.random.default_rng(seed)
    values = {}
    for name, rows in _patterns(a, has_tag, has_joint, present, tag_width, rng):
        unmatched = UNMATCHED_UNTAGGED if name == "joint_alone" else UNMATCHED_TAGGED
        cosines = top_centroids(rows, centroids, TOPIC_SLOTS, device=device)[1][:, :slots]
        values[name] = _threshold(cosines, target, unmatched)
    return Thresholds(**values)


def follow_catalogue(
    before: Thresholds,
    a: NDArray[np.float32],
    has_tag: NDArray[np.bool_],
    has_joint: NDArray[np.bool_],
    centroids: NDArray[np.float32],
    target: float,
    *,
    known: NDArray[np.bool_],
    keep_set: float,
    tag_width: int,
    seed: int = 0,
    device: str = "cpu",
) -> Thresholds:
    """The thresholds as they were where they still serve, else as near to those of now as sets may.

    They serve where videos have `target` topics within :data:`TOPICS_OFF` and no more than
    :data:`UNMATCHED_TAGGED` and :data:`UNMATCHED_UNTAGGED` of them have none. Where they don't,
    they move towards :func:`calibrate_thresholds`, halved until enough sets stay; the rest waits
    for the next training.

    Args:
        before: thresholds of the last training.
        a: float32[N, D], topic representations of length 1 or zero.
        has_tag: bool[N], the video has a tag block.
        has_joint: bool[N], it has a joint block.
        centroids: float32[K, D], of the last training.
        target: mean number of topics.
        known: bool[N], videos whose sets are to stay.
        keep_set: the share of them that does at least.
        tag_width: d, columns of the tag block.
        seed: of the sample of :data:`CALIBRATION_VIDEOS` at most.
        device: where torch computes.

    >>> a = to_unit_length(np.random.default_rng(0).normal(size=(500, 4))).astype(np.float32)
    >>> every, centroids = np.ones(500, bool), a[:40]
    >>> before = calibrate_thresholds(a, every, every, centroids, 3, tag_width=2)
    >>> arguments = {"known": every, "tag_width": 2}
    >>> blocks = (a, every, every, centroids)
    >>> follow_catalogue(before, *blocks, 3.4, keep_set=0, **arguments) == before
    True
    >>> now = calibrate_thresholds(*blocks, 4, tag_width=2)
    >>> follow_catalogue(before, *blocks, 4, keep_set=0, **arguments) == now
    True
    """
    rows = np.flatnonzero(a.any(axis=1))
    if len(rows) > CALIBRATION_VIDEOS:
        rows = np.random.default_rng(seed).choice(rows, CALIBRATION_VIDEOS, replace=False)
    tagged, content = has_tag[rows], has_joint[rows]
    cosines = top_centroids(a[rows], centroids, TOPIC_SLOTS, device=device)[1]
    counts = _topic_counts(cosines, before.of_rows(tagged, content))
    if _serve(counts, tagged, target):
        return before
    blocks = (a, has_tag, has_joint, centroids, target)
    now = calibrate_thresholds(*blocks, tag_width=tag_width, seed=seed, device=device)
    for share in SHARES:
        ends = zip(astuple(before), astuple(now), strict=True)
        thresholds = Thresholds(*(old + share * (new - old) for old, new in ends))
        # Centres stay, so a set is its number of topics; a video without any has its nearest.
        then = _topic_counts(cosines, thresholds.of_rows(tagged, content))
        stays = (counts.clip(1) == then.clip(1))[known[rows]]
        if not len(stays) or stays.mean() >= keep_set:
            return thresholds
    return before


def _topic_counts(
    cosines: NDArray[np.float32], threshold: NDArray[np.float32]
) -> NDArray[np.int64]:
    """int64[N], centres within each video's threshold; cosines float32[N, slots]."""
    counts: NDArray[np.int64] = (cosines >= threshold[:, None]).sum(axis=1)
    return counts


def _serve(counts: NDArray[np.int64], tagged: NDArray[np.bool_], target: float) -> bool:
    """Whether topics a video, and the shares of videos without any, are within their limits."""
    without = counts == 0
    limits = ((tagged, UNMATCHED_TAGGED), (~tagged, UNMATCHED_UNTAGGED))
    matched = all(without[of].mean() <= most for of, most in limits if of.any())
    return matched and abs(float(counts.clip(1).mean()) - target) <= TOPICS_OFF


def _patterns(
    a: NDArray[np.float32],
    has_tag: NDArray[np.bool_],
    has_joint: NDArray[np.bool_],
    present: NDArray[np.int64],
    tag_width: int,
    rng: np.random.Generator,
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each pattern's name and topic representations of videos to calibrate it on."""
    blocks = {
        "whole": slice(None),
        "tag_alone": slice(tag_width),
        "joint_alone": slice(tag_width, None),
    }
    whole = present[(has_tag & has_joint)[present]]
    of_pattern = {
        "whole": whole,
        "tag_alone": present[(has_tag & ~has_joint)[present]],
        "joint_alone": present[(~has_tag & has_joint)[present]],
    }
    for name, videos in of_pattern.items():
        source = videos if len(videos) >= LEAST_VIDEOS or not len(whole) else whole
        if not len(source):
            source = present  # no video is whole, and none has this pattern
        if len(source) > CALIBRATION_VIDEOS:
            source = rng.choice(source, CALIBRATION_VIDEOS, replace=False)
        rows = np.zeros((len(source), a.shape[1]), np.float32)
        rows[:, blocks[name]] = a[source][:, blocks[name]]
        unit = to_unit_length(rows).astype(np.float32)
        yield name, unit[unit.any(axis=1)] if unit.any() else a[source]


def _threshold(cosines: NDArray[np.float32], target: float, unmatched: float) -> float:
    """The threshold for cosines float32[N, slots] that fall along each row.

    The mean number of topics is 1 + (cosines of second and later slots at or above it) / N, as a
    video without any has its nearest; so (target - 1) N of those lie above it.
    """
    count = round((target - 1) * len(cosines))
    matched = len(cosines) - int(unmatched * len(cosines))
    return min(_below(cosines[:, 1:], count), _below(cosines[:, 0], matched))


def _below(cosines: NDArray[np.float32], count: int) -> float:
    """A value with `count` cosines above it, midway to the next: none lies on it.

    On a video's own cosine rounding would decide whether it has the topic.
    """
    falling = np.sort(cosines, axis=None)[::-1].astype(np.float64)
    if not count:
        return 1.0
    least = falling[count - 1]
    return float((least + falling[count]) / 2 if count < len(falling) else least - MARGIN)
