"""What a training did to topics and videos, told from their topics before and after."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from producers.topics.churn import compare_rows


@dataclass(frozen=True, eq=False)
class TopicState:
    """Topics and the videos' topics at one time.

    Attributes:
        topic_ids: int64[K], the living topics.
        split_from: int64[K], the topic that each was a part of, 0 for none.
        epoch: IDs are comparable within one epoch.
        video_ids: string[N], all different.
        content: string[N], equal where a video is as it was: a hash of cover, title and tags.
        slots: int64[N, slots], topics by falling weight, padded with -1.
        weights: float32[N, slots], cosines to their centroids.
        below_threshold: bool[N].
    """

    topic_ids: NDArray[np.int64]
    split_from: NDArray[np.int64]
    epoch: int
    video_ids: pa.Array
    content: pa.Array
    slots: NDArray[np.int64]
    weights: NDArray[np.float32]
    below_threshold: NDArray[np.bool_]


class TopicFigures(NamedTuple):
    """One side of a comparison; means and shares are over videos with a topic."""

    topics: int
    videos: int
    topics_per_video: float
    below_threshold: float
    mean_cosine: float
    largest_share: float


class Split(NamedTuple):
    """A new topic that was a part of another."""

    topic_id: int
    split_from: int


class Merge(NamedTuple):
    """Earlier topics at least half of whose videos have one topic now."""

    topic_ids: tuple[int, ...]
    into: int


class Size(NamedTuple):
    """Videos whose first topic it is, before and after."""

    before: int
    after: int


@dataclass(frozen=True, eq=False)
class TopicChanges:
    """What happened between two states.

    Attributes:
        before: figures of the earlier state.
        after: figures of the later one.
        same_epoch: false: IDs aren't comparable, all topics are retired and born.
        unchanged: videos with a topic in both states and equal content, which the shares are of.
        first_kept: share that has the same first topic.
        set_kept: share that has the same set of topics.
        born: new topics that are no part of another.
        split: new topics that are.
        merged: topics whose videos go to one.
        retired: topics of the earlier state that ended.
        sizes: by topic of either state.
        moved: unchanged videos with another first topic: video_id, before, after.
    """

    before: TopicFigures
    after: TopicFigures
    same_epoch: bool
    unchanged: int
    first_kept: float
    set_kept: float
    born: tuple[int, ...]
    split: tuple[Split, ...]
    merged: tuple[Merge, ...]
    retired: tuple[int, ...]
    sizes: dict[int, Size]
    moved: pa.Table


def compare(old: TopicState, new: TopicState) -> TopicChanges:
    """Name what was born, split, merged, retired and moved.

    Topics have merged where at least half of the unchanged videos of two or more lie in one of the
    later topics now, by first topic; which may be one of them.

    >>> slots = np.array([[1, 2], [1, -1], [2, -1]])
    >>> ones, no = np.ones((3, 2), np.float32), np.zeros(3, bool)
    >>> ids, content = pa.array(["u", "v", "w"]), pa.array(["", "", ""])
    >>> old = TopicState(np.array([1, 2]), np.zeros(2, int), 1, ids, content, slots, ones, no)
    >>> slots = np.array([[2, 1], [1, -1], [3, -1]])
    >>> parents = np.array([0, 0, 2])
    >>> new = TopicState(np.array([1, 2, 3]), parents, 1, ids, content, slots, ones, no)
    >>> changes = compare(old, new)
    >>> changes.split, changes.moved.to_pydict()
    ((Split(topic_id=3, split_from=2),),
     {'video_id': ['u', 'w'], 'before': [1, 2], 'after': [2, 3]})
    >>> round(changes.first_kept, 2), round(changes.set_kept, 2)
    (0.33, 0.67)
    """
    same_epoch = old.epoch == new.epoch
    before, after = _unchanged(old, new)
    stays = compare_rows(old.slots[before], new.slots[after])
    first = old.slots[before, 0], new.slots[after, 0]
    moved = first[0] != first[1]
    old_ids, new_ids = set(old.topic_ids.tolist()), set(new.topic_ids.tolist())
    parents = dict(zip(new.topic_ids.tolist(), new.split_from.tolist(), strict=True))
    appeared = sorted(new_ids - old_ids)
    return TopicChanges(
        _figures(old),
        _figures(new),
        same_epoch,
        unchanged=len(before),
        first_kept=stays.first,
        set_kept=stays.whole,
        born=tuple(i for i in appeared if not parents[i]),
        split=tuple(Split(i, parents[i]) for i in appeared if parents[i]),
        merged=_merged(*first) if same_epoch else (),
        retired=tuple(sorted(old_ids - new_ids)),
        sizes=_sizes(old, new),
        moved=pa.table(
            {
                "video_id": old.video_ids.take(pa.array(before[moved])),
                "before": first[0][moved],
                "after": first[1][moved],
            }
        ),
    )


def _unchanged(old: TopicState, new: TopicState) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows in both states of the videos that have a topic in both and equal content."""
    at = pc.fill_null(pc.index_in(old.video_ids, value_set=new.video_ids), -1).to_numpy()
    before = np.flatnonzero(at >= 0)
    after = at[before].astype(np.int64)
    same = pc.equal(old.content.take(pa.array(before)), new.content.take(pa.array(after)))
    equal = same.to_numpy(zero_copy_only=False).astype(bool)
    equal &= (old.slots[before, 0] >= 0) & (new.slots[after, 0] >= 0)
    return before[equal], after[equal]


def _figures(state: TopicState) -> TopicFigures:
    has_topic = state.slots[:, 0] >= 0
    first = state.slots[has_topic, 0]
    if not len(first):
        return TopicFigures(len(state.topic_ids), 0, 0.0, 0.0, 0.0, 0.0)
    return TopicFigures(
        topics=len(state.topic_ids),
        videos=len(first),
        topics_per_video=float((state.slots[has_topic] >= 0).sum() / len(first)),
        below_threshold=float(state.below_threshold[has_topic].mean()),
        mean_cosine=float(state.weights[has_topic, 0].mean(dtype=np.float64)),
        largest_share=float(np.unique(first, return_counts=True)[1].max() / len(first)),
    )


def _merged(before: NDArray[np.int64], after: NDArray[np.int64]) -> tuple[Merge, ...]:
    """Groups of earlier topics of which at least half of the videos have one later topic."""
    totals = dict(zip(*np.unique(before, return_counts=True), strict=True))
    pairs, counts = np.unique(np.stack([before, after]), axis=1, return_counts=True)
    groups: dict[int, list[int]] = defaultdict(list)
    for topic_id, into, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        if 2 * count >= totals[topic_id]:
            groups[into].append(topic_id)
    return tuple(Merge(tuple(ids), into) for into, ids in sorted(groups.items()) if len(ids) > 1)


def _sizes(old: TopicState, new: TopicState) -> dict[int, Size]:
    counts = [
        dict(zip(*(x.tolist() for x in np.unique(s.slots[:, 0], return_counts=True)), strict=True))
        for s in (old, new)
    ]
    ids = np.union1d(old.topic_ids, new.topic_ids).tolist()
    return {i: Size(counts[0].get(i, 0), counts[1].get(i, 0)) for i in ids}
