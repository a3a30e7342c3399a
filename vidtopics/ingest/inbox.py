"""A folder in which deliveries arrive, each taken once, whenever the process that takes it dies.

A delivery is a folder, complete as soon as it has a name that doesn't begin with a dot: who brings
it writes `inbox/.NAME` and renames it. Taking is a rename too, to `deliveries/TIME-NAME`, where its
covers stay: the catalogue names them by path. What became of it stands in
`deliveries/outcomes/TIME-NAME.json`: a delivery without one was taken by a process that died.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from vidtopics.errors import BusyError, explain
from vidtopics.failpoints import failpoint
from vidtopics.files import sync, write_whole
from vidtopics.layout.known import known_fields

Outcome = Literal["ingested", "refused", ""]
INBOX, DELIVERIES, OUTCOMES, LOCK = "inbox", "deliveries", "outcomes", "inbox.lock"
LONGEST_NAME = 100
STAMP = "%Y%m%dT%H%M%S.%fZ"
MOST_ATTEMPTS = 5
"""Processes that may die over one delivery before it is refused."""


@dataclass(frozen=True)
class Taken:
    """A delivery that was taken.

    Attributes:
        path: where it lies from now on.
        outcome: `ingested`, `refused`, or empty while there is none.
        attempts: processes that have begun to read it.
        since: version of the table that a delivery changes last, before the first of them.
        cause: why it was refused.
        refused_rows: by reason, rows that were refused of a delivery that was ingested.
    """

    path: Path
    outcome: Outcome = ""
    attempts: int = 0
    since: int = 0
    cause: str = ""
    refused_rows: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it was called in the inbox.

        >>> Taken(Path("deliveries/20261130T041500.000000Z-day-7")).name
        'day-7'
        """
        return self.path.name.partition("-")[2]


class Inbox:
    """The inbox of a home."""

    def __init__(self, home: Path) -> None:
        self.inbox = home / INBOX
        self.deliveries = home / DELIVERIES
        self._lock = home / LOCK

    def make(self) -> None:
        """Make its folders, where they aren't there."""
        self.inbox.mkdir(exist_ok=True)
        (self.deliveries / OUTCOMES).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the one that takes deliveries within the block.

        Raises:
            BusyError: another process is.
        """
        self.make()
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise BusyError(
                explain(
                    str(self.inbox),
                    expected="no other process that takes deliveries from it",
                    found="one",
                    mend="nothing, if it is meant: this one takes its place when it ends",
                )
            ) from None
        finally:
            os.close(lock)

    def waiting(self) -> list[str]:
        """Names of the deliveries that are complete, the first that arrived first."""
        try:
            entries = [e for e in os.scandir(self.inbox) if not e.name.startswith(".")]
        except FileNotFoundError:
            return []
        times = {}
        for entry in entries:
            with suppress(FileNotFoundError):  # taken meanwhile
                # A rename changes the time of an entry's inode, not of its contents.
                times[entry.name] = entry.stat(follow_symlinks=False).st_ctime_ns
        return sorted(times, key=lambda name: (times[name], name))

    def take(self, name: str) -> Taken:
        """Take a delivery out of the inbox; who holds it alone does.

        Raises:
            OSError: it can't be renamed, or is gone.
        """
        stamp = datetime.now(UTC).strftime(STAMP)
        path = self.deliveries / f"{stamp}-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)[:LONGEST_NAME]}"
        (self.inbox / name).rename(path)
        sync(self.deliveries)
        failpoint("inbox.taken")
        return Taken(path)

    def unfinished(self) -> list[Taken]:
        """Deliveries that were taken and have no outcome, those that fewest died over first."""
        names = sorted(e.name for e in os.scandir(self.deliveries) if e.name != OUTCOMES)
        taken = [self._noted(self.deliveries / name) for name in names]
        return sorted((t for t in taken if not t.outcome), key=lambda t: t.attempts)

    def begin(self, taken: Taken, since: int) -> Taken:
        """Note that this process begins to read a delivery; `since`, where it is the first."""
        since = taken.since if taken.attempts else since
        return self._note(replace(taken, attempts=taken.attempts + 1, since=since))

    def put_back(self, taken: Taken) -> None:
        """Note that nobody died over this attempt: what failed wasn't the delivery."""
        self._note(replace(taken, attempts=taken.attempts - 1))

    def ingested(self, taken: Taken, refused_rows: Mapping[str, int]) -> Taken:
        """Note that its rows are in the tables."""
        return self._note(replace(taken, outcome="ingested", refused_rows=dict(refused_rows)))

    def refused(self, taken: Taken, cause: str) -> Taken:
        """Note that it can't be read; nothing of it was published."""
        return self._note(replace(taken, outcome="refused", cause=cause))

    def _note(self, taken: Taken) -> Taken:
        plain: dict[str, Any] = asdict(taken)
        del plain["path"]
        write_whole(self._note_of(taken.path), json.dumps(plain, indent=1))
        return taken

    def _noted(self, path: Path) -> Taken:
        try:
            plain = json.loads(self._note_of(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Taken(path)
        return Taken(path, **{k: v for k, v in known_fields(Taken, plain).items() if k != "path"})

    def _note_of(self, path: Path) -> Path:
        return self.deliveries / OUTCOMES / f"{path.name}.json"
