"""The paper's rule of topic queues in plain Python, over a plain count of a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from hashlib import blake2b
from math import exp, lgamma, log
from typing import Any

import numpy as np
import pyarrow as pa
from live_worlds import Batch, Shown

from vidtopics.jobs.live_queues import LiveOrdering
from vidtopics.jobs.queue_videos import queue_videos
from vidtopics.layout.live import LiveKeys
from vidtopics.settings import QueueSettings, Settings

COUNTS = ("video_exposures", "video_clicks", "video_decayed_clicks", "video_decayed_at")


@dataclass(frozen=True)
class Member:
    """A video with what the release's tables say of it."""

    video: str
    topics: tuple[int, ...]
    parents: tuple[int, ...]
    young: bool


@dataclass(frozen=True)
class Counted:
    """A video's counts; clicks decayed to a common time."""

    exposures: int
    clicks: int
    decayed: float


def counted(
    log: Sequence[Shown], video: str, as_of_us: int, until_us: int, half_life_us: int
) -> Counted:
    """Events of a video before a time, their clicks as of another."""
    batch = Batch(log, until_us, 0)
    exposures, clicks = batch.counts("video").get(video, (0, 0))
    decayed = 0.0
    for event in batch.clicked():
        if event.video == video:
            assert event.clicked_us is not None
            decayed += 2.0 ** ((event.clicked_us - as_of_us) / half_life_us)
    return Counted(exposures, clicks, decayed)


@cache
def below(clicks: int, exposures: int, rate: float) -> float:
    """P(p < rate) of Beta(clicks + 1/2, exposures - clicks + 1/2), by the trapezoid in log p."""
    a, b = clicks + 0.5, exposures - clicks + 0.5
    norm = lgamma(a + b) - lgamma(a) - lgamma(b)
    x = np.exp(np.linspace(log(1e-12), log(rate), 20_000))
    density = np.exp(norm + (a - 1) * np.log(x) + (b - 1) * np.log1p(-x))
    return float(np.trapezoid(density, x)) + exp(norm) * (1e-12) ** a / a


@dataclass(frozen=True)
class World:
    """Members, and counts of all of them, as a run of the job would find them.

    `global_ctr`: of the release, which rates are drawn to with the weight of `prior` exposures.
    """

    members: Sequence[Member]
    counts: Mapping[str, Counted]
    global_ctr: float
    settings: QueueSettings
    seed: int
    prior: float = 10.0

    def lists(self) -> dict[str, list[str]]:
        """Every list that isn't empty, by its name."""
        lists = {"all": self._ranked("all", self.members)}
        for kind, level in (("topics", "topic"), ("parents", "parent")):
            for number in {n for member in self.members for n in getattr(member, kind)}:
                own = [member for member in self.members if number in getattr(member, kind)]
                name = f"{number}" if level == "topic" else f"p{number}"
                lists[name] = self._ranked(level, own)
                lists[f"{name}:fresh"] = self._drawn(level, number, own)
        return {name: videos for name, videos in lists.items() if videos}

    def _ranked(self, level: str, members: Sequence[Member]) -> list[str]:
        stays = [m for m in members if not self._is_disliked(m) and not self._is_fresh(level, m)]
        if level == "topic":
            stays = [m for m in stays if self._is_judged(m)]
        order = self._by_rate if level == "topic" else self._by_clicks
        return [m.video for m in sorted(stays, key=order)][: self.settings.length]

    def _drawn(self, level: str, number: int, members: Sequence[Member]) -> list[str]:
        def draw(member: Member) -> bytes:
            text = f"{self.seed}/{level}/{number}/{member.video}"
            return blake2b(text.encode(), digest_size=8).digest()

        fresh = sorted((m for m in members if self._is_fresh(level, m)), key=draw)
        return [m.video for m in fresh][: self.settings.fresh_pool]

    def _is_judged(self, member: Member) -> bool:
        return self.counts[member.video].exposures >= self.settings.min_exposures

    def _is_disliked(self, member: Member) -> bool:
        counts = self.counts[member.video]
        probability = below(counts.clicks, counts.exposures, self.settings.min_ctr)
        return self._is_judged(member) and probability >= self.settings.confidence

    def _is_fresh(self, level: str, member: Member) -> bool:
        return level != "all" and member.young and not self._is_judged(member)

    def _by_rate(self, member: Member) -> tuple[float, int, str]:
        counts = self.counts[member.video]
        rate = (counts.clicks + self.prior * self.global_ctr) / (counts.exposures + self.prior)
        return -rate, -counts.exposures, member.video

    def _by_clicks(self, member: Member) -> tuple[float, int, str]:
        counts = self.counts[member.video]
        return -counts.decayed, -counts.clicks, member.video


def world_of(
    members: Sequence[Member],
    log: Sequence[Shown],
    as_of_us: int,
    settings: QueueSettings,
    *,
    half_life: timedelta,
    seed: int,
    until_us: int = 2**62,
) -> World:
    """What is due at a time after a release; its prior is of what was before the release."""
    half_life_us = half_life // timedelta(microseconds=1)
    earlier = [counted(log, m.video, as_of_us, as_of_us, half_life_us) for m in members]
    shown = sum(counts.exposures for counts in earlier)
    clicks = sum(counts.clicks for counts in earlier)
    counts = {m.video: counted(log, m.video, as_of_us, until_us, half_life_us) for m in members}
    return World(members, counts, clicks / shown if shown else 0.0, settings, seed)


def ordering_of(
    members: Sequence[Member], log: Sequence[Shown], as_of_us: int, settings: Settings
) -> LiveOrdering:
    """By the job's own query and rules, of tables that are counted plainly."""
    half_life_us = settings.statistics.half_life // timedelta(microseconds=1)
    rows = []
    for member in members:
        last_us = max((e.us for e in log if e.video == member.video and e.us < as_of_us), default=0)
        before = counted(log, member.video, last_us, as_of_us, half_life_us)
        if last_us:
            rows.append((member.video, before.exposures, before.clicks, before.decayed, last_us))
    names = ["video_id", *COUNTS]
    types = [pa.string(), pa.int64(), pa.int64(), pa.float64(), pa.int64()]
    schema = pa.schema([*zip(names, types, strict=True)])
    statistics = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema)
    slots = pa.list_(pa.int64())
    topics = pa.table(
        {
            "video_id": [m.video for m in members],
            "topic_ids": pa.array([[*m.topics, -1] for m in members], slots),
            "parent_topic_ids": pa.array([[*m.parents, -1] for m in members], slots),
            "topic_epoch": [1] * len(members),
        }
    )
    ages_us = [86_400_000_000 * (1 if member.young else 30) for member in members]
    published = pa.array([as_of_us - age_us for age_us in ages_us], pa.timestamp("us", "UTC"))
    live = pa.table({"video_id": [m.video for m in members], "published_at": published})
    rules, rates = settings.queues, settings.statistics
    videos, prior = queue_videos(live, topics, statistics, rules, rates, as_of_us=as_of_us)
    return LiveOrdering(videos, prior, settings)


def stored_lists(store: Any, keys: LiveKeys, release: int, load: int) -> dict[str, list[str]]:
    """The lists that Redis has of a set, by name, found by their keys."""
    lists = {}
    for key in store.scan_iter(match=f"{keys.prefix}:live:{release}:queue:{load}:{{*"):
        name = key.decode().partition("}")[2]
        lists[name] = [video.decode() for video in store.lrange(key, 0, -1)]
    return lists
