"""A release as its batch left it: what recall and ranking read where `recall.live` is off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consumers.retrieval.recall import Store, Views
from vidtopics.online import Catalogue, Features


class ReleaseAlone:
    """A store whose queues, too, are those of the release: no event has moved them.

    Args:
        store: what all is read from.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def snapshot(self) -> ReleaseAlone:
        """A handle whose reads are all of one release."""
        return ReleaseAlone(self._store.snapshot())

    def directory(self) -> Views:
        """As the store's."""
        return self._store.directory()

    def read(self, view: str, ids: Sequence[str]) -> Features:
        """As the store's."""
        return self._store.read(view, ids)

    def read_entities(
        self, views: Sequence[str], ids: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Features]:
        """As the store's."""
        return self._store.read_entities(views, ids)

    def queues(
        self, names: Sequence[str], *, epoch: int, limit: Sequence[int], live: bool = True
    ) -> list[list[str]]:
        """As the batch ordered them, whatever `live` says."""
        return self._store.queues(names, epoch=epoch, limit=limit, live=False)

    def catalogue(self) -> Catalogue:
        """As the store's."""
        return self._store.catalogue()
