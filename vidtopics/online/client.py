"""The sync and the async client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import redis

from vidtopics.layout import Directory, place
from vidtopics.online.connections import (
    MAX_CONNECTIONS,
    TIMEOUT_S,
    AsyncCluster,
    AsyncConnection,
    Connection,
    connect,
    connect_async,
    refuse_decoding,
)
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
)
from vidtopics.online.round_trip import send, send_async

if TYPE_CHECKING:
    from vidtopics.online.metrics import OnlineMetrics
    from vidtopics.online.serving_log import ServingLog

Parts = Sequence[tuple[str, Sequence[bytes]]]


def batched(connection: Connection | AsyncConnection, request: Request) -> Batches:
    """The request's keys as its store takes them."""
    if isinstance(connection, redis.RedisCluster | AsyncCluster):
        return Batches.of_cluster(request)
    return Batches.whole(request)


class OnlineClient:
    """Reads features from a Redis server or cluster; safe to share between threads.

    >>> OnlineClient.from_url("redis://localhost:6379", prefix="vt", timeout_s=0.2).prefix
    'vt'
    """

    def __init__(
        self,
        connection: Connection,
        *,
        prefix: str = "vt",
        log: ServingLog | None = None,
        metrics: OnlineMetrics | None = None,
    ) -> None:
        refuse_decoding(connection)
        self.connection = connection
        self.prefix = prefix
        self.log = log
        self.metrics = metrics
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
    ) -> OnlineClient:
        """A client with a connection pool of its own; see :func:`vidtopics.online.connect`."""
        connection = connect(url, timeout_s=timeout_s, max_connections=max_connections)
        return cls(connection, prefix=prefix, log=log, metrics=metrics)

    def read(self, view: str, ids: Sequence[str], names: Sequence[str] | None = None) -> Features:
        """Fields of one view (all, or `names`) for ids in their order; see :meth:`read_views`."""
        return self.read_views([view], ids, names)[view]

    def read_views(
        self, views: Sequence[str], ids: Sequence[str], names: Sequence[str] | None = None
    ) -> dict[str, Features]:
        """Several views of the same ids in one round trip.

        Raises:
            InputError: an id isn't UTF-8; TypeError: one is null or no text.
            StoreError: nothing was written under the prefix, a view is not there or has several
                join keys, or the server is a node of a cluster.
            redis.exceptions.RedisError: a server can't be reached, doesn't answer in time, or refuses.
        """
        names_of = encoded(ids)
        unique = list(dict.fromkeys(views))
        found = self.read_parts([(view, names_of) for view in unique], names)
        check_one_key(self.directory(), unique)
        return dict(zip(unique, found, strict=True))

    def read_parts(
        self, parts: Parts, names: Sequence[str] | None = None, *, expired_values: bool = False
    ) -> list[Features]:
        """Views, each with ids of its own, in one round trip.

        `expired_values`: a value past its TTL is in the columns, with the status OUTSIDE_MAX_AGE.
        """
        if self.metrics is None:
            return self._read_parts(parts, names, expired_values)
        with self.metrics.reading() as answers:
            found = self._read_parts(parts, names, expired_values)
            answers.extend(zip((view for view, _ in parts), found, strict=True))
        return found

    def _read_parts(
        self, parts: Parts, names: Sequence[str] | None, expired_values: bool
    ) -> list[Features]:
        for fresh in (False, True, True):
            request = Request.of(self.directory([view for view, _ in parts], fresh=fresh), parts)
            began_ns = self.log.begin(request.directory) if self.log else 0
            batches = batched(self.connection, request)
            answers = batches.answers(send(self.connection, batches.commands))
            if request.stale(answers):
                continue
            found = request.features(answers, names, expired_values=expired_values)
            # On a cluster a value may come from a node that is ahead of the directory's: look there
            # again, once.
            if fresh or not any(f.unknown_schema for f in found):
                break
        else:
            found = request.features(answers, names, expired_values=expired_values)
        if self.log:
            self.log.offer(began_ns, request.directory, parts, found)
        return found

    def directory(self, views: Iterable[str] = (), *, fresh: bool = False) -> Directory:
        """What is in the store; read once, and again where it has changed or doesn't hold all of `views`."""
        found = (
            self._directory
        )  # of this call: another thread may put an older one in its place at any time
        if found is None or fresh or not found.views.keys() >= set(views):
            answers = send(self.connection, directory_commands(self.prefix))
            found = self._directory = Directory.parse(self.prefix, *answers)
        return found

    def recent_clicks(self, user_id: str) -> list[str]:
        """The user's clicked videos, newest first; empty for an unknown user."""
        encoded([user_id])
        return self._lists(lambda names: [names.clicks(user_id)])[0]

    def queues(self, topic_ids: Sequence[int], *, epoch: int, limit: int) -> list[list[str]]:
        """The first `limit` videos of each topic's queue in one round trip; empty for an unknown topic or another epoch."""
        if limit < 1:
            return [[] for _ in topic_ids]  # LRANGE 0 -1 would give all
        return self._lists(lambda names: [names.queue(epoch, t) for t in topic_ids], limit)

    def catalogue(self) -> Catalogue:
        """The epoch of the topic queues, and its topics by falling number of clicks on their queues' videos."""
        (text,) = send(
            self.connection, [("HGET", place(self.prefix, "structures"), "topic_queues")]
        )
        return Catalogue.parse(self.prefix, text)

    def close(self) -> None:
        """Close the connections."""
        self.connection.close()

    def _lists(self, keys: ListKeys, limit: int | None = None) -> list[list[str]]:
        for fresh in (False, True, True):
            request = ListRequest.of(self.directory(fresh=fresh), keys, limit)
            answers = send(self.connection, request.commands)
            if not request.stale(answers):
                break
        return request.lists(answers)


