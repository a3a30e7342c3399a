"""`train ranking` and `evaluate ...` on a home: what is stored, and when it is made again.

Torch is loaded only where there is something to do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from consumers.ranking.described import described
from consumers.ranking.sources import (
    closed_us,
    loads_within,
    reason_not_served,
    reason_without_topics,
    source_as_known,
    source_as_served,
)
from vidtopics.files import write_cache
from vidtopics.settings import Settings, digest
from vidtopics.source import source_hash
from vidtopics.tables import Tables
from vidtopics.times import micros, moment

if TYPE_CHECKING:
    from consumers.ranking.problems import Source

Progress = Callable[[str], None]
Make = Callable[["Source", dict[str, Any]], dict[str, Any]]
"""A report from a release's rows."""
PACKAGES = (
    "consumers.ranking",
    "consumers.encoding",
    "consumers.training",
    "vidtopics.joins",
    "vidtopics.rates",
)


def train_ranking(
    tables: Tables, settings: Settings, progress: Progress = lambda text: None
) -> dict[str, Any]:
    """Trains `ranking.model` on closed impressions, to `models/ranking`.

    On those since a release went live, with what it served, where they are most of the log; else
    on all with what was known (:mod:`consumers.ranking.sources`).

    The last tenth of the rows tells AUC, the tenth before chooses the number of epochs; a model of
    all rows is then trained for as many. Nothing is done where the model there was made from the
    same; the result says so (`skipped`).

    Returns:
        model, known (as served or as known) and because (why not as served), rows, clicked,
        users, videos, topics and without_topics (why there are none), epochs, auc (of the held-out
        end), seconds, release, skipped.

    Raises:
        TableError: nothing was released, or the rows are too few to learn from.
    """
    began = time.monotonic()
    release, as_of_us = tables.latest_release(), now_us()
    key, folder = key_of(tables, release, settings, as_of_us), tables.home / "models" / "ranking"
    before = described(folder)
    files = [(before or {}).get(name) for name in ("weights", "graph")]
    is_whole = all(file and (folder / file).is_file() for file in files)
    if before and before["key"] == key and is_whole:
        return {**before["facts"], "skipped": True}
    from consumers.ranking.served import train_served
    from consumers.ranking.store import Stored, store

    progress("joining impressions to features")
    because = reason_not_served(tables, closed_us(tables, release, settings, as_of_us))
    source_in = source_as_known if because else source_as_served
    source = source_in(tables, release, settings, as_of_us)
    served = train_served(source, settings, checkpoints=folder, progress=progress)
    facts = {
        **served.facts,
        "known": source.inputs.known,
        "because": because,
        "without_topics": "" if served.facts["topics"] else reason_without_topics(source),
        "seconds": round(time.monotonic() - began, 2),
        "release": release["release_id"],
    }
    stored = Stored(
        settings.ranking.model,
        served.model,
        served.known,
        settings.ranking.history,
        settings.users.half_life // timedelta(microseconds=1),
    )
    store(folder, stored, {"key": key, "facts": facts})
    return {**facts, "skipped": False}


def evaluate_ranking(
    tables: Tables,
    settings: Settings,
    *,
    quick: bool = False,
    progress: Progress = lambda text: None,
) -> dict[str, Any]:
    """Table II (:mod:`consumers.ranking.evaluate`), kept in `reports/` until something changes.

    Rows are the impressions of the last release whose label window has closed by now.

    Raises:
        TableError: nothing was released, or too little to compare.
    """

    def make(source: Source, release: dict[str, Any]) -> dict[str, Any]:
        from consumers.ranking.evaluate import measure

        served, left_out = None, []
        if not quick:
            because = reason_not_served(tables, source.frame.shown_us)
            if because:
                left_out.append(f"as served: {because}")
            else:
                served = source_as_served(tables, release, settings, source.as_of_us)
        report = measure(source, settings, served=served, quick=quick, progress=progress)
        return {**report, "left_out": left_out}

    return _report(tables, settings, "ranking-quick" if quick else "ranking", make)


def evaluate_daily(
    tables: Tables, settings: Settings, *, days: int, progress: Progress = lambda text: None
) -> dict[str, Any]:
    """Fig. 5 (:mod:`consumers.ranking.daily`), likewise."""

    def make(source: Source, release: dict[str, Any]) -> dict[str, Any]:
        from consumers.ranking.daily import measure_days

        return measure_days(source, settings, count=days, progress=progress)

    return _report(tables, settings, f"daily-{days}", make)


def evaluate_cost(
    tables: Tables, settings: Settings, progress: Progress = lambda text: None
) -> dict[str, Any]:
    """Fig. 6 (:mod:`consumers.ranking.cost`): measured anew at each call."""
    from consumers.ranking.cost import measure_cost

    release, as_of_us = tables.latest_release(), now_us()
    source = source_as_known(tables, release, settings, as_of_us)
    return {**_of_release(release), **measure_cost(source, settings, progress=progress)}


def now_us() -> int:
    """The wall clock."""
    return micros(datetime.now(UTC))


def key_of(
    tables: Tables, release: dict[str, Any], settings: Settings, as_of_us: int, *more: str
) -> str:
    """A hash of all that a result depends on.

    The release's versions, the number of closed label windows, the loads before them, settings and
    source.
    """
    shown_us = closed_us(tables, release, settings, as_of_us)
    return digest(
        release["versions"],
        release["topic_epoch"],
        len(shown_us),
        [astuple(load) for load in loads_within(tables, shown_us)],
        settings.ranking,
        settings.users,
        settings.statistics,
        settings.seed,
        source_hash(*PACKAGES),
        *more,
    )


def _report(tables: Tables, settings: Settings, name: str, make: Make) -> dict[str, Any]:
    release, as_of_us = tables.latest_release(), now_us()
    key = key_of(tables, release, settings, as_of_us, digest(settings.evaluation))
    path = tables.home / "reports" / f"{name}.json"
    if path.is_file():
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if report["key"] == key:
            return report
    measured = make(source_as_known(tables, release, settings, as_of_us), release)
    report = {"key": key, **_of_release(release), **measured}
    write_cache(path, json.dumps(report, indent=1))
    return report


def _of_release(release: dict[str, Any]) -> dict[str, Any]:
    return {"release": release["release_id"], "as_of": moment(release["as_of_us"])}
