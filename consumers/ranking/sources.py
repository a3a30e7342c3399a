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
    from consumers.training.inputs import ViewRows
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


def reason_without_topics(source: Source) -> str:
    """Why no impression had a topic, with the times: since when topics are known, and the mend.

    Of a source whose rows are all before the first topics of its epoch.
    """
    shown_us, settings = source.frame.shown_us, source.settings
    first_us, last_us = int(shown_us.min()), int(shown_us.max())
    shown = f"the impressions were shown from {_second(first_us)} to {_second(last_us)}"
    known_us = topics_known_us(source.inputs.topics, source.epoch)
    if known_us is None:
        return f"{shown}, and the release has no topics. Run the jobs (`vidtopics run`)"
    since = f"topics of epoch {source.epoch} are known from {_second(known_us)} on"
    needed = settings.schedule.delay + settings.ranking.label_window
    latest_us = last_us - needed // timedelta(microseconds=1)
    if latest_us <= first_us:
        mend = (
            "this log is too short for topics within it (schedule.delay and ranking.label_window"
            f" are {needed} together)"
        )
    else:
        as_of = _second(min((first_us + last_us) // 2, latest_us))
        mend = (
            "for this log, ingest it into a new home and run the jobs as of a time within it before"
            f" `train topics` and any run as of now: `vidtopics run --as-of {as_of}`"
        )
    return f"{shown}, and {since}. Later impressions have topics; {mend}"


def topics_known_us(topics: ViewRows, epoch: int) -> int | None:
    """From when a topic of an epoch is known, in microseconds; None: none is.

    `topics`: the rows of table `topics`.
    """
    of_epoch = pc.fill_null(pc.equal(topics.values["topic_epoch"], epoch), False).to_numpy()
    known_us = np.maximum(topics.event_us, topics.created_us)[of_epoch]
    return int(known_us.min()) if len(known_us) else None


def _second(us: int) -> str:
    """A time without its fraction and zone, as `--as-of` takes it."""
    return moment(us)[:19]


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
