"""The sync and the async client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import redis
import redis.asyncio

from vidtopics.layout import Directory, Structures, place
from vidtopics.online.features import Features
from vidtopics.online.requests import Catalogue, Request, ask, encoded
from vidtopics.online.serving_log import ServingLog

Answers = list[bytes | None]


class OnlineClient:
    """Reads features from one Redis server; safe to share between threads.

    >>> OnlineClient.from_url("redis://localhost:6379", prefix="vt").prefix
    'vt'
    """

    def __init__(self, connection: redis.Redis, *, prefix: str = "vt", log: ServingLog | None = None) -> None:
        self.connection = connection
        self.prefix = prefix
        self.log = log
        self._directory: Directory | None = None

    @classmethod
    def from_url(cls, url: str, *, prefix: str = "vt", log: ServingLog | None = None, **options: Any) -> OnlineClient:
        """A client with its own connection pool; `options` are redis-py's (timeouts, TLS, `max_connections`)."""
        return cls(redis.Redis.from_url(url, **options), prefix=prefix, log=log)

    def read(self, view: str, ids: Sequence[str], names: Sequence[str] | None = None) -> Features:
        """Fields of one view (all, or `names`) for ids in their order; see :meth:`read_views`."""
        return self.read_views([view], ids, names)[view]

    def read_views(
        self, views: Sequence[str], ids: Sequence[str], names: Sequence[str] | None = None
    ) -> dict[str, Features]:
        """Several views of the same ids in one round trip.

        Raises:
            StoreError: nothing was written under the prefix, or a view is not there.
            redis.exceptions.RedisError: the server can't be reached or refuses.
        """
        names_of = encoded(ids)
        unique = list(dict.fromkeys(views))
        return dict(zip(unique, self.read_parts([(view, names_of) for view in unique], names), strict=True))

    def read_parts(
        self, parts: Sequence[tuple[str, Sequence[bytes]]], names: Sequence[str] | None = None
    ) -> list[Features]:
        """Views, each with ids of its own, in one round trip."""
        for fresh in (False, True, True):
            request = Request.of(self.directory([view for view, _ in parts], fresh=fresh), parts)
            began_ns = self.log.begin(request.directory) if self.log else 0
            answers = cast("Answers", self.connection.mget(cast("list[str]", request.keys)))
            if not request.stale(answers):
                break
        found = request.features(answers, names)
        if self.log:
            self.log.offer(began_ns, request.directory, parts, found)
        return found

    def directory(self, views: Iterable[str] = (), *, fresh: bool = False) -> Directory:
        """What is in the store; read once, and again where it has changed or doesn't hold all of `views`."""
        if self._directory is None or fresh or not self._directory.views.keys() >= set(views):
            pipe = self.connection.pipeline(transaction=True)
            ask(pipe, self.prefix)
            self._directory = Directory.parse(self.prefix, *pipe.execute())
        return self._directory

    def recent_clicks(self, user_id: str) -> list[str]:
        """The user's clicked videos, newest first; empty for an unknown user."""
        key = self._structures().clicks(user_id)
        return [v.decode() for v in cast("list[bytes]", self.connection.lrange(cast("str", key), 0, -1))]

    def queues(self, topic_ids: Sequence[int], *, epoch: int, limit: int) -> list[list[str]]:
        """The first `limit` videos of each topic's queue in one round trip; empty for an unknown topic or another epoch."""
        if limit < 1:
            return [[] for _ in topic_ids]  # LRANGE 0 -1 would give all
        structures, pipe = self._structures(), self.connection.pipeline(transaction=False)
        for topic in topic_ids:
            pipe.lrange(cast("str", structures.queue(epoch, topic)), 0, limit - 1)
        return [[v.decode() for v in videos] for videos in pipe.execute()]

    def topic_epoch(self) -> int:
        """The epoch that topic queues are of."""
        return self._catalogue().epoch

    def popular_topics(self) -> list[int]:
        """Topics of that epoch by falling number of clicks on their queues' videos."""
        return list(self._catalogue().topics)

    def _structures(self) -> Structures:
        return Structures(self.prefix, self.directory().buckets)

    def _catalogue(self) -> Catalogue:
        text = self.connection.hget(place(self.prefix, "structures"), "topic_queues")
        return Catalogue.parse(self.prefix, cast("bytes | None", text))


class AsyncOnlineClient:
    """The same reads for asyncio."""

    def __init__(self, connection: redis.asyncio.Redis, *, prefix: str = "vt", log: ServingLog | None = None) -> None:
        self.connection = connection
        self.prefix = prefix
        self.log = log
        self._directory: Directory | None = None

    @classmethod
    def from_url(
        cls, url: str, *, prefix: str = "vt", log: ServingLog | None = None, **options: Any
    ) -> AsyncOnlineClient:
        """A client with its own connection pool; `options` are redis-py's."""
        return cls(redis.asyncio.Redis.from_url(url, **options), prefix=prefix, log=log)

    async def read(self, view: str, ids: Sequence[str], names: Sequence[str] | None = None) -> Features:
        """As :meth:`OnlineClient.read`."""
        return (await self.read_views([view], ids, names))[view]

    async def read_views(
        self, views: Sequence[str], ids: Sequence[str], names: Sequence[str] | None = None
    ) -> dict[str, Features]:
        """As :meth:`OnlineClient.read_views`."""
        names_of = encoded(ids)
        unique = list(dict.fromkeys(views))
        return dict(zip(unique, await self.read_parts([(view, names_of) for view in unique], names), strict=True))

    async def read_parts(
        self, parts: Sequence[tuple[str, Sequence[bytes]]], names: Sequence[str] | None = None
    ) -> list[Features]:
        """As :meth:`OnlineClient.read_parts`."""
        for fresh in (False, True, True):
            request = Request.of(await self.directory([view for view, _ in parts], fresh=fresh), parts)
            began_ns = self.log.begin(request.directory) if self.log else 0
            answers = cast("Answers", await self.connection.mget(cast("list[str]", request.keys)))
            if not request.stale(answers):
                break
        found = request.features(answers, names)
        if self.log:
            self.log.offer(began_ns, request.directory, parts, found)
        return found

    async def directory(self, views: Iterable[str] = (), *, fresh: bool = False) -> Directory:
        """As :meth:`OnlineClient.directory`."""
        if self._directory is None or fresh or not self._directory.views.keys() >= set(views):
            pipe = self.connection.pipeline(transaction=True)
            ask(pipe, self.prefix)
            self._directory = Directory.parse(self.prefix, *await pipe.execute())
        return self._directory

    async def aclose(self) -> None:
        """Close the connections."""
        await self.connection.aclose()
