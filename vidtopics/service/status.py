"""What a home's release log and its Redis hold: read after each round, and never by a scrape."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from vidtopics.contracts import RELEASES
from vidtopics.materialization.generations import Generations
from vidtopics.materialization.pins import pinned
from vidtopics.materialization.releases import lag_s, loaded_release
from vidtopics.online.connections import Connection
from vidtopics.tables import Tables

VERDICTS = {"ok": 0, "warn": 1, "block": 2}
RELEASED = "released"


@dataclass(frozen=True)
class Status:
    """Releases of the tables, the one in Redis, and how old what isn't loaded is.

    Attributes:
        in_force: the release that consumers move to; None: none, or the tables can't be read.
        live: the release that Redis has live; None: none, or Redis can't be asked.
        latest: for each state of the release log its greatest release id.
        figures: of the newest release that gates judged, by "table.figure".
        verdicts: of the same: 0 ok (or not applied, or allowed by a person), 1 warn, 2 block.
        lag_s: at `read_s`, the age of the oldest release that isn't loaded; 0: none; NaN: tables or
            Redis can't be asked.
        read_s: when, on the monotonic clock.
    """

    in_force: int | None = None
    live: int | None = None
    latest: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[str, int] = field(default_factory=dict)
    lag_s: float = math.nan
    read_s: float = 0.0

    def lag_now_s(self) -> float:
        """The lag, grown by the time since it was read, unless nothing waits."""
        return self.lag_s + (time.monotonic() - self.read_s) if self.lag_s else 0.0


def read_status(
    tables: Tables, reach: Callable[[], AbstractContextManager[Connection]], prefix: str
) -> Status:
    """The status now; what can't be read is None or NaN, as a service goes on without it."""
    try:
        rows = tables.read(RELEASES).to_pylist() if tables.exists(RELEASES) else []
        in_force = _in_force(rows)
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
    for row in rows:
        state = row.get("state", RELEASED)
        latest[state] = max(latest.get(state, 0), row["release_id"])
    judged = _judged(rows)
    return Status(
        in_force,
        live,
        latest,
        dict(judged.get("figures") or {}),
        {name: _severity(text) for name, text in dict(judged.get("verdicts") or {}).items()},
        lag,
        time.monotonic(),
    )


def _in_force(rows: list[dict[str, Any]]) -> int | None:
    """The greatest id with a row `released` and none `rolled_back`.

    >>> states = [(1, "released"), (2, "released"), (3, "rejected"), (2, "rolled_back")]
    >>> _in_force([{"release_id": number, "state": state} for number, state in states])
    1
    """
    back = {row["release_id"] for row in rows if row.get("state") == "rolled_back"}
    released = {row["release_id"] for row in rows if row.get("state", RELEASED) == RELEASED}
    return max(released - back, default=None)


def _judged(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The newest row with verdicts; empty where there is none."""
    judged = [row for row in rows if row.get("verdicts")]
    return max(judged, key=lambda row: (row["release_id"], row["created_timestamp"]), default={})


def _severity(verdict: str) -> int:
    """A verdict as a number.

    >>> [_severity(text) for text in ("ok", "warn .04 > .02", "block .5 > .3", "allowed: sale")]
    [0, 1, 2, 0]
    """
    return VERDICTS.get(verdict.partition(" ")[0].rstrip(":"), 0)
