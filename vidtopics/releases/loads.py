"""The load log: when each release went live in each online store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from vidtopics.contracts import LOADS
from vidtopics.tables import Commit
from vidtopics.tables.schemas import TIMESTAMP, arrow_schema
from vidtopics.tables.stamps import now_us
from vidtopics.times import micros

if TYPE_CHECKING:
    from vidtopics.tables import Tables


@dataclass(frozen=True, order=True)
class Load:
    """A release that went live: from then on readers of the store see it."""

    live_us: int
    store: str
    load: int
    release_id: int


def record(tables: Tables, release_id: int, store: str, load: int, live_us: int) -> None:
    """Enter that a release went live; a call may be repeated.

    Args:
        tables: the home's tables.
        release_id: the release.
        store: address without password, and prefix.
        load: its number under that prefix.
        live_us: from when readers see it; microseconds since 1970.
    """
    row = {"release_id": release_id, "store": store, "load": load}
    row |= dict.fromkeys(("live_from", "event_timestamp", "created_timestamp"), live_us)
    rows = pa.table(
        {
            field.name: pa.array(
                [row[field.name]], pa.int64() if field.type == TIMESTAMP else field.type
            ).cast(field.type)
            for field in arrow_schema(LOADS)
        },
        schema=arrow_schema(LOADS),
    )
    at_us = min(live_us, now_us())  # the clock of whoever switched may be ahead of this one
    tables.publish(LOADS, rows, Commit("load", at_us, at_us))


def read_loads(tables: Tables) -> list[Load]:
    """All loads, in the order in which they went live."""
    rows = tables.read(LOADS, columns=["live_from", "store", "load", "release_id"]).to_pylist()
    return sorted(
        Load(micros(row["live_from"]), row["store"], row["load"], row["release_id"]) for row in rows
    )


def live_now(loads: Iterable[Load]) -> dict[str, Load]:
    """Per store the load that its readers see.

    >>> live_now([Load(5, "a/vt", 2, 8), Load(3, "a/vt", 1, 7)])
    {'a/vt': Load(live_us=5, store='a/vt', load=2, release_id=8)}
    """
    return {load.store: load for load in sorted(loads)}
