"""The rows of a home that models are trained on: with what was served, or with what was known."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.contracts import EVENT_TIME, IMPRESSIONS
from vidtopics.releases.loads import Load, read_loads
from vidtopics.times import moment

if TYPE_CHECKING:
    from consumers.ranking.problems import Source
    from consumers.training import Inputs
    from vidtopics.settings import Settings
    from vidtopics.tables import Tables

LEAST_SERVED = 0.5
"""Share of the closed impressions that a live release must have preceded: models are trained as
served from there on. Fewer rows than that are worth more as known than what serving adds."""


def source_as_known(
    tables: Tables, release: dict[str, Any], settings: Settings, as_of_us: int
) -> Source:
    """All closed impressions, with what was committed by then and a replay of the log."""
    from consumers.training import read

    return source_of(tables, release, settings, as_of_us, read(tables, release["versions"]))


def source_as_served(
    tables: Tables, release: dict[str, Any], settings: Settings, as_of_us: int
) -> Source:
    """The closed impressions since a release first went live, with what the live release had.

    Raises:
        TableError: none ever went live.
    """
    from consumers.training import read

    inputs = read(tables, release["versions"], known="as served")
    since_us = min(load.live_us for load in read_loads(tables))
    later = pc.greater_equal(inputs.impressions["event_us"], since_us)
    inputs = replace(inputs, impressions=inputs.impressions.filter(later).combine_chunks())
    return source_of(tables, release, settings, as_of_us, inputs)


def reason_not_served(tables: Tables, shown_us: NDArray[np.int64]) -> str:
    """Why models aren't trained as served: empty where most impressions came after a first load.

    `shown_us`: of the closed impressions.
    """
    since_us = min((load.live_us for load in read_loads(tables)), default=None)
    if since_us is None:
        return "no release ever went live (`vidtopics materialize`)"
    served = int((shown_us >= since_us).sum())
    if served and served >= LEAST_SERVED * len(shown_us):
        return ""
    return (
        f"{served:,} of {len(shown_us):,} impressions came after the first release went live"
        f" ({moment(since_us)[:19]}), {LEAST_SERVED:.0%} are needed"
    )


def source_of(
    tables: Tables, release: dict[str, Any], settings: Settings, as_of_us: int, inputs: Inputs
) -> Source:
    """Inputs of a release as rows, with its covers' encodings."""
    from consumers.ranking.covers import Encodings
    from consumers.ranking.problems import Source

    encodings = Encodings.read(tables, release["versions"])
    return Source(inputs, settings, as_of_us, release["topic_epoch"], encodings)


def closed_us(
    tables: Tables, release: dict[str, Any], settings: Settings, as_of_us: int
) -> NDArray[np.int64]:
    """int64[N], when the impressions were shown whose label window has closed by a time."""
    version = release["versions"].get(IMPRESSIONS.name)
    shown = tables.read(IMPRESSIONS, columns=[EVENT_TIME], version=version)
    times: NDArray[np.int64] = shown[EVENT_TIME].cast(pa.int64()).to_numpy()
    window_us = settings.ranking.label_window // timedelta(microseconds=1)
    closed: NDArray[np.int64] = times[times + window_us <= as_of_us]
    return closed


def loads_within(tables: Tables, shown_us: NDArray[np.int64]) -> list[Load]:
    """The loads that some impression came after: only these say what was served."""
    return [load for load in read_loads(tables) if load.live_us <= shown_us.max(initial=-1)]
