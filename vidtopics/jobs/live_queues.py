"""The members of a release's queues in memory, ordered by the job's own rules as counts change."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from producers.queues.rules import members, queue
from vidtopics.contracts import CATALOGUE, VIDEO_CATALOG, VIDEO_STATISTICS, VIDEO_TOPICS, Table
from vidtopics.events.generations import Generation
from vidtopics.jobs.inputs import still_live
from vidtopics.jobs.queue_videos import queue_videos
from vidtopics.layout import queue_name
from vidtopics.layout.live import VideoState
from vidtopics.rates import Prior, smoothed_ctr
from vidtopics.settings import Settings
from vidtopics.tables import Tables
from vidtopics.tables.releases import Release

COUNTS = ("video_exposures", "video_clicks", "decayed_clicks")
CATALOG_COLUMNS = ("video_id", "removed_at", "published_at")
TOPIC_COLUMNS = ("video_id", "topic_ids", "parent_topic_ids", "topic_epoch")


class LiveOrdering:
    """The queues of a release, whose counts are the batch's and what events have added.

    Members, ages and the rates' prior stay the release's: who is young is so as of its time.

    Args:
        videos: as :func:`producers.queues.rules.queues` takes them, as of the release.
        prior: of the release's rates.
        settings: of the job.
        live_weight: of a click that counts 1 in the generation's decayed clicks, as of the release.

    >>> videos = pa.table({"video_id": ["a", "b"], "topic_ids": [[5], [5]],
    ...     "parent_topic_ids": [[2], [2]], "topic_epoch": [1, 1], "video_exposures": [20, 20],
    ...     "video_clicks": [9, 8], "decayed_clicks": [9.0, 8.0], "young": [False, False]})
    >>> ordering = LiveOrdering(videos, Prior(0.4, 10), Settings())
    >>> sorted(ordering.queues()), ordering.lists(["5"])
    (['5', 'all', 'p2'], {'5': [b'a', b'b'], '5:fresh': []})
    >>> sorted(ordering.update({b"b": VideoState(4, 4, 4.0)})), ordering.lists(["all"])
    (['5', 'all', 'p2'], {'all': [b'b', b'a'], 'all:fresh': []})
    """

    def __init__(
        self, videos: pa.Table, prior: Prior, settings: Settings, *, live_weight: float = 1.0
    ) -> None:
        self._videos = videos.select(["video_id", "young", "topic_epoch"]).combine_chunks()
        self._prior, self._settings, self._live_weight = prior, settings, live_weight
        batch = [videos[name].to_numpy().astype(np.float64) for name in COUNTS]
        self._batch = np.stack(batch)  # float64[3, N]; counts are whole below 2^53
        self._counts = self._batch.copy()
        ids = self._videos["video_id"].to_pylist()
        self._place = {video.encode(): place for place, video in enumerate(ids)}
        self._index(videos)

    def update(self, changed: Mapping[bytes, VideoState]) -> set[str]:
        """Take what events have added to videos; the names of the queues that these are in."""
        known = [(self._place[v], s) for v, s in changed.items() if v in self._place]
        if not known:
            return set()
        places = np.array([place for place, _ in known])
        live = np.array([state for _, state in known], np.float64).T
        live[2] *= self._live_weight
        self._counts[:, places] = self._batch[:, places] + live
        is_changed = np.zeros(len(self._videos), bool)
        is_changed[places] = True
        numbers = np.unique(self._queue_of[is_changed[self._member]])
        return {self._names[number] for number in numbers.tolist()}

    def queues(self) -> set[str]:
        """The names of all queues."""
        return set(self._names)

    def lists(self, queues: Collection[str]) -> dict[str, list[bytes]]:
        """Video ids of queues in their order, by name, and of their fresh videos."""
        lists: dict[str, list[bytes]] = {}
        for name in queues:
            if name in self._number:
                rows = queue(self._rows(name), self._settings.queues, self._settings.seed)
                ids, fresh = rows["video_id"].to_pylist(), rows["fresh"].to_pylist()
                first = fresh.index(True) if True in fresh else len(ids)
                videos = [video.encode() for video in ids]
                lists |= {name: videos[:first], f"{name}:fresh": videos[first:]}
        return lists

    def _index(self, videos: pa.Table) -> None:
        """The members of each queue, and which they are: int64[M] places and numbers of queues."""
        slots = videos.select(["topic_ids", "parent_topic_ids"])
        placed = slots.append_column("place", pa.array(np.arange(len(videos))))
        rows = members(placed).group_by(["queue_level", "topic_id"]).aggregate([("place", "list")])
        keys = list(zip(rows["queue_level"].to_pylist(), rows["topic_id"].to_pylist(), strict=True))
        self._keys = keys
        self._names = [queue_name(level, topic) for level, topic in keys]
        self._number = {name: number for number, name in enumerate(self._names)}
        places = rows["place_list"].combine_chunks()
        self._member = places.flatten().to_numpy()
        sizes = np.diff(places.offsets.to_numpy())
        self._queue_of = np.repeat(np.arange(len(keys)), sizes)
        self._ends = np.cumsum(sizes)
        self._sizes = sizes

    def _rows(self, name: str) -> pa.Table:
        """The members of a queue, as :func:`producers.queues.rules.queue` takes them."""
        number = self._number[name]
        level, topic = self._keys[number]
        end = self._ends[number]
        places = self._member[end - self._sizes[number] : end]
        exposures, clicks, decayed_clicks = self._counts[:, places]
        columns: dict[str, NDArray[np.generic]] = {
            "video_exposures": exposures.astype(np.int64),
            "video_clicks": clicks.astype(np.int64),
            "decayed_clicks": decayed_clicks,
            "video_ctr": smoothed_ctr(clicks, exposures, self._prior),
        }
        rows = self._videos if level == CATALOGUE else self._videos.take(pa.array(places))
        for column, values in columns.items():
            rows = rows.append_column(column, pa.array(values))
        rows = rows.append_column("queue_level", pa.repeat(pa.scalar(level), len(rows)))
        return rows.append_column("topic_id", pa.repeat(pa.scalar(topic), len(rows)))


def load_ordering(
    tables: Tables, release: Release, generation: Generation, *, settings: Settings
) -> LiveOrdering:
    """Read what the release's queues are made of, as the job did.

    `generation`: whose counts are added. A view that a release left as it was goes with an earlier
    release's generation, so that this one may begin before the release's as-of time.

    Raises:
        TableError: a table is missing or damaged.
    """
    read = partial(_read, tables, release)
    live = still_live(read(VIDEO_CATALOG, *CATALOG_COLUMNS), release.as_of_us)
    videos, prior = queue_videos(
        live.select(["video_id", "published_at"]),
        read(VIDEO_TOPICS, *TOPIC_COLUMNS),
        read(VIDEO_STATISTICS),
        settings.queues,
        settings.statistics,
        as_of_us=release.as_of_us,
    )
    half_life = settings.statistics.half_life / timedelta(microseconds=1)
    weight = 0.5 ** ((release.as_of_us - generation.as_of_us) / half_life)
    return LiveOrdering(videos, prior, settings, live_weight=weight)


def _read(tables: Tables, release: Release, table: Table, *columns: str) -> pa.Table:
    """A table as the release names it."""
    version = release.versions.get(table.name)
    return tables.as_of(table, release.as_of_us, columns=columns or None, version=version)
