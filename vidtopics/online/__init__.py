"""The client of ranking services: features of many videos in one round trip.

They come as typed arrays with a status for each id.

It needs numpy and redis, nothing of Feast or Delta. What it reads, `vidtopics materialize` wrote::

    from vidtopics.online import OnlineClient

    client = OnlineClient.from_url("redis://localhost:6379")
    topics = client.read("video_topics", ["v0000001", "v0000002", "unknown"])
    topics["topic_ids"]     # int64[3, 8], -1 where a slot is unused
    topics["topic_weights"] # float32[3, 8]
    topics.status           # uint8[3]: Status.PRESENT, PRESENT, NOT_FOUND

What not every service needs is imported where it is used: :mod:`vidtopics.online.metrics`,
:mod:`vidtopics.online.serving_log`.
"""

from vidtopics.online.client import AsyncOnlineClient, OnlineClient
from vidtopics.online.connections import connect, connect_async
from vidtopics.online.features import Features, Status
from vidtopics.online.lists import Catalogue

__all__ = [
    "AsyncOnlineClient",
    "Catalogue",
    "Features",
    "OnlineClient",
    "Status",
    "connect",
    "connect_async",
]
