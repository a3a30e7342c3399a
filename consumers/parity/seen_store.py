"""A release's tables with the events that a logged request saw: what it is answered from again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from consumers.live import LivePart
from consumers.parity.release_store import ReleaseStore
from consumers.retrieval.recall import Views
from vidtopics.online import Catalogue, Features
from vidtopics.online.live_reads import LiveRead


@dataclass(frozen=True, eq=False)
class SeenStore:
    """A :class:`consumers.live.store.LiveSource`: values of a release, events of a log line."""

    release: ReleaseStore
    part: LivePart

    def snapshot(self) -> SeenStore:
        """Itself: neither changes."""
        return self

    def directory(self) -> Views:
        """As the release's."""
        return self.release.directory()

    def read(self, view: str, ids: Sequence[str]) -> Features:
        """As the release's."""
        return self.release.read(view, ids)

    def read_entities(
        self, views: Sequence[str], ids: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Features]:
        """As the release's."""
        return self.release.read_entities(views, ids)

    def queues(
        self, names: Sequence[str], *, epoch: int, limit: Sequence[int], live: bool = True
    ) -> list[list[str]]:
        """As they were read; where no event had moved any, and without `live`, as the batch's."""
        lists = self.release.queues(names, epoch=epoch, limit=limit)
        if not (live and self.has_live_queues() and epoch == self.catalogue().epoch):
            return lists
        return [
            list(self.part.queues.get(n, ()))[:end] for n, end in zip(names, limit, strict=True)
        ]

    def has_live_queues(self) -> bool:
        """Whether events had moved the queues of the release."""
        return bool(self.part.queues)

    def catalogue(self) -> Catalogue:
        """As the release's."""
        return self.release.catalogue()

    def read_live(
        self,
        parts: Sequence[tuple[str, Sequence[str]]],
        *,
        user_id: str | None = None,
        video_ids: Sequence[str] = (),
    ) -> LiveRead:
        """As :meth:`vidtopics.online.OnlineClient.read_live`, of the one user that was logged."""
        part = self.part
        counts = [part.counts.get(video, (0, 0)) for video in video_ids]
        return LiveRead(
            [self.release.read(view, ids) for view, ids in parts],
            part.releases,
            part.since_us,
            part.states if user_id is not None else {},
            np.array(counts, np.int64).reshape(-1, 2),
        )
