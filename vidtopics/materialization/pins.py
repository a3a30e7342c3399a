"""What keeps a prefix at a release: a pin until it is taken out, a rollback until the next one."""

from __future__ import annotations

import getpass
import json
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from vidtopics.layout import place
from vidtopics.layout.known import read_known
from vidtopics.materialization.generations import Generations
from vidtopics.materialization.lock import Lease, hold
from vidtopics.online.connections import Connection


@dataclass(frozen=True)
class Pin:
    """A release that runs stay at.

    >>> str(Pin(7, "2026-11-23T10:00:00+00:00", "ops@host"))
    'pinned at release 7 since 2026-11-23T10:00:00+00:00 by ops@host'
    """

    release: int
    since: str
    by: str

    def __str__(self) -> str:
        return f"pinned at release {self.release} since {self.since} by {self.by}"


@dataclass(frozen=True)
class Held:
    """A rollback to `release`: those after it, up to `until`, aren't brought by ordinary runs.

    >>> held = Held(4, 6, "2026-11-23T10:00:00+00:00", "ops@host")
    >>> held.holds(4), held.holds(6), held.holds(7)
    (False, True, False)
    """

    release: int
    until: int
    since: str
    by: str

    def holds(self, release: int) -> bool:
        """Whether an ordinary run leaves that release alone."""
        return self.release < release <= self.until

    def __str__(self) -> str:
        return (
            f"rolled back to release {self.release} at {self.since} by {self.by}; "
            f"a release after {self.until} goes live again"
        )


def now() -> str:
    """The time as pins and rollbacks have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def who() -> str:
    """Who asks, as pins and rollbacks have it."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def pinned(store: Generations) -> Pin | None:
    """The pin of the prefix."""
    text: Any = store.connection.get(place(store.prefix, "pin"))
    return read_known(Pin, text) if text else None


def held(store: Generations) -> Held | None:
    """The rollback that no later release has followed yet."""
    text: Any = store.connection.get(place(store.prefix, "held"))
    return read_known(Held, text) if text else None


def standing(connection: Connection, prefix: str) -> str:
    """Why ordinary runs move nothing; empty where nothing keeps them."""
    store = Generations(connection, prefix, 1)
    return str(pinned(store) or held(store) or "")


def enter(lease: Lease, release: int, by: str) -> None:
    """Pin the holder's prefix; a pin to the same release stays as it is."""
    key = place(lease.prefix, "pin")

    def change(pipe: Any) -> None:
        text = pipe.get(key)
        pipe.multi()
        if not text or read_known(Pin, text).release != release:
            pipe.set(key, json.dumps(asdict(Pin(release, now(), by))))

    lease.transaction(change, "pin")


def unpin(connection: Connection, prefix: str) -> Pin | None:
    """Take a prefix's pin out; what it was. The next run goes to the release in force."""
    key = place(prefix, "pin")

    def change(pipe: Any) -> Pin | None:
        text = pipe.get(key)
        pipe.multi()
        pipe.delete(key)
        return read_known(Pin, text) if text else None

    with hold(connection, prefix) as lease:
        return lease.transaction(change, "pin")
