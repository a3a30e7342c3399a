"""Going back to a release that is retained: one transaction, whatever the size of the views."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vidtopics.materialization import pins, switching
from vidtopics.materialization.generations import Generations
from vidtopics.materialization.lock import hold
from vidtopics.online.connections import Connection
from vidtopics.settings import OnlineSettings


@dataclass(frozen=True)
class SwitchedBack:
    """What is live after a rollback, since when (microseconds), and how long it took."""

    release: int
    load: int
    live_us: int
    views: tuple[str, ...]
    seconds: float


def retained(connection: Connection, prefix: str) -> list[int]:
    """The releases that :func:`switch_back` can go to, the live one last."""
    known = switching.records(Generations(connection, prefix, 1))
    return [record.release for record in known if not record.incomplete]


def switch_back(connection: Connection, settings: OnlineSettings, release_id: int) -> SwitchedBack:
    """Make a retained release live again; readers see it whole, or the one before it.

    A run that is under way doesn't keep it waiting: it is overtaken and changes nothing any more.
    Ordinary runs don't bring the releases in between; they go on with the next one.

    Raises:
        StoreError: the release isn't retained; the message names those that are.
        redis.exceptions.RedisError: the server can't be reached.
    """
    began = time.monotonic()
    with hold(connection, settings.prefix, preempt=True) as lease:
        store = Generations(connection, settings.prefix, settings.buckets, lease)
        held = pins.Held(release_id, 0, pins.now(), pins.who())
        record = switching.go_back(store, release_id, held=held)
        lease.claim(store.layout)  # what an overtaken run still sends is refused
    seconds = time.monotonic() - began
    return SwitchedBack(release_id, record.load, record.live_us, tuple(record.entries), seconds)
