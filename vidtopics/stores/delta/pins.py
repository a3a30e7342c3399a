"""Feast's joins on pinned snapshots: the surrounding :func:`pinned`, or `pins` in the settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from feast import RepoConfig

from vidtopics.stores.delta.tables import Place, open_table, reaching
from vidtopics.tables.pins import Pins, Snapshot, read_pins, reopen

_PINNED: ContextVar[Pins | None] = ContextVar("pinned", default=None)


@contextmanager
def pinned(pins: pa.Table | Mapping[str, Any] | str | os.PathLike[str]) -> Iterator[None]:
    """Within it `get_historical_features` reads the snapshots that an earlier result was made of.

    Args:
        pins: that result as an Arrow table, its `job.pins`, or a file: Parquet or a Delta table
            written from that table, or JSON of `job.pins`.

    Raises:
        TableError: no pins in it. Later, by the job: a view without a pin, another table under the
            path, a pin past the table's retention, or rows that were known by then have come or
            gone.
    """
    token = _PINNED.set(read_pins(pins))
    try:
        yield
    finally:
        _PINNED.reset(token)


def pins_for(config: RepoConfig) -> Pins | None:
    """Those of the surrounding :func:`pinned`, else those of `pins` in feature_store.yaml."""
    path = getattr(config.offline_store, "pins", "")
    here = _PINNED.get()
    return here if here is not None or not path else read_pins(Path(config.repo_path or ".") / path)


def reopen_at(place: Place, pin: Snapshot, where: str) -> tuple[DeltaTable, bool]:
    """The pinned version of the table at a place; TableError as of :func:`reopen`."""
    newest = open_table(place, where)
    with reaching(place, where):
        return reopen(newest, pin, where, place.storage_options)
