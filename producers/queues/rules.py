"""The rules of a topic queue (paper, III-B1): thresholds, fresh videos, rank by click-through rate.

A video with exposures below tau_1 or a smoothed click-through rate below tau_2 is deleted from its
topic's queue. Some videos that were shown too rarely to be judged (exposures below tau_1) are drawn
and stay in it as fresh ones.
"""

from __future__ import annotations

from hashlib import blake2b
from math import ceil

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.settings import QueueSettings


def topic_queue(topic: pa.Table, settings: QueueSettings, seed: int) -> pa.Table:
    """The queue of one topic, as rows of the contract `topic_queues` by position.

    Judged videos are ranked by falling smoothed click-through rate, ties by falling exposures, then
    by video_id. Fresh ones come in the order of their draw and are spread evenly
    (:func:`fresh_places`), so that every prefix has its share of them: a reader that takes the
    first hundred sees ten. The order of the rows doesn't matter, nor what other topics there are.

    Args:
        topic: every video of one topic, each once: topic_id, video_id, video_exposures,
            video_ctr, topic_epoch.
        settings: tau_1, tau_2, fresh share and length.
        seed: of the draw, which depends on seed, topic and video alone: a fresh video stays,
            until it has been shown often enough to be judged.

    >>> topic = pa.table({"topic_id": [7] * 4, "video_id": ["a", "b", "c", "d"],
    ...                   "video_exposures": [50, 40, 9, 60],
    ...                   "video_ctr": [0.2, 0.3, 0.9, 0.06], "topic_epoch": [1] * 4})
    >>> queue = topic_queue(topic, QueueSettings(), seed=7)  # c is fresh, d is clicked too rarely
    >>> queue.select(["queue_position", "video_id", "fresh"]).to_pylist()
    [{'queue_position': 1, 'video_id': 'b', 'fresh': False},
     {'queue_position': 2, 'video_id': 'c', 'fresh': True},
     {'queue_position': 3, 'video_id': 'a', 'fresh': False}]
    """
    judged = topic["video_exposures"].to_numpy() >= settings.min_exposures
    liked = topic["video_ctr"].to_numpy() >= settings.min_ctr
    judged_videos = topic.filter(pa.array(judged & liked)).sort_by(
        [("video_ctr", "descending"), ("video_exposures", "descending"), ("video_id", "ascending")]
    )
    unjudged = topic.filter(pa.array(~judged))
    drawn = (
        unjudged.append_column("draw", _draws(unjudged, seed))
        .sort_by([("draw", "ascending")])
        .drop(["draw"])
    )
    fresh = fresh_count(len(judged_videos), len(unjudged), settings)
    judged_videos, drawn = judged_videos.slice(0, settings.length - fresh), drawn.slice(0, fresh)
    is_fresh = fresh_places(len(judged_videos) + fresh, fresh)
    order = np.argsort(
        np.argsort(is_fresh, kind="stable")
    )  # the i-th place takes the next judged or the next drawn video
    return _rows(pa.concat_tables([judged_videos, drawn]).take(pa.array(order)), is_fresh)


def fresh_count(judged: int, unjudged: int, settings: QueueSettings) -> int:
    """How many of `unjudged` videos a queue with `judged` ones gets.

    "These fresh videos account for 10% of all remaining videos in this queue": with share s of the
    whole queue, s / (1 - s) for each judged video, rounded; a queue that is cut at its length has s
    of that. A queue with few judged videos, as of a new topic, is filled up with fresh ones to
    ceil(1 / s) videos, the shortest queue of which s is a whole video: otherwise no topic could
    start. With s = 0 there are none.

    >>> [fresh_count(judged, 1_000, QueueSettings()) for judged in (0, 4, 9, 90, 899, 5_000)]
    [10, 6, 1, 10, 100, 100]
    >>> fresh_count(90, 3, QueueSettings()), fresh_count(0, 1_000, QueueSettings(fresh_share=0))
    (3, 0)
    """
    share, length = settings.fresh_share, settings.length
    if share == 0:
        return 0
    by_share = round(min(share / (1 - share) * judged, share * length))
    shortest = ceil(min(1 / share, length))
    return min(max(by_share, shortest - judged), unjudged, length)


def fresh_places(videos: int, fresh: int) -> NDArray[np.bool_]:
    """bool[videos], true at the middle of each of `fresh` equal stretches of the queue.

    Any first p places have p * fresh / videos fresh ones, give or take half a video.

    >>> np.flatnonzero(fresh_places(20, 2)).tolist(), np.flatnonzero(fresh_places(3, 3)).tolist()
    ([5, 15], [0, 1, 2])
    """
    places = np.zeros(videos, bool)
    places[(2 * np.arange(fresh) + 1) * videos // (2 * max(fresh, 1))] = True
    return places


def _draws(rows: pa.Table, seed: int) -> pa.Array:
    """uint64 of each row: a hash of seed, topic and video, the same in any batch and order."""
    pairs = zip(rows["topic_id"].to_pylist(), rows["video_id"].to_pylist(), strict=True)
    texts = (f"{seed}/{topic}/{video}".encode() for topic, video in pairs)
    return pa.array(
        [int.from_bytes(blake2b(text, digest_size=8).digest(), "big") for text in texts],
        pa.uint64(),
    )


def _rows(queue: pa.Table, fresh: NDArray[np.bool_]) -> pa.Table:
    return pa.table(
        {
            "topic_id": queue["topic_id"],
            "video_id": queue["video_id"],
            "queue_position": pa.array(np.arange(1, len(queue) + 1)),
            "queue_ctr": queue["video_ctr"],
            "queue_exposures": queue["video_exposures"],
            "fresh": pa.array(fresh),
            "topic_epoch": queue["topic_epoch"],
        }
    )
