"""Queues that move with events: derived from a release's members and its generation's counts.

A list is a pure function of the members that the release's tables name and of the counts that the
generation has. Nothing is added up, so a refresh may be repeated, left out, or die anywhere: the
next one, whoever makes it, ends at the same lists.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from vidtopics.contracts import TOPIC_QUEUES
from vidtopics.events.changed_counts import ChangedCounts, ClosedError
from vidtopics.events.generations import Generation, keys_of, opened
from vidtopics.events.queue_lists import QueueLists
from vidtopics.events.queue_sets import QueueSet, begin, let_read, note
from vidtopics.layout import Directory, Watermark, place
from vidtopics.layout.live import LiveKeys, VideoState
from vidtopics.materialization.records import LiveRecord, parse_records
from vidtopics.online import OnlineClient
from vidtopics.online.connections import Connection
from vidtopics.online.lists import QUEUES, set_of
from vidtopics.tables import Tables
from vidtopics.tables.releases import Release, newest


class Ordering(Protocol):
    """The members of a release's queues, which orders them by the counts that it is told."""

    def update(self, changed: Mapping[bytes, VideoState]) -> set[str]:
        """Take the counts of videos; the names of the queues that these are in."""

    def queues(self) -> set[str]:
        """The names of all queues."""

    def lists(self, queues: Collection[str]) -> dict[str, list[bytes]]:
        """The lists of some queues by name, those of their fresh videos too; none of an unknown."""


LoadOrdering = Callable[[Tables, Release, Generation], Ordering]
"""Reads the members that a release's tables name, for a generation's counts."""


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes:
        queues: whose lists it wrote.
        of_release: whose tables the members are from.
        videos: whose counts may have changed since the last one.
        ordered: queues that were ordered again.
        written: lists that Redis had otherwise.
    """

    queues: QueueSet
    of_release: int
    videos: int
    ordered: int
    written: int


class QueueWork:
    """A set of queues in memory, as long as its members stay as they are.

    Args:
        connection: a server or a cluster.
        keys: of the prefix.
        generation: whose counts order the queues.
        queues: whose lists are written.
        of_release: whose tables the members are from.
        ordering: the members.
    """

    def __init__(
        self,
        connection: Connection,
        keys: LiveKeys,
        generation: Generation,
        queues: QueueSet,
        of_release: int,
        ordering: Ordering,
    ) -> None:
        self.connection, self.keys, self.queues = connection, keys, queues
        self.of_release, self.ordering = of_release, ordering
        self._counts = ChangedCounts(connection, keys, generation)
        self._lists = QueueLists(connection, keys, generation, queues)
        self._waiting = ordering.queues()  # whose lists may not be in Redis as they are due
        begin(connection, keys, queues)

    def refresh(self) -> Refreshed:
        """Order again what has changed, and write the lists that are otherwise in Redis."""
        changed = self._counts.look()
        self._waiting |= self.ordering.update(changed)
        outdated = {name.partition(":")[0] for name in self._lists.outdated()}
        self._waiting |= outdated
        lists: dict[str, list[bytes]] = {name: [] for queue in outdated for name in _names(queue)}
        lists |= self.ordering.lists(self._waiting)
        written = self._lists.write(lists)
        ordered, self._waiting = len(self._waiting), set()
        prefix, now_us = self.keys.prefix, time.time_ns() // 1000
        note(self.connection, prefix, self.queues, now_us, written)
        let_read(self.connection, prefix, self.queues, now_us)
        return Refreshed(self.queues, self.of_release, len(changed), ordered, written)


class QueueRefresher:
    """Keeps the live release's queues as the events that were applied say.

    Any number of them may work at the same time, over one prefix.

    Args:
        connection: a server or a cluster.
        prefix: of the keys.
        tables: the home's, which has the members.
        load: reads members.
    """

    def __init__(
        self, connection: Connection, prefix: str, tables: Tables, load: LoadOrdering
    ) -> None:
        self.connection, self.prefix, self.tables, self.load = connection, prefix, tables, load
        self._version: int | None = None
        self._work: QueueWork | None = None

    def refresh(self) -> Refreshed | None:
        """Bring the queues that readers go by to what was applied until now.

        None where there is nothing to order: no queues are live, or the release's generation isn't
        open, or its tables are another home's.

        Raises:
            StoreError: nothing was loaded under the prefix.
            TableError: a table of the release is missing or damaged.
            redis.exceptions.RedisError: a server can't be reached; call again.
        """
        try:
            self._follow()
            return self._work.refresh() if self._work else None
        except ClosedError:  # dropped, or a server lost it: the next one looks again
            self._forget()
            return None
        except BaseException:
            self._forget()  # what was read on the way is lost
            raise

    def _forget(self) -> None:
        self._work = self._version = None

    def _follow(self) -> None:
        """Take up the live release's queues where the directory has changed."""
        version = cast("bytes | None", self.connection.get(place(self.prefix, "directory")))
        if self._version is not None and version == str(self._version).encode():
            return
        directory = OnlineClient(self.connection, prefix=self.prefix).directory(fresh=True)
        texts = cast("dict[bytes, bytes]", self.connection.hgetall(place(self.prefix, "releases")))
        records = parse_records(texts)
        facts = directory.structures.get(QUEUES, {})
        if not facts.get("load"):
            self._work = None
            return
        queues = QueueSet(*set_of(directory, facts["load"]))
        of_release = _release_of_members(records, facts)
        if not self._is_at(queues, of_release, directory):
            self._work = self.take_up(queues, of_release)
        # A generation that isn't open yet opens without another version of the directory.
        self._version = directory.version if self._work else None

    def _is_at(self, queues: QueueSet, release: int, directory: Directory) -> bool:
        work = self._work
        return work is not None and (work.queues, work.of_release, work.keys.layout) == (
            queues,
            release,
            directory.layout,
        )

    def take_up(self, queues: QueueSet, of_release: int) -> QueueWork | None:
        """The queues of a release in memory; None where its generation isn't open.

        Also where the tables don't know the release.
        """
        generation = opened(self.connection, self.prefix).get(queues.release)
        if generation is None:
            return None
        release = next((r for r in newest(self.tables) if r.release_id == of_release), None)
        if release is None:
            return None
        ordering = self.load(self.tables, release, generation)
        keys = keys_of(self.connection, self.prefix)
        return QueueWork(self.connection, keys, generation, queues, of_release, ordering)


