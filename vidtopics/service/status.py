"""What a home's release log and its Redis hold: read after each round, and never by a scrape."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from vidtopics.materialization.generations import Generations
from vidtopics.materialization.pins import pinned
from vidtopics.materialization.releases import lag_s, loaded_release
from vidtopics.online.connections import Connection
from vidtopics.releases.waiting import waiting
from vidtopics.tables import Tables
from vidtopics.tables.releases import Release, newest, newest_released

VERDICTS = {"ok": 0, "warn": 1, "block": 2}


@dataclass(frozen=True)
class Status:
    """Releases of the tables, the one in Redis, and how old what isn't loaded is.

    Attributes:
        in_force: the release that consumers move to; None: none, or the tables can't be read.
        live: the release that Redis has live; None: none, or Redis can't be asked.
        latest: for each state of the release log its greatest release id, of the rows since the
            release in force was released (with it).
        figures: of the newest release that gates judged, by "table.figure".
        verdicts: of the same: 0 ok (or not applied, or allowed by a person), 1 warn, 2 block.
        lag_s: at `read_s`, the age of the oldest release that isn't loaded; 0: none; NaN: tables or
            Redis can't be asked.
        waiting_us: when the oldest release that waits for a person was made, in microseconds since
            1970; 0: none waits; NaN: the tables can't be read.
        read_s: when, on the monotonic clock.
    """

    in_force: int | None = None
    live: int | None = None
    latest: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[str, int] = field(default_factory=dict)
    lag_s: float = math.nan
    waiting_us: float = math.nan
    read_s: float = 0.0

    def lag_now_s(self) -> float:
        """The lag, grown by the time since it was read, unless nothing waits."""
        return self.lag_s + (time.monotonic() - self.read_s) if self.lag_s else 0.0

    def waiting_now_s(self) -> float:
        """For how long a release has waited for a person; 0: none waits; NaN: not known."""
        return max(time.time() - self.waiting_us / 1e6, 0.0) if self.waiting_us else 0.0


def read_status(
    tables: Tables, reach: Callable[[], AbstractContextManager[Connection]], prefix: str
) -> Status:
    """The status now; what can't be read is None or NaN, as a service goes on without it."""
    try:
        in_force = next(newest_released(tables), None)
        recent = list(_since(tables, in_force))
        judged = next((row for row in newest(tables) if row.verdicts), None)
    except Exception:
        return Status(read_s=time.monotonic())
    live, lag = None, math.nan
    try:
        with reach() as connection:
            live = loaded_release(connection, prefix)
            pin = pinned(Generations(connection, prefix, 1))
        lag = lag_s(tables, live, until=pin.release if pin else None)
    except Exception:  # noqa: S110  the round says why Redis doesn't answer
        pass
    latest: dict[str, int] = {}
    for row in recent:
        latest[row.state] = max(latest.get(row.state, 0), row.release_id)
    return Status(
        in_force.release_id if in_force else None,
        live,
        latest,
        dict(judged.figures) if judged else {},
        {name: _severity(text) for name, text in judged.verdicts.items()} if judged else {},
        lag,
        last.since_us if (last := waiting(recent)) else 0,
        time.monotonic(),
    )


def _since(tables: Tables, in_force: Release | None) -> Iterator[Release]:
    """The rows from the end of the log back to the one that released the release in force."""
    for row in newest(tables):
        yield row
        if in_force and (row.release_id, row.state) == (in_force.release_id, in_force.state):
            return


def _severity(verdict: str) -> int:
    """A verdict as a number.

    >>> [_severity(text) for text in ("ok", "warn .04 > .02", "block .5 > .3", "allowed: sale")]
    [0, 1, 2, 0]
    """
    return VERDICTS.get(verdict.partition(" ")[0].rstrip(":"), 0)
