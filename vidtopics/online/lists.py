"""A read of lists without its transport: topic queues and their catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vidtopics.contracts import VIDEO_STATISTICS
from vidtopics.errors import StoreError, explain
from vidtopics.layout import Directory, Structures, Watermark, place
from vidtopics.layout.live import QUEUE_REFRESHES, LiveKeys
from vidtopics.online.requests import is_stale

ListKeys = Callable[[Directory], Iterable[bytes]]
QUEUES = "topic_queues"
LEVELS = ("topics", "parents", "parent_clicks", "popular_clicks")
WITHOUT_PARENTS: Mapping[str, Any] = MappingProxyType(
    {"parents": [], "parent_clicks": [], "popular_clicks": []}
)
"""Facts of queues that layout 1 lacks."""


def queues_number(directory: Directory, epoch: int) -> int | None:
    """The number in the keys of an epoch's topic queues; None where they are of another epoch.

    It is the load that brought them; under layout 1 it was the epoch.
    """
    facts = directory.structures.get(QUEUES, {})
    return facts.get("load", epoch) if facts.get("epoch") == epoch else None


def release_of(directory: Directory, view: str) -> int:
    """The release whose generation goes with a view's values; 0: none, only Feast wrote them."""
    source = directory.view(view).source
    return Watermark.parse(source.encode()).release if source else 0


def set_of(directory: Directory, load: int) -> tuple[int, int]:
    """The live queues that go with a load's: their release and the load.

    Release 0: no batch counted the videos, so that no events are added to its counts.
    """
    view = VIDEO_STATISTICS.name
    return release_of(directory, view) if view in directory.views else 0, load


def is_live(directory: Directory, load: int) -> bool:
    """Whether events have moved the queues of a load."""
    release, _ = set_of(directory, load)
    return f"{release}:{load}" in directory.live_queues


def queue_key(directory: Directory, load: int, name: int | str, *, live: bool = True) -> bytes:
    """The list that readers go by: as events have moved it, else (or not `live`) the batch's."""
    if live and is_live(directory, load):
        release, _ = set_of(directory, load)
        return LiveKeys(directory.prefix, directory.layout).queue(release, load, name)
    return Structures(directory.prefix, directory.layout).queue(load, name)


@dataclass(frozen=True)
class QueueState:
    """Which queues readers get, and how old they are.

    Attributes:
        release: the release whose events have moved them; 0: none has, they are the batch's.
        load: the load that brought the batch's.
        version: rises with each refresh that wrote a list, behind its last; 0: the batch's.
        refreshed_us: when the last refresh ended, by the consumer's clock, microseconds; 0: none.
    """

    release: int
    load: int
    version: int = 0
    refreshed_us: int = 0

    @staticmethod
    def command(directory: Directory, load: int) -> tuple[Any, ...]:
        """What asks for it."""
        name = "{}:{}".format(*set_of(directory, load))
        return "HMGET", place(directory.prefix, QUEUE_REFRESHES), name, f"{name}:version"

    @classmethod
    def of(cls, directory: Directory, load: int, answer: Sequence[bytes | None]) -> QueueState:
        """From the answer."""
        release, _ = set_of(directory, load)
        if f"{release}:{load}" not in directory.live_queues:
            return cls(0, load)
        refreshed_us, version = (int(number or 0) for number in answer)
        return cls(release, load, version, refreshed_us)


@dataclass(frozen=True)
class ListRequest:
    """The first elements of some lists, and behind them the directory's version.

    On a server commands that come together may have others between them: a change of the directory
    before or among the lists shows in a version that is read last. A cluster's nodes answer each
    for itself; there a change that comes at the same moment shows with the next request.
    """

    directory: Directory
    commands: list[tuple[Any, ...]]

    @classmethod
    def of(cls, directory: Directory, keys: ListKeys, limits: Sequence[int] | None) -> ListRequest:
        """The request for the lists that `keys` names, of so many elements at most (None: all)."""
        names = [*keys(directory)]
        ends = [-1] * len(names) if limits is None else [limit - 1 for limit in limits]
        lists = [("LRANGE", key, 0, end) for key, end in zip(names, ends, strict=False)]
        return cls(directory, [*lists, ("GET", place(directory.prefix, "directory"))])

    def stale(self, answers: Sequence[Any]) -> bool:
        """Whether the directory has changed since it was read."""
        return is_stale(self.directory, answers[-1])

    def lists(self, answers: Sequence[Any]) -> list[list[str]]:
        """The lists in their order; empty where there is none."""
        return [[v.decode() for v in videos] for videos in answers[:-1]]


@dataclass(frozen=True)
class Catalogue:
    """The epoch of the queues; topics and parent topics by falling number of clicks."""

    epoch: int
    topics: tuple[int, ...]
    parents: tuple[int, ...] = ()
    parent_clicks: tuple[float, ...] = ()
    """Of each parent, the decayed clicks on its queue."""
    popular_clicks: tuple[float, ...] = ()
    """Of each video in the catalogue's queue, in its order, the decayed clicks."""
    global_ctr: float | None = None
    """Clicks over exposures of all videos; None: an earlier version loaded the queues."""

    @classmethod
    def of(cls, directory: Directory) -> Catalogue:
        """From the directory; StoreError where no queue was written, or none of parent topics."""
        facts = directory.structures.get(QUEUES)
        if facts is not None and directory.layout.version == 1:
            facts = {**WITHOUT_PARENTS, **facts}
        if facts is None or "popular_clicks" not in facts:
            raise StoreError(
                explain(
                    f"Redis, prefix {directory.prefix!r}",
                    expected="queues of topics, of their parents and of the catalogue",
                    found="none" if facts is None else "queues of an earlier version",
                    mend="run `vidtopics run` and `vidtopics materialize`",
                )
            )
        topics, parents, parent_clicks, popular_clicks = (tuple(facts[name]) for name in LEVELS)
        rate = facts.get("global_ctr")
        return cls(facts["epoch"], topics, parents, parent_clicks, popular_clicks, rate)
