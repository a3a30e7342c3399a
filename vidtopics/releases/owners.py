"""Who has a home's lock, and the error of those who want it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime

from vidtopics.errors import BusyError, explain
from vidtopics.storage.leases import STALE_S
from vidtopics.times import micros

__all__ = ["FILE", "STALE_S", "TOUCH_S", "HeldError", "Owner"]

FILE = "run.lock"
"""The lock's file, or its object in a bucket."""
TOUCH_S = 10.0


@dataclass(frozen=True)
class Owner:
    """Who holds the lock: its command, host and process, since when, and its number."""

    command: str
    host: str
    pid: int
    since: str
    number: int

    def __str__(self) -> str:
        return f"`{self.command}`, process {self.pid} on {self.host}, since {self.since}"

    @classmethod
    def next(cls, command: str, before: Owner | None) -> Owner:
        """This process, with a number greater than that of the owner before."""
        number = max(micros(datetime.now(UTC)), before.number + 1 if before else 0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(command, socket.gethostname(), os.getpid(), since, number)


class HeldError(BusyError):
    """Another run has the lock: `owner`, where it said who it is."""

    def __init__(self, where: str, owner: Owner | None, silent_s: float) -> None:
        self.owner = owner
        super().__init__(
            explain(
                where,
                expected="no other run in this home",
                found=f"{owner or 'a run that has just begun'}, last heard of {silent_s:.0f} s ago",
                mend=f"wait for it; where it is dead on another machine, run again {STALE_S:.0f} s "
                "after it was last heard of",
            )
        )