class AsyncOnlineClient:
    """The same reads for asyncio."""

    def __init__(
        self,
        connection: AsyncConnection,
        *,
        prefix: str = "vt",
        log: ServingLog | None = None,
        metrics: OnlineMetrics | None = None,
    ) -> None:
        refuse_decoding(connection)
        self.connection = connection
        self.prefix = prefix
        self.log = log
        self.metrics = metrics
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
    ) -> AsyncOnlineClient:
        """As :meth:`OnlineClient.from_url`."""
        connection = connect_async(url, timeout_s=timeout_s, max_connections=max_connections)
        return cls(connection, prefix=prefix, log=log, metrics=metrics)

    async def read(
        self, view: str, ids: Sequence[str], names: Sequence[str] | None = None
    ) -> Features:
        """As :meth:`OnlineClient.read`."""
        return (await self.read_views([view], ids, names))[view]

    async def read_views(
        self, views: Sequence[str], ids: Sequence[str], names: Sequence[str] | None = None
    ) -> dict[str, Features]:
        """As :meth:`OnlineClient.read_views`."""
        names_of = encoded(ids)
        unique = list(dict.fromkeys(views))
        found = await self.read_parts([(view, names_of) for view in unique], names)
        check_one_key(await self.directory(), unique)
        return dict(zip(unique, found, strict=True))

    async def read_parts(
        self, parts: Parts, names: Sequence[str] | None = None, *, expired_values: bool = False
    ) -> list[Features]:
        """As :meth:`OnlineClient.read_parts`."""
        if self.metrics is None:
            return await self._read_parts(parts, names, expired_values)
        with self.metrics.reading() as answers:
            found = await self._read_parts(parts, names, expired_values)
            answers.extend(zip((view for view, _ in parts), found, strict=True))
        return found

    async def _read_parts(
        self, parts: Parts, names: Sequence[str] | None, expired_values: bool
    ) -> list[Features]:
        for fresh in (False, True, True):
            request = Request.of(
                await self.directory([view for view, _ in parts], fresh=fresh), parts
            )
            began_ns = self.log.begin(request.directory) if self.log else 0
            batches = batched(self.connection, request)
            answers = batches.answers(await send_async(self.connection, batches.commands))
            if request.stale(answers):
                continue
            found = request.features(answers, names, expired_values=expired_values)
            # On a cluster a value may come from a node that is ahead of the directory's: look there
            # again, once.
            if fresh or not any(f.unknown_schema for f in found):
                break
        else:
            found = request.features(answers, names, expired_values=expired_values)
        if self.log:
            self.log.offer(began_ns, request.directory, parts, found)
        return found

    async def directory(self, views: Iterable[str] = (), *, fresh: bool = False) -> Directory:
        """As :meth:`OnlineClient.directory`."""
        found = self._directory
        if found is None or fresh or not found.views.keys() >= set(views):
            answers = await send_async(self.connection, directory_commands(self.prefix))
            found = self._directory = Directory.parse(self.prefix, *answers)
        return found

    async def recent_clicks(self, user_id: str) -> list[str]:
        """As :meth:`OnlineClient.recent_clicks`."""
        encoded([user_id])
        return (await self._lists(lambda names: [names.clicks(user_id)]))[0]

    async def queues(self, topic_ids: Sequence[int], *, epoch: int, limit: int) -> list[list[str]]:
        """As :meth:`OnlineClient.queues`."""
        if limit < 1:
            return [[] for _ in topic_ids]
        return await self._lists(lambda names: [names.queue(epoch, t) for t in topic_ids], limit)

    async def catalogue(self) -> Catalogue:
        """As :meth:`OnlineClient.catalogue`."""
        (text,) = await send_async(
            self.connection, [("HGET", place(self.prefix, "structures"), "topic_queues")]
        )
        return Catalogue.parse(self.prefix, text)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.connection.aclose()

    async def _lists(self, keys: ListKeys, limit: int | None = None) -> list[list[str]]:
        for fresh in (False, True, True):
            request = ListRequest.of(await self.directory(fresh=fresh), keys, limit)
            answers = await send_async(self.connection, request.commands)
            if not request.stale(answers):
                break
        return request.lists(answers)
