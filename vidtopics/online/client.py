"""The sync and the async client: one set of reads, two transports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import redis
import redis.asyncio

from vidtopics.layout import Directory
from vidtopics.online.connections import (
    AsyncCluster,
    AsyncConnection,
    Connection,
    connect,
    connect_async,
)
from vidtopics.online.drivers import drive, drive_async
from vidtopics.online.features import Features
from vidtopics.online.lists import QUEUES, Catalogue, QueueState, is_live
from vidtopics.online.reads import Parts, Read, Reads
from vidtopics.online.round_trip import send, send_async

if TYPE_CHECKING:
    from vidtopics.online.live import LiveStatistics, LiveUser
    from vidtopics.online.live_reads import LiveRead

T = TypeVar("T")


class OnlineClient(Reads[Connection]):
    """Reads features from a Redis server or cluster; safe to share between threads.

    >>> OnlineClient.from_url("redis://localhost:6379", prefix="vt", timeout_s=0.2).prefix
    'vt'
    """

    _connect = staticmethod(connect)
    _kinds = (redis.Redis, redis.RedisCluster)

    def read(self, view: str, ids: Sequence[str], names: Sequence[str] | None = None) -> Features:
        """Fields of one view (all, or `names`) for ids in their order; see :meth:`read_views`."""
        return self._run(self._views([view], ids, names))[view]

    def read_views(
        self, views: Sequence[str], ids: Sequence[str], names: Sequence[str] | None = None
    ) -> dict[str, Features]:
        """Several views of the same ids in one round trip.

        Raises:
            InputError: an id isn't UTF-8; TypeError: one is null or no text.
            StoreError: nothing was written under the prefix, a view is not there or has several
                join keys, the server is a node of a cluster, or a cluster redirects without end.
            redis.exceptions.RedisError: a server can't be reached, doesn't answer in time, or
                refuses.
        """
        return self._run(self._views(views, ids, names))

    def read_entities(
        self, views: Sequence[str] | str, ids: Mapping[str, Sequence[str]]
    ) -> dict[str, Features]:
        """Views of several entities in one round trip, each for the ids of its entity.

        Args:
            views: their names, or the name of a service: `ranking_v2`.
            ids: by entity (`video`, `user`), in the order of the result.

        Raises:
            InputError: no such service or entity, or no ids of a view's entity; else as
                :meth:`read_views`.
        """
        return self._run(self._entities(views, ids))

    def read_parts(
        self, parts: Parts, names: Sequence[str] | None = None, *, expired_values: bool = False
    ) -> list[Features]:
        """Views, each with ids of its own, in one round trip.

        `expired_values`: a value past its TTL is in the columns, with the status OUTSIDE_MAX_AGE.
        """
        return self._run(self._parts(parts, names, expired_values))

    def directory(self, views: Iterable[str] = (), *, fresh: bool = False) -> Directory:
        """The store's views and schemas: cached, read again if `fresh` or one of `views` lacks."""
        return self._run(self._current_directory(views, fresh=fresh))

    def recent_clicks(self, user_id: str) -> list[str]:
        """The user's clicked videos, newest first; empty where there are none."""
        return self._run(self._recent_clicks(user_id))

    def live_statistics(self, video_ids: Sequence[str]) -> LiveStatistics:
        """Exposures and clicks of videos up to the last event that was applied, in one round trip.

        Raises as :meth:`read_views`.
        """
        from vidtopics.online.live import live_statistics

        return self._run(live_statistics(self, video_ids))

    def live_user(self, user_id: str) -> LiveUser:
        """A user's counts, recent clicks and skips up to the last event, in one round trip.

        Raises as :meth:`read_views`.
        """
        from vidtopics.online.live import live_user

        return self._run(live_user(self, user_id))

    def read_live(
        self,
        parts: Sequence[tuple[str, Sequence[str]]],
        *,
        user_id: str | None = None,
        video_ids: Sequence[str] = (),
    ) -> LiveRead:
        """Views, each with ids of its own, and what events did since, in one round trip.

        Args:
            parts: views with their ids; the values are the release's.
            user_id: whose live state is read too.
            video_ids: whose live counts are.

        Raises as :meth:`read_views`.
        """
        from vidtopics.online.live_reads import read_live

        return self._run(read_live(self, parts, user_id, video_ids))

    def queues(
        self,
        names: Sequence[int | str],
        *,
        epoch: int,
        limit: int | Sequence[int],
        live: bool = True,
    ) -> list[list[str]]:
        """The first `limit` videos of each queue in one round trip, as events have moved it.

        Empty for an unknown queue or another epoch. Where nobody applies events, or the release has
        no live queues yet, the order is the batch's (:meth:`queue_state`).

        Args:
            names: of queues: a topic's number, `p3` for parent topic 3, `all` for the catalogue;
                with `:fresh` behind it, the queue's fresh videos (:func:`.layout.queue_name`).
            epoch: of the topics.
            limit: videos of each queue at most, of all alike or of each.
            live: false: the batch's order, as `popular_clicks` of the catalogue stand.
        """
        return self._run(self._queues(names, epoch, limit, live))

    def has_live_queues(self) -> bool:
        """Whether events have moved the queues of the release that is read."""
        directory = self.directory()
        return is_live(directory, directory.structures.get(QUEUES, {}).get("load", 0))

    def queue_state(self) -> QueueState | None:
        """Which queues these are and when events moved them last; None: there are no queues.

        One round trip; beside the version that a request's log may keep.
        """
        return self._run(self._queue_state())

    def catalogue(self) -> Catalogue:
        """The epoch of the queues; its topics and parents by falling clicks on their queues.

        Clicks are the release's: events move the queues alone.
        """
        return self._run(self._catalogue())

    def close(self) -> None:
        """Close the connections."""
        self.connection.close()

    def _run(self, read: Read[T]) -> T:
        return drive(read, partial(send, self.connection))


