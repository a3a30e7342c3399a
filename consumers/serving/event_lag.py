"""How long events have waited to be seen, as a look at the live release finds it."""

from __future__ import annotations

from redis.exceptions import NoPermissionError

from vidtopics.errors import explain
from vidtopics.events.generations import lags, opened
from vidtopics.layout import Directory, place
from vidtopics.layout.live import LiveKeys
from vidtopics.online.connections import Connection
from vidtopics.online.lists import release_of
from vidtopics.online.live import LIVE_VIEWS

NOT_ALLOWED = explain(
    "the service's user of Redis",
    expected="the commands hgetall, xrange and time on keys of the prefix",
    found="no permission, so that nobody knows how far events are behind",
    mend="take the line of docs/serving.md, `ACL SETUSER server`",
)


def event_lag_s(connection: Connection, directory: Directory) -> float | None:
    """Seconds that the first event which readers don't see yet has waited; None: nobody applies.

    A release whose generation couldn't be opened is left out: its readers have the batch's values.

    Raises:
        redis.exceptions.RedisError: a server can't be reached.
    """
    if connection.get(place(directory.prefix, "applying")) is None:
        return None
    keys = LiveKeys(directory.prefix, directory.layout)
    views = [view for view in LIVE_VIEWS if view in directory.views]
    releases = {release_of(directory, view) for view in views}
    generations = opened(connection, directory.prefix)
    parts = [lags(connection, keys, r) for r in sorted(releases & generations.keys())]
    return max((max(buckets) for part in parts for buckets in part.values()), default=0) / 1000


def noted_lag_s(connection: Connection, directory: Directory, notes: list[str]) -> float | None:
    """As :func:`event_lag_s`; a user that may not ask is noted, as it is no reason to fail."""
    try:
        return event_lag_s(connection, directory)
    except NoPermissionError:
        notes.append(NOT_ALLOWED)
        return None