def prepare_queues(
    tables: Tables,
    connection: Connection,
    prefix: str,
    load_ordering: LoadOrdering,
    *,
    release: int,
    shown: str | None,
    load: int | None,
) -> int:
    """Write the live queues that a switch is about to make readable; how many lists.

    Nothing is done where nobody applies events, the generation isn't open (readers then see the
    batch's until a consumer has them), or the switch leaves queues and counts as they are.

    Args:
        tables: the home's.
        connection: a server or a cluster.
        prefix: of the keys.
        load_ordering: reads members.
        release: that the switch brings.
        shown: what the counts of videos will be of (`ViewEntry.source`); None: as before.
        load: of the queues that it brings; None: as before.
    """
    if not connection.exists(place(prefix, "applying")):
        return 0
    directory = OnlineClient(connection, prefix=prefix).directory(fresh=True)
    earlier = directory.structures.get(QUEUES, {}).get("load", 0)
    before = QueueSet(*set_of(directory, earlier))
    counted = Watermark.parse(shown.encode()).release if shown else before.release
    queues = QueueSet(counted, load or earlier)
    if not queues.load or queues == before:
        return 0
    try:
        work = QueueRefresher(connection, prefix, tables, load_ordering).take_up(queues, release)
        return work.refresh().written if work else 0
    except ClosedError:
        return 0


def _release_of_members(records: Sequence[LiveRecord], facts: Mapping[str, Any]) -> int:
    """The latest release whose queues are those of a load, though others brought nothing new.

    One that left its queues behind, as a table was damaged, isn't.
    """
    whole = [r.release for r in records if TOPIC_QUEUES.name not in r.incomplete]
    return max([*whole[-1:], int(facts["release"])])


def _names(queue: str) -> Sequence[str]:
    """The lists of a queue."""
    return queue, f"{queue}:fresh"
