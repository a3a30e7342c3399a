"""The rules of topic queues (paper, III-B1): who leaves, in what order, and who is fresh.

A video belongs to the queues of its topics, of their parents, and of the whole catalogue. Readers
start from the topics of a user and go on to the wider queues where those don't suffice.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import betainc

from vidtopics.contracts import CATALOGUE, PARENT, TOPIC
from vidtopics.settings import QueueSettings


def members(videos: pa.Table) -> pa.Table:
    """A row for each queue that a video is in.

    Args:
        videos: each video once: video_id, topic_ids and parent_topic_ids (int64 lists, -1 in unused
            slots), topic_epoch, video_exposures, video_clicks, video_ctr, young (published within
            `queues.fresh_age`), decayed_clicks (as of the run).

    >>> videos = pa.table({"video_id": ["a", "b"], "topic_ids": [[5, 9], [5, -1]],
    ...                    "parent_topic_ids": [[2, 2], [2, -1]]})
    >>> list(zip(*members(videos).to_pydict().values()))
    [('topic', 5, 'a'), ('topic', 9, 'a'), ('topic', 5, 'b'), ('parent', 2, 'a'),
     ('parent', 2, 'b'), ('catalogue', 0, 'a'), ('catalogue', 0, 'b')]
    """
    columns = [n for n in videos.column_names if n not in ("topic_ids", "parent_topic_ids")]
    plain = videos.select(columns)
    parts = [
        _in_queues(plain, videos["topic_ids"], TOPIC),
        _in_queues(plain, videos["parent_topic_ids"], PARENT),
        _labelled(plain, CATALOGUE, pa.repeat(0, len(plain))),
    ]
    return pa.concat_tables(parts).combine_chunks()


def queue(rows: pa.Table, settings: QueueSettings, seed: int) -> pa.Table:
    """One queue, as rows of the contract `topic_queues` by position.

    A judged video, one with at least tau_1 exposures, stays unless its click-through rate is below
    tau_2 (:func:`is_disliked`). Those of a topic are ranked by falling smoothed click-through rate,
    ties by falling exposures, then by video_id. A parent and the catalogue rank every video that
    isn't disliked by falling decayed clicks, ties by falling clicks, then by video_id: what is
    popular there of late.

    Behind those of topics and parents stand the fresh videos, at most `fresh_pool`: younger than
    `fresh_age` and with fewer than tau_1 exposures, in the order of a draw. Readers draw from them
    anew for each request; one that reached tau_1 is judged the next time, and gives up its place.

    Args:
        rows: the members of one queue; their order doesn't matter.
        settings: tau_1, tau_2 and `confidence`, the sizes.
        seed: of the order of fresh videos, which depends on seed, queue and video alone.

    >>> rows = pa.table({"queue_level": ["topic"] * 4, "topic_id": [7] * 4,
    ...                  "video_id": ["a", "b", "c", "d"], "video_exposures": [50, 40, 9, 60],
    ...                  "video_clicks": [10, 12, 8, 1], "video_ctr": [0.2, 0.3, 0.9, 0.02],
    ...                  "young": [False, False, True, False], "topic_epoch": [1] * 4,
    ...                  "decayed_clicks": [3.0, 2.0, 8.0, 0.5]})
    >>> topic = queue(rows, QueueSettings(), seed=7)  # c is fresh, d is clicked too rarely
    >>> topic.select(["queue_position", "video_id", "fresh"]).to_pylist()
    [{'queue_position': 1, 'video_id': 'b', 'fresh': False},
     {'queue_position': 2, 'video_id': 'a', 'fresh': False},
     {'queue_position': 3, 'video_id': 'c', 'fresh': True}]
    """
    level, exposures = rows["queue_level"][0].as_py(), rows["video_exposures"].to_numpy()
    is_judged = exposures >= settings.min_exposures
    is_fresh = rows["young"].to_numpy() & ~is_judged & (level != CATALOGUE)
    is_ranked = ~is_disliked(rows["video_clicks"].to_numpy(), exposures, settings) & ~is_fresh
    if level == TOPIC:
        is_ranked &= is_judged
    ranked = rows.filter(pa.array(is_ranked)).sort_by(ORDERS[level]).slice(0, settings.length)
    fresh = rows.filter(pa.array(is_fresh))
    drawn = fresh.take(pa.array(np.argsort(_draws(fresh, seed), kind="stable")))
    return _rows(ranked, drawn.slice(0, settings.fresh_pool))


def queues(videos: pa.Table, settings: QueueSettings, seed: int) -> Iterator[pa.Table]:
    """All queues, one after the other, of the videos that :func:`members` describes."""
    rows = members(videos).sort_by([("queue_level", "ascending"), ("topic_id", "ascending")])
    rows = rows.combine_chunks()
    levels = rows["queue_level"].combine_chunks().dictionary_encode().indices.to_numpy()
    begins = np.diff(levels, prepend=-1) | np.diff(rows["topic_id"].to_numpy(), prepend=-1)
    starts = np.flatnonzero(begins)
    for start, end in pairwise([*starts, len(rows)]):
        yield queue(rows.slice(start, end - start), settings, seed)


def is_disliked(
    clicks: NDArray[np.int64], exposures: NDArray[np.int64], settings: QueueSettings
) -> NDArray[np.bool_]:
    """bool[N]: the click-through rate is below tau_2, with probability `confidence` or more.

    The rate's posterior under Jeffreys' prior is Beta(clicks + 1/2, exposures - clicks + 1/2)
    (Brown, Cai and DasGupta 2001): 78% of it lie below .07 after 10 exposures without a click. A
    rate that is smoothed to the mean of all videos is no bound: with ten imagined exposures at a
    mean of .28 no video without a click would go before its 30th. One with fewer than tau_1
    exposures is never judged.

    >>> clicks, exposures = np.array([0, 0, 0, 1, 2, 9]), np.array([9, 10, 99, 30, 30, 100])
    >>> is_disliked(clicks, exposures, QueueSettings(min_ctr=0.07)).tolist()
    [False, True, True, True, False, False]
    """
    below = betainc(clicks + 0.5, exposures - clicks + 0.5, settings.min_ctr)
    is_judged = exposures >= settings.min_exposures
    return np.asarray(is_judged & (below >= settings.confidence), bool)


_BY_CLICKS = [
    ("decayed_clicks", "descending"),
    ("video_clicks", "descending"),
    ("video_id", "ascending"),
]
ORDERS = {
    TOPIC: [
        ("video_ctr", "descending"),
        ("video_exposures", "descending"),
        ("video_id", "ascending"),
    ],
    PARENT: _BY_CLICKS,
    CATALOGUE: _BY_CLICKS,
}


def _in_queues(plain: pa.Table, slots: pa.ChunkedArray, level: str) -> pa.Table:
    """A row for each video and each distinct number in its slots."""
    places = pc.list_parent_indices(slots.combine_chunks())
    pairs = pa.table({"place": places, "topic_id": pc.list_flatten(slots.combine_chunks())})
    pairs = pairs.filter(pc.greater_equal(pairs["topic_id"], 0))
    pairs = pairs.group_by(["place", "topic_id"], use_threads=False).aggregate([])
    return _labelled(plain.take(pairs["place"]), level, pairs["topic_id"])


def _labelled(plain: pa.Table, level: str, topic_ids: pa.ChunkedArray | pa.Array) -> pa.Table:
    levels = pa.repeat(pa.scalar(level), len(plain))
    return plain.add_column(0, "queue_level", levels).add_column(1, "topic_id", topic_ids)


def _draws(rows: pa.Table, seed: int) -> NDArray[np.uint64]:
    """uint64 of each row: a hash of seed, queue and video, the same in any batch and order."""
    names = ("queue_level", "topic_id", "video_id")
    keys = zip(*(rows[name].to_pylist() for name in names), strict=True)
    texts = (f"{seed}/{level}/{topic}/{video}".encode() for level, topic, video in keys)
    digests = [blake2b(text, digest_size=8).digest() for text in texts]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def _rows(ranked: pa.Table, fresh: pa.Table) -> pa.Table:
    both = pa.concat_tables([ranked, fresh])
    return pa.table(
        {
            "queue_level": both["queue_level"],
            "topic_id": both["topic_id"],
            "video_id": both["video_id"],
            "queue_position": pa.array(np.arange(1, len(both) + 1)),
            "queue_ctr": both["video_ctr"],
            "queue_exposures": both["video_exposures"],
            "queue_clicks": both["decayed_clicks"].cast(pa.float32()),
            "fresh": pa.array(np.arange(len(both)) >= len(ranked)),
            "topic_epoch": both["topic_epoch"],
        }
    )
