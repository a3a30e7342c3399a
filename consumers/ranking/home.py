"""`train ranking` and `evaluate ...` on a home: what is stored, and when it is made again.

Torch is loaded only where there is something to do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from consumers.ranking.described import described
from vidtopics.contracts import EVENT_TIME, IMPRESSIONS
from vidtopics.errors import TableError
from vidtopics.files import write_cache
from vidtopics.settings import Settings, digest
from vidtopics.source import source_hash
from vidtopics.tables import Tables
from vidtopics.times import micros, moment

if TYPE_CHECKING:
    from consumers.ranking.problems import Source
    from consumers.training.inputs import Inputs, KnownAs

Progress = Callable[[str], None]
Make = Callable[["Source", dict[str, Any]], dict[str, Any]]
"""A report from a release's rows."""
PACKAGES = ("consumers.ranking", "consumers.training", "vidtopics.joins", "vidtopics.rates")


def train_ranking(
    tables: Tables, settings: Settings, progress: Progress = lambda text: None
) -> dict[str, Any]:
    """Trains `ranking.model` on all closed rows with topics as known, to `models/ranking`.

    The last tenth of the rows tells AUC, the tenth before chooses the number of epochs; a model of
    all rows is then trained for as many. Nothing is done where the model there was made from the
    same; the result says so (`skipped`).

    Returns:
        model, rows, clicked, users, videos, topics, epochs, auc (of the held-out end), seconds,
        release, skipped.

    Raises:
        TableError: nothing was released, or the rows are too few to learn from.
    """
    began = time.monotonic()
    release, as_of_us = tables.latest_release(), now_us()
    key, folder = key_of(tables, release, settings, as_of_us), tables.home / "models" / "ranking"
    before = described(folder)
    if before and before["key"] == key and (folder / before["weights"]).is_file():
        return {**before["facts"], "skipped": True}
    from consumers.ranking.served import train_served
    from consumers.ranking.store import Stored, store

    progress("joining impressions to features")
    source = _source(tables, release, settings, as_of_us)
    served = train_served(source, settings, checkpoints=folder, progress=progress)
    facts = {
        **served.facts,
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
            try:
                served = source.with_inputs(_inputs(tables, release, "as served"))
            except TableError as error:  # nothing was ever live, or before the log's end
                left_out.append(f"as served: {error}")
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
    source = _source(tables, release, settings, as_of_us)
    return {**_of_release(release), **measure_cost(source, settings, progress=progress)}


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
    made = make(_source(tables, release, settings, as_of_us), release)
    report = {"key": key, **_of_release(release), **made}
    write_cache(path, json.dumps(report, indent=1))
    return report


def _source(tables: Tables, release: dict[str, Any], settings: Settings, as_of_us: int) -> Source:
    from consumers.ranking.covers import Encodings
    from consumers.ranking.problems import Source

    inputs = _inputs(tables, release, "as known")
    encodings = Encodings.read(tables, release["versions"])
    return Source(inputs, settings, as_of_us, release["topic_epoch"], encodings)


def _inputs(tables: Tables, release: dict[str, Any], known: KnownAs) -> Inputs:
    from consumers.training import read

    return read(tables, release["versions"], known=known)


def _of_release(release: dict[str, Any]) -> dict[str, Any]:
    return {"release": release["release_id"], "as_of": moment(release["as_of_us"])}