class AsyncOnlineClient(Reads[AsyncConnection]):
    """The same reads for asyncio."""

    _connect = staticmethod(connect_async)
    _kinds = (redis.asyncio.Redis, AsyncCluster)

    async def read(
        self, view: str, ids: Sequence[str], names: Sequence[str] | None = None
    ) -> Features:
        """As :meth:`OnlineClient.read`."""
        return (await self._run(self._views([view], ids, names)))[view]

    async def read_views(
        self, views: Sequence[str], ids: Sequence[str], names: Sequence[str] | None = None
    ) -> dict[str, Features]:
        """As :meth:`OnlineClient.read_views`."""
        return await self._run(self._views(views, ids, names))

    async def read_entities(
        self, views: Sequence[str] | str, ids: Mapping[str, Sequence[str]]
    ) -> dict[str, Features]:
        """As :meth:`OnlineClient.read_entities`."""
        return await self._run(self._entities(views, ids))

    async def read_parts(
        self, parts: Parts, names: Sequence[str] | None = None, *, expired_values: bool = False
    ) -> list[Features]:
        """As :meth:`OnlineClient.read_parts`."""
        return await self._run(self._parts(parts, names, expired_values))

    async def directory(self, views: Iterable[str] = (), *, fresh: bool = False) -> Directory:
        """As :meth:`OnlineClient.directory`."""
        return await self._run(self._current_directory(views, fresh=fresh))

    async def recent_clicks(self, user_id: str) -> list[str]:
        """As :meth:`OnlineClient.recent_clicks`."""
        return await self._run(self._recent_clicks(user_id))

    async def live_statistics(self, video_ids: Sequence[str]) -> LiveStatistics:
        """As :meth:`OnlineClient.live_statistics`."""
        from vidtopics.online.live import live_statistics

        return await self._run(live_statistics(self, video_ids))

    async def live_user(self, user_id: str) -> LiveUser:
        """As :meth:`OnlineClient.live_user`."""
        from vidtopics.online.live import live_user

        return await self._run(live_user(self, user_id))

    async def read_live(
        self,
        parts: Sequence[tuple[str, Sequence[str]]],
        *,
        user_id: str | None = None,
        video_ids: Sequence[str] = (),
    ) -> LiveRead:
        """As :meth:`OnlineClient.read_live`."""
        from vidtopics.online.live_reads import read_live

        return await self._run(read_live(self, parts, user_id, video_ids))

    async def queues(
        self,
        names: Sequence[int | str],
        *,
        epoch: int,
        limit: int | Sequence[int],
        live: bool = True,
    ) -> list[list[str]]:
        """As :meth:`OnlineClient.queues`."""
        return await self._run(self._queues(names, epoch, limit, live))

    async def queue_state(self) -> QueueState | None:
        """As :meth:`OnlineClient.queue_state`."""
        return await self._run(self._queue_state())

    async def catalogue(self) -> Catalogue:
        """As :meth:`OnlineClient.catalogue`."""
        return await self._run(self._catalogue())

    async def aclose(self) -> None:
        """Close the connections."""
        await self.connection.aclose()

    async def _run(self, read: Read[T]) -> T:
        return await drive_async(read, partial(send_async, self.connection))
