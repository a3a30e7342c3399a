"""What a model or a report was made from, as one key.

It is made again only where the key changed.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import EVENT_TIME, IMPRESSIONS
from vidtopics.settings import Settings, digest
from vidtopics.source import source_hash
from vidtopics.tables import Tables
from vidtopics.times import micros

FILE = "model.json"
PACKAGES = ("consumers.ranking", "consumers.training", "vidtopics.joins", "vidtopics.rates")


def now_us() -> int:
    """The wall clock."""
    return micros(datetime.now(UTC))


def key_of(
    tables: Tables, release: dict[str, Any], settings: Settings, as_of_us: int, *more: str
) -> str:
    """A hash of the release's versions, the number of closed label windows, settings and source."""
    shown = tables.read(
        IMPRESSIONS, columns=[EVENT_TIME], version=release["versions"].get(IMPRESSIONS.name)
    )
    ends = pc.add(
        shown[EVENT_TIME].cast(pa.int64()),
        settings.ranking.label_window // timedelta(microseconds=1),
    )
    closed = pc.sum(pc.less_equal(ends, as_of_us)).as_py() or 0
    return digest(
        release["versions"],
        release["topic_epoch"],
        closed,
        settings.ranking,
        settings.statistics,
        settings.recall.recent_clicks,
        settings.seed,
        source_hash(*PACKAGES),
        *more,
    )


def described(folder: Path) -> dict[str, Any] | None:
    """The JSON of the model in a folder; None where there is none that can be read."""
    try:
        facts: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None
