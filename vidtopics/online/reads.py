"""What both clients do, without the waiting.

Each read is a generator: it yields the commands of one round trip, is sent their answers (or
thrown the transport's error) and returns its result. A client drives it with its own transport.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import redis

from vidtopics.layout import Directory, Structures
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
from vidtopics.online.requests import (
    Batches,
    Catalogue,
    ListKeys,
    ListRequest,
    Request,
    check_one_key,
    directory_commands,
    encoded,
    queues_number,
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
FRESH = (False, True, True)
"""Attempts of a read: with the cached directory, then with one that was just read."""


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
        self._directory: Directory | None = None

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

    def _views(
        self, views: Sequence[str], ids: Sequence[str], names: Sequence[str] | None
    ) -> Read[dict[str, Features]]:
        id_bytes = encoded(ids)
        unique = list(dict.fromkeys(views))
        features = yield from self._parts([(view, id_bytes) for view in unique], names, False)
        check_one_key((yield from self._current_directory()), unique)
        return dict(zip(unique, features, strict=True))

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
            began_ns = self.log.begin(directory) if self.log else 0
            batches = self._batches(request)
            answers = batches.answers((yield batches.commands))
            if request.stale(answers):
                continue
            features = request.features(answers, names, expired_values=expired_values)
            # On a cluster a value may come from a node that is ahead of the directory's: look there
            # again, once.
            if fresh or not any(f.unknown_schema for f in features):
                break
        else:
            features = request.features(answers, names, expired_values=expired_values)
        if self.log:
            self.log.offer(began_ns, directory, parts, features)
        return features

    def _current_directory(
        self, views: Iterable[str] = (), *, fresh: bool = False
    ) -> Read[Directory]:
        directory = self._directory  # another thread may replace the attribute by an older one
        if directory is None or fresh or not directory.views.keys() >= set(views):
            answers = yield directory_commands(self.prefix)
            directory = self._directory = Directory.parse(self.prefix, *answers)
        return directory

    def _recent_clicks(self, user_id: str) -> Read[list[str]]:
        encoded([user_id])
        (videos,) = yield from self._lists(lambda _, names: [names.clicks(user_id)], None)
        return videos

    def _queues(self, topic_ids: Sequence[int], epoch: int, limit: int) -> Read[list[list[str]]]:
        if limit < 1:
            return [[] for _ in topic_ids]  # LRANGE 0 -1 would give all

        def keys(directory: Directory, names: Structures) -> Iterable[bytes]:
            number = queues_number(directory, epoch)
            return [] if number is None else [names.queue(number, t) for t in topic_ids]

        return (yield from self._lists(keys, limit)) or [[] for _ in topic_ids]

    def _lists(self, keys: ListKeys, limit: int | None) -> Read[list[list[str]]]:
        for fresh in FRESH:
            directory = yield from self._current_directory(fresh=fresh or self._is_unversioned)
            request = ListRequest.of(directory, keys, limit)
            answers = yield request.commands
            if not request.stale(answers):
                break
        return request.lists(answers)

    def _catalogue(self) -> Read[Catalogue]:
        for fresh in FRESH:
            directory = yield from self._current_directory(fresh=fresh or self._is_unversioned)
            request = ListRequest.of(directory, lambda directory, names: [], None)
            if not request.stale((yield request.commands)):
                break
        return Catalogue.of(directory)

    @property
    def _is_unversioned(self) -> bool:
        """Whether lists may have changed without the directory's version, as under layout 1."""
        return self._directory is not None and self._directory.layout.version == 1
