"""Figures of topics: how many a video has, how evenly they are filled, and their queues."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from vidtopics.contracts import TOPIC_QUEUES, TOPICS, VIDEO_TOPICS, Table
from vidtopics.gates.drift import stability_index
from vidtopics.gates.keys import epochs, other_epoch
from vidtopics.gates.verdicts import Figure
from vidtopics.gates.versions import Releases


def gini(sizes: npt.ArrayLike) -> float:
    r"""Gini coefficient of sizes: 0 where all are equal, (n - 1) / n where one has everything.

    .. math:: G = \frac{\sum_i (2i - n - 1) x_i}{n \sum_i x_i}, \quad x_1 \le \dots \le x_n

    >>> gini([3, 3, 3]), gini([0, 0, 6]), gini([0, 0])
    (0.0, 0.6666666666666666, 0.0)
    """
    x = np.sort(np.asarray(sizes, np.float64))
    total = x.sum()
    if not total:
        return 0.0
    rank = np.arange(1, x.size + 1)
    return float(((2 * rank - x.size - 1) * x).sum() / (x.size * total))


def topic_figures(releases: Releases, table: Table) -> Iterator[Figure]:
    """The figures that a table of topics has; none for others."""
    if table is VIDEO_TOPICS:
        yield from _assignment(releases)
        yield from _sizes(releases)
    if table is TOPIC_QUEUES:
        yield from _queues(releases)
    if table is TOPICS:
        old, new = epochs(releases, table)
        yield Figure("topics.epoch_change", float(new - old) if old and new else None)


def _assignment(releases: Releases) -> Iterator[Figure]:
    old, new = releases.old(VIDEO_TOPICS), releases.new(VIDEO_TOPICS)
    count, mean, below = releases.row(
        f"SELECT count(*), avg(topic_count), avg(CAST(below_threshold AS INT)) FROM {new}"
    )
    yield Figure(
        "video_topics.topics_per_video",
        mean,
        count,
        examples=partial(
            releases.keys,
            f"SELECT n.key_text FROM {new} n JOIN {old} o USING (video_id)"
            " ORDER BY n.topic_count - o.topic_count, 1",
        ),
    )
    yield Figure(
        "video_topics.below_threshold_share",
        below,
        count,
        examples=partial(
            releases.keys,
            f"SELECT n.key_text FROM {new} n LEFT JOIN {old} o USING (video_id)"
            " WHERE n.below_threshold ORDER BY coalesce(o.below_threshold, false), 1",
        ),
    )


def _sizes(releases: Releases) -> Iterator[Figure]:
    """A topic's size is the number of videos that have it in a slot; empty ones count as 0."""
    new = _slots(releases, releases.new(VIDEO_TOPICS))
    videos = releases.count(f"SELECT count(*) FROM {releases.new(VIDEO_TOPICS)}")
    topics = releases.ids(f"SELECT topic_id FROM {releases.new(TOPICS)} ORDER BY 1")
    sizes = np.array([new.get(topic, 0) for topic in topics] or [*new.values()])
    largest = [f"topic {topic}: {size} videos" for topic, size in _falling(new)]
    empty = [f"topic {topic}" for topic in topics if topic not in new]
    reason = "" if topics else "no topics in the release"
    has = len(sizes)
    yield Figure(
        "video_topics.occupancy",
        float((sizes > 0).mean()) if has else None,
        has,
        reason,
        lambda: empty,
    )
    yield Figure("video_topics.gini", gini(sizes) if has else None, has, "", lambda: largest)
    yield Figure(
        "video_topics.largest_share",
        max(new.values(), default=0) / videos if videos else None,
        has,
        "",
        lambda: largest,
    )
    yield _drift(releases, new)


def _drift(releases: Releases, new: dict[int, int]) -> Figure:
    """PSI of the topics in the slots of all videos, over the union of their IDs."""
    rows = releases.old(VIDEO_TOPICS)
    before = releases.count(f"SELECT count(*) FROM {rows}")
    first = releases.nothing_before(VIDEO_TOPICS)
    reason = other_epoch(releases, VIDEO_TOPICS) if before else first
    old = _slots(releases, rows)
    ids = sorted({*old, *new})
    counts = [np.array([slots.get(i, 0) for i in ids]) for slots in (old, new)]
    shifts = {i: abs(new.get(i, 0) - old.get(i, 0)) for i in ids}
    return Figure(
        "video_topics.topic_ids.psi",
        stability_index(*counts) if ids and not reason else None,
        int(min(sum(old.values()), sum(new.values())) / max(len(ids), 1)),
        reason,
        lambda: [
            f"topic {i}: {old.get(i, 0)} to {new.get(i, 0)} videos" for i, _ in _falling(shifts)
        ],
        unit="slots a topic",
    )


def _queues(releases: Releases) -> Iterator[Figure]:
    """Topics without a queue, and the mean length of the others."""
    topics = releases.new(TOPICS)
    new = f"(SELECT * FROM {releases.new(TOPIC_QUEUES)} WHERE queue_level = 'topic')"
    without = f"FROM {topics} ANTI JOIN {new} USING (topic_id)"
    count = releases.count(f"SELECT count(*) FROM {topics}")
    yield Figure(
        "topic_queues.no_queue_share",
        releases.count(f"SELECT count(*) {without}") / count if count else None,
        count,
        examples=partial(releases.keys, f"SELECT 'topic ' || topic_id {without} ORDER BY topic_id"),
    )
    queues, rows = releases.row(f"SELECT count(DISTINCT topic_id), count(*) FROM {new}")
    shortest = f"SELECT 'topic ' || topic_id FROM {new} GROUP BY topic_id ORDER BY count(*)"
    yield Figure(
        "topic_queues.mean_queue",
        rows / queues if queues else None,
        queues,
        examples=partial(releases.keys, f"{shortest}, topic_id"),
    )


def _slots(releases: Releases, rows: str) -> dict[int, int]:
    """How many videos have each topic."""
    slots = f"SELECT unnest(topic_ids) AS topic_id FROM {rows}"
    query = f"SELECT topic_id, count(*) FROM ({slots}) WHERE topic_id >= 0 GROUP BY 1 ORDER BY 1"
    return dict(releases.con.execute(query).fetchall())


def _falling(sizes: dict[int, int]) -> list[tuple[int, int]]:
    return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:10]
