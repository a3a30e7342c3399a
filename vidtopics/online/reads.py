"""What both clients do, without the waiting.

Each read is a generator: it yields the commands of one round trip, is sent their answers (or
thrown the transport's error) and returns its result. A client drives it with its own transport.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, cast

import redis

from vidtopics.contracts import USER_RECENT_CLICKS
from vidtopics.errors import StoreError, explain
from vidtopics.layout import Directory, place
from vidtopics.online.connections import (
    MAX_CONNECTIONS,
    TIMEOUT_S,
    AsyncCluster,
    AsyncConnection,
    Connection,
    check_connection,
)
from vidtopics.online.drivers import Exchange
from vidtopics.online.features import Features
from vidtopics.online.lists import (
    QUEUES,
    Catalogue,
    ListKeys,
    ListRequest,
    QueueState,
    queue_key,
    queues_number,
)
from vidtopics.online.requests import (
    Batches,
    Request,
    check_one_key,
    directory_commands,
    encoded,
    entity_ids,
    ids_of_view,
    views_of,
)
from vidtopics.online.round_trip import Command

if TYPE_CHECKING:
    from collections.abc import Callable

    from vidtopics.online.metrics import OnlineMetrics
    from vidtopics.online.serving_log import ServingLog

Parts = Sequence[tuple[str, Sequence[bytes]]]
"""Views, each with the ids to read of it."""
C = TypeVar("C", Connection, AsyncConnection)
T = TypeVar("T")
Read = Exchange[Sequence[Command], list[Any], T]
CLICKED_VIDEOS = "recent_video_ids"
FRESH = (False, True, True)
"""Attempts of a read: with the cached directory, then with one that was just read."""


@dataclass
class _Cache:
    """The directory that was read last; a client and its snapshots share it."""

    directory: Directory | None = None


class Reads(Generic[C]):
    """The reads of a client, and what it keeps between them: the last directory."""

    _connect: ClassVar[Callable[..., Any]]
    _kinds: ClassVar[tuple[type, ...]]

    def __init__(
        self,
        connection: C,
        *,
        prefix: str = "vt",
        log: ServingLog | None = None,
        metrics: OnlineMetrics | None = None,
    ) -> None:
        check_connection(connection, self._kinds)
        self.connection: C = connection
        self.prefix = prefix
        self.log = log
        self.metrics = metrics
        self._batches = (
            Batches.of_cluster
            if isinstance(connection, redis.RedisCluster | AsyncCluster)
            else Batches.whole
        )
        self._cache = _Cache()
        self._is_snapshot = False
        self._pinned: Directory | None = None

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = "vt",
        log: ServingLog | None = None,
        metrics: OnlineMetrics | None = None,
        timeout_s: float = TIMEOUT_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> Self:
        """A client with a connection pool of its own; see :func:`vidtopics.online.connect`."""
        connection = cls._connect(url, timeout_s=timeout_s, max_connections=max_connections)
        return cls(connection, prefix=prefix, log=log, metrics=metrics)

    def snapshot(self) -> Self:
        """A handle whose reads are all of one release, whatever goes live meanwhile.

        It shares the client's connections and takes its directory with its first read. Its reads
        raise StoreError once what they need is no longer retained (`online.keep` after the next
        release, or the next rebuild of a view that only Feast writes). For one request, not to be
        held for long.
        """
        handle = copy(self)
        handle._is_snapshot = True
        return handle

    def _views(
        self, views: Sequence[str], ids: Sequence[str], names: Sequence[str] | None
    ) -> Read[dict[str, Features]]:
        id_bytes = encoded(ids)
        unique = list(dict.fromkeys(views))
        features = yield from self._parts([(view, id_bytes) for view in unique], names, False)
        check_one_key((yield from self._current_directory()), unique)
        return dict(zip(unique, features, strict=True))

    def _entities(
        self, views: Sequence[str] | str, ids: Mapping[str, Sequence[str]]
    ) -> Read[dict[str, Features]]:
        names = views_of(views)
        id_bytes = entity_ids(ids)
        directory = yield from self._current_directory(names)
        parts = [(view, ids_of_view(directory, view, id_bytes)) for view in names]
        features = yield from self._parts(parts, None, False)
        return dict(zip(names, features, strict=True))

    def _parts(
        self, parts: Parts, names: Sequence[str] | None, expired_values: bool
    ) -> Read[list[Features]]:
        if self.metrics is None:
            return (yield from self._features(parts, names, expired_values))
        with self.metrics.reading() as answers:
            features = yield from self._features(parts, names, expired_values)
            answers.extend(zip((view for view, _ in parts), features, strict=True))
        return features

    def _features(
        self, parts: Parts, names: Sequence[str] | None, expired_values: bool
    ) -> Read[list[Features]]:
        views = [view for view, _ in parts]
        for fresh in FRESH:
            directory = yield from self._current_directory(views, fresh=fresh)
            request = Request.of(directory, parts)
            batches = self._batches(request)
            answers = batches.answers((yield batches.commands))
            if not (yield from self._are_valid(request, answers, views)):
                continue
            features = request.features(answers, names, expired_values=expired_values)
            # On a cluster a value may come from a node that is ahead of the directory's: look there
            # again, once.
            if fresh or self._pinned or not any(f.unknown_schema for f in features):
                break
        else:
            features = request.features(answers, names, expired_values=expired_values)
        self._pin(directory)
        if self.log:
            self.log.offer(directory, parts, features)
        return features

    def _current_directory(
        self, views: Iterable[str] = (), *, fresh: bool = False
    ) -> Read[Directory]:
        if self._pinned:
            return self._pinned
        directory = self._cache.directory  # another thread may replace it by an older one
        if directory is None or fresh or not directory.views.keys() >= set(views):
            answers = yield directory_commands(self.prefix)
            directory = self._cache.directory = Directory.parse(self.prefix, *answers)
        return directory

    def _pin(self, directory: Directory) -> None:
        """Let a snapshot stay with the directory of its first read."""
        if self._is_snapshot:
            self._pinned = directory

    def _are_valid(
        self, request: Request | ListRequest, answers: Sequence[Any], names: Iterable[str]
    ) -> Read[bool]:
        """Whether the directory hasn't changed, or what a snapshot read is retained still.

        `names`: the views, and the lists that go with releases, that were read.
        """
        if not request.stale(answers):
            return True
        if self._pinned is None:
            return False
        load = str(self._pinned.load)
        is_retained, *current = yield [
            ("HGET", place(self.prefix, "releases"), load),
            *directory_commands(self.prefix),
        ]
        # Asked after the values: what is retained now was so when they were read.
        if not is_retained and not self._pinned.reads_alike(
            Directory.parse(self.prefix, *current), names
        ):
            raise _snapshot_gone(self.prefix, load)
        return True

    def _recent_clicks(self, user_id: str) -> Read[list[str]]:
        ids, view = encoded([user_id]), USER_RECENT_CLICKS.name
        directory = yield from self._current_directory([view])
        if view not in directory.views:  # nobody has clicked yet
            return []
        [features] = yield from self._parts([(view, ids)], [CLICKED_VIDEOS], False)
        videos = cast("list[str] | None", features[CLICKED_VIDEOS][0])
        return videos or []

    def _queues(
        self, names: Sequence[int | str], epoch: int, limit: int | Sequence[int], live: bool
    ) -> Read[list[list[str]]]:
        limits = [limit] * len(names) if isinstance(limit, int) else limit
        if not names or min(limits) < 1:
            return [[] for _ in names]  # LRANGE 0 -1 would give all

        def keys(directory: Directory) -> Iterable[bytes]:
            load = queues_number(directory, epoch)
            if load is None:
                return []
            return [queue_key(directory, load, name, live=live) for name in names]

        _, lists = yield from self._lists(keys, limits, [QUEUES])
        return lists or [[] for _ in names]

    def _lists(
        self, keys: ListKeys, limits: Sequence[int] | None, names: Iterable[str]
    ) -> Read[tuple[Directory, list[list[str]]]]:
        for fresh in FRESH:
            directory = yield from self._current_directory(fresh=fresh or self._is_unversioned)
            request = ListRequest.of(directory, keys, limits)
            answers = yield request.commands
            if (yield from self._are_valid(request, answers, names)):
                break
        self._pin(directory)
        return directory, request.lists(answers)

    def _queue_state(self) -> Read[QueueState | None]:
        for fresh in FRESH:
            directory = yield from self._current_directory(fresh=fresh)
            load: int = directory.structures.get(QUEUES, {}).get("load", 0)
            if not load:
                return None
            request = ListRequest(
                directory,
                [QueueState.command(directory, load), ("GET", place(self.prefix, "directory"))],
            )
            answers = yield request.commands
            if (yield from self._are_valid(request, answers, [QUEUES])):
                break
        self._pin(directory)
        return QueueState.of(directory, load, answers[0])

    def _catalogue(self) -> Read[Catalogue]:
        if self._pinned:
            return Catalogue.of(self._pinned)
        directory, _ = yield from self._lists(lambda directory: [], None, [])
        return Catalogue.of(directory)

    @property
    def _is_unversioned(self) -> bool:
        """Whether lists may have changed without the directory's version, as under layout 1."""
        directory = self._cache.directory
        return directory is not None and directory.layout.version == 1


def _snapshot_gone(prefix: str, load: str) -> StoreError:
    """The error of a snapshot whose values, or some of them, may be gone."""
    return StoreError(
        explain(
            f"Redis, prefix {prefix!r}, a snapshot at load {load}",
            expected="its release to be retained",
            found="that others took its place",
            mend="take a new snapshot and read again; `online.keep` is how long releases stay",
        )
    )
