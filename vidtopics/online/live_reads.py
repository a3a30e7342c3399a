"""Values of a release and, beside them, what events did since: for who folds the two together.

The values are the batch's and go to the serving log as such; the live part comes raw, so that what
a request saw can be logged and seen again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vidtopics.contracts import VIDEO_STATISTICS
from vidtopics.layout import Directory
from vidtopics.layout.hashes import HashedIds
from vidtopics.layout.live import LiveKeys, UserValue
from vidtopics.online.features import Features
from vidtopics.online.lists import release_of
from vidtopics.online.live import LIVE_VIEWS, _read, put_counts
from vidtopics.online.requests import encoded
from vidtopics.online.round_trip import Command

if TYPE_CHECKING:
    from vidtopics.online.reads import Read, Reads

VIDEO_VIEW = VIDEO_STATISTICS.name


@dataclass(frozen=True)
class LiveRead:
    """What one round trip gave.

    Attributes:
        features: of each part, the release's values.
        releases: by view the release whose generation goes with its values.
        since_us: by release the as-of time of its generation, microseconds; one that isn't there
            isn't open.
        states: by release the user's value; one that isn't there: the user did nothing since, or
            wasn't asked for.
        counts: int64[N, 2], exposures and clicks of the videos since their release; 0 of a video
            whose value is damaged.
    """

    features: Sequence[Features]
    releases: Mapping[str, int]
    since_us: Mapping[int, int]
    states: Mapping[int, UserValue]
    counts: NDArray[np.int64]


def read_live(
    reads: Reads[Any],
    parts: Sequence[tuple[str, Sequence[str]]],
    user_id: str | None,
    video_ids: Sequence[str],
) -> Read[LiveRead]:
    """As the client's method of that name."""
    names = {id(ids): encoded(ids) for ids in (*(ids for _, ids in parts), video_ids)}
    asked = _Asked([] if user_id is None else encoded([user_id]), names[id(video_ids)])
    id_parts = [(view, names[id(ids)]) for view, ids in parts]
    if reads.metrics is None:
        return (yield from _answered(reads, id_parts, asked))
    with reads.metrics.reading() as answers:
        live = yield from _answered(reads, id_parts, asked)
        answers.extend(zip((view for view, _ in parts), live.features, strict=True))
    reads.metrics.damaged("user", sum(value.is_damaged for value in live.states.values()))
    reads.metrics.damaged("video", asked.damaged_videos)
    return live


def _answered(
    reads: Reads[Any], parts: Sequence[tuple[str, Sequence[bytes]]], asked: _Asked
) -> Read[LiveRead]:
    directory, replies, features = yield from _read(reads, parts, asked.commands)
    if reads.log:
        reads.log.offer(directory, parts, features)
    return asked.parsed(directory, replies, features)


class _Asked:
    """The commands for one user (or none) and N videos, and what their replies say."""

    def __init__(self, user: Sequence[bytes], videos: Sequence[bytes]) -> None:
        self.user, self.videos = user, videos
        self.releases: dict[str, int] = {}
        self.generations: list[tuple[int, bytes | None]] = []
        self.buckets: list[NDArray[np.intp]] = []
        self.damaged_videos = 0

    def commands(self, directory: Directory) -> list[Command]:
        """Of each generation its as-of time and the user's value; the videos by buckets."""
        keys = LiveKeys(directory.prefix, directory.layout)
        self.releases = {v: release_of(directory, v) for v in LIVE_VIEWS if v in directory.views}
        user_releases = dict.fromkeys(r for v, r in self.releases.items() if v != VIDEO_VIEW)
        self.generations = [(r, user) for user in self.user for r in user_releases]
        commands: list[Command] = []
        for release, user in self.generations:
            bucket = keys.bucket(user or b"")
            commands.append(("HGET", keys.state(release, "user", "at", bucket), "as_of"))
            commands.append(("HGET", keys.state(release, "user", "state", bucket), user))
        return commands + self._of_videos(keys)

    def _of_videos(self, keys: LiveKeys) -> list[Command]:
        release = self.releases.get(VIDEO_VIEW)
        self.buckets = []
        if release is None or not self.videos:
            return []
        bucket = HashedIds.of(self.videos).hashes % np.uint32(keys.layout.buckets)
        order = np.argsort(bucket, kind="stable")
        self.buckets = np.split(order, np.flatnonzero(np.diff(bucket[order])) + 1)
        self.generations.append((release, None))
        places = [(int(bucket[group[0]]), group.tolist()) for group in self.buckets]
        at = keys.state(release, "video", "at", places[0][0])
        counts: list[Command] = [
            ("HMGET", keys.state(release, "video", "state", b), *[self.videos[i] for i in group])
            for b, group in places
        ]
        return [("HGET", at, "as_of"), *counts]

    def parsed(
        self, directory: Directory, replies: Sequence[Any], features: Sequence[Features]
    ) -> LiveRead:
        """From the replies to :meth:`commands`."""
        since_us: dict[int, int] = {}
        states: dict[int, UserValue] = {}
        answers = iter(replies)
        for release, user in self.generations:
            as_of = next(answers)
            state = next(answers) if user is not None else None
            if as_of is not None:
                since_us[release] = int(as_of)
                states |= {} if state is None else {release: UserValue(state)}
        counts = np.zeros((len(self.videos), 2), np.int64)
        groups = zip(self.buckets, answers, strict=True)
        self.damaged_videos = sum(
            put_counts(counts, group.tolist(), values) for group, values in groups
        )
        return LiveRead(features, self.releases, since_us, states, counts)
