"""A day's topic queues as arrays: made at midnight by the rules of the job `topic_queues`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from consumers.policies.catalog import Catalog
from consumers.retrieval.choosing import POOL, Popularity
from consumers.retrieval.rules import LEVELS
from consumers.retrieval.tilting import Popular
from producers.queues.rules import queues
from vidtopics.contracts import CATALOGUE, PARENT, TOPIC
from vidtopics.jobs.queue_videos import queue_videos
from vidtopics.settings import RecallSettings, Settings
from vidtopics.simulation.platform import Platform

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]


class Lists(NamedTuple):
    """Q lists of videos, one after the other: where each begins (int64[Q + 1]), int32[L] videos."""

    starts: Ints
    videos: Codes

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> Lists:
        """From lists of rows.

        >>> Lists.of([[4, 2], [], [3]])
        Lists(starts=array([0, 2, 2, 3]), videos=array([4, 2, 3], dtype=int32))
        """
        starts = np.concatenate([[0], np.cumsum([len(videos) for videos in lists], dtype=np.int64)])
        return cls(starts, np.array([v for videos in lists for v in videos], np.int32))


class DayQueues(NamedTuple):
    """The queues of T topics, P parents and the catalogue, in this order.

    Attributes:
        ranked: judged videos of each queue, by place.
        fresh: fresh ones.
        draws: int32[D, len(fresh.videos)], each queue's fresh videos in the order of a draw.
        popularity: parents by falling clicks, as recall takes them.
        popular: the head of the catalogue's queue with its topics.
        head: int32[L], the videos of `popular`.
    """

    ranked: Lists
    fresh: Lists
    draws: Codes
    popularity: Popularity
    popular: Popular
    head: Codes


def open_queues(
    platform: Platform,
    catalog: Catalog,
    settings: Settings,
    recall: RecallSettings,
    seeds: Sequence[int],
) -> DayQueues:
    """The queues of a platform's midnight, and draws of fresh videos by each of `seeds`.

    A user who is given one of the seeds meets the fresh videos that a request with this seed does
    (:func:`consumers.retrieval.rules.queue_of_request`).
    """
    videos, _ = queue_videos(
        _live(platform, catalog),
        _topics(catalog),
        _statistics(platform, catalog),
        settings.queues,
        settings.statistics,
        as_of_us=platform.midnight_us,
    )
    places = {TOPIC: catalog.topic_ids, PARENT: catalog.parent_ids, CATALOGUE: np.zeros(1, int)}
    firsts = dict(zip(places, np.cumsum([0, *map(len, places.values())]).tolist(), strict=False))
    count = sum(map(len, places.values()))
    lists: tuple[list[list[int]], ...] = tuple([[] for _ in range(count)] for _ in range(2))
    parents: dict[int, float] = {}
    clicks = np.zeros(0)
    for part in queues(videos, settings.queues, settings.seed):
        if not len(part):
            continue
        level, topic = part["queue_level"][0].as_py(), part["topic_id"][0].as_py()
        number = firsts[level] + int(np.searchsorted(places[level], topic))
        rows = pc.index_in(part["video_id"], value_set=catalog.ids).to_numpy()
        is_fresh = part["fresh"].to_numpy()
        for kind in (0, 1):
            lists[kind][number] = rows[is_fresh == kind].tolist()
        if level == CATALOGUE:
            clicks = part["queue_clicks"].to_numpy()
        if level == PARENT:
            parents[topic] = pc.sum(part["queue_clicks"]).as_py()
    ranked, fresh = map(Lists.of, lists)
    order = sorted(parents, key=lambda topic: (-parents[topic], topic))
    head = ranked.videos[ranked.starts[-2] :][: 2 * (recall.candidates + recall.recent_clicks)]
    return DayQueues(
        ranked,
        fresh,
        _draws(fresh, catalog, seeds),
        Popularity(order, [parents[topic] for topic in order]),
        Popular.of(
            catalog.ids.take(pa.array(head)).to_pylist(),
            clicks[: len(head)].astype(np.float64),
            _ids(catalog.topic_ids, catalog.topic_codes[head]),
            _ids(catalog.parent_ids, catalog.parent_codes[head]),
        ),
        head,
    )


def _live(platform: Platform, catalog: Catalog) -> pa.Table:
    published = pa.array(platform.published_us[platform.live], pa.timestamp("us", "UTC"))
    ids = catalog.ids.take(pa.array(platform.live))
    return pa.table({"video_id": ids, "published_at": published})


def _topics(catalog: Catalog) -> pa.Table:
    names = ["topic_ids", "parent_topic_ids", "topic_epoch"]
    rows = catalog.topics.select(names).append_column("video_id", catalog.ids)
    return rows.filter(pc.is_valid(rows["topic_epoch"]))


def _statistics(platform: Platform, catalog: Catalog) -> pa.Table:
    known = platform.known
    was_shown = known.exposures > 0
    columns = {
        "video_exposures": known.exposures,
        "video_clicks": known.clicks,
        "video_decayed_clicks": known.decayed_clicks,
        "video_decayed_at": known.decayed_at,
    }
    rows = {name: pa.array(column[was_shown]) for name, column in columns.items()}
    return pa.table({"video_id": catalog.ids.filter(pa.array(was_shown)), **rows})


def _ids(ids: Ints, codes: Codes) -> Ints:
    return np.where(codes >= 0, np.append(ids, 0)[codes], -1)


def _draws(fresh: Lists, catalog: Catalog, seeds: Sequence[int]) -> Codes:
    """int32[D, L]: the fresh videos of each queue, permuted as a request with each seed does."""
    levels = ((TOPIC, catalog.topic_ids), (PARENT, catalog.parent_ids))
    keys = [(LEVELS.index(level), topic) for level, ids in levels for topic in ids.tolist()]
    draws = np.tile(fresh.videos, (len(seeds), 1))
    for row, seed in zip(draws, seeds, strict=True):
        for number, key in enumerate(keys):
            first, end = fresh.starts[number], fresh.starts[number + 1]
            pool = fresh.videos[first:end][:POOL]
            order = np.random.default_rng([seed, *key]).permutation(len(pool))
            row[first : first + len(pool)] = pool[order]
    return draws
