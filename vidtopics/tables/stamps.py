"""From when a live run's rows count as known: not before anybody could read them.

`created_timestamp` is written into the rows, so it is chosen before they are committed: now, and a
lead that the write needs. A commit that would come later isn't made; the rows are written again
with a greater lead (`docs/time.md`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from deltalake import DeltaTable

from vidtopics.contracts import Engine
from vidtopics.errors import ConflictError, explain
from vidtopics.tables import tail
from vidtopics.tables.commits import Commit, CommitLog, log_folder
from vidtopics.times import moment

LEAST_US = 200_000
FIRST_US = {"deltalake": LEAST_US, "spark": 5_000_000}
"""The lead of a job's first write: Spark's begins with seconds of planning."""
COMMIT_US = 50_000
"""What is left to do once all rows are written, and a quarter of the time that these took."""


class LateError(ConflictError):
    """The rows were stamped as known from a time that passed before they could be committed."""


@dataclass
class Lead:
    """How far ahead a publish stamps its rows; grows with each attempt that came too late.

    >>> lead = Lead(200_000)
    >>> commit = lead.stamp(Commit("job", 0, 0, live=True))
    >>> commit.lead_us, commit.created_us > 0
    (200000, True)
    """

    us: int

    def stamp(self, commit: Commit) -> Commit:
        """The commit as known from now and the lead on."""
        return replace(commit, created_us=now_us() + self.us, lead_us=self.us)

    def grow(self) -> None:
        """Four times as long."""
        self.us *= 4


def lead_of(delta: DeltaTable, log: CommitLog, job: str, engine: Engine) -> Lead:
    """Three times what the job's last live write took, from its stamp to its commit.

    When it was committed is what the log's entry says: the file's time is that of the copy where
    the home was copied or restored. A write of Spark's that took longer than its lead counts as
    long as that.
    """
    last = next((c for c in reversed(log) if c.job == job and c.lead_us), None)
    if last is None:
        return Lead(FIRST_US[engine])
    entry = next(tail.entries(log_folder(delta), last.version), None)
    took_us = entry.committed_us - (last.created_us - last.lead_us) if entry else last.lead_us
    return Lead(max(LEAST_US, 3 * min(took_us, last.lead_us)))


def refuse_late(table: str, commit: Commit) -> None:
    """LateError where a commit made now might be readable only after its rows' created time."""
    if not commit.lead_us:
        return
    now, started = now_us(), commit.created_us - commit.lead_us
    if now + COMMIT_US + (now - started) // 4 > commit.created_us:
        raise LateError(
            explain(
                table,
                expected=f"a commit before {moment(commit.created_us)}, from when its rows count "
                "as known",
                found=f"that writing them took until {moment(now)}",
                mend="run again",
            )
        )


def wait_until_known(logs: Iterable[Sequence[Commit]]) -> None:
    """Wait until the rows of all live commits count as known: their lead at most."""
    last = (next((c for c in reversed(log) if c.lead_us), None) for log in logs)
    stamps = (commit.created_us for commit in last if commit)
    time.sleep(max(0, max(stamps, default=0) - now_us()) / 1e6)


def now_us() -> int:
    """The clock, in microseconds since 1970."""
    return time.time_ns() // 1000
