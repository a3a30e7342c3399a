"""What planted topics, planted tastes and the oracle add in a home's world, and learned topics.

No topic model knows topics better than they were planted, no ranker tastes better than the users
have them: they bound what `evaluate ranking` can show in this world.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vidtopics.contracts import IMPRESSIONS
from vidtopics.errors import InputError, explain
from vidtopics.evaluate.ceiling.consumer import Consumer
from vidtopics.evaluate.ceiling.gains import Features, bootstrap_aucs, interval
from vidtopics.evaluate.ceiling.log import Floats
from vidtopics.evaluate.ceiling.topics import Topics, learned_topics
from vidtopics.evaluate.ceiling.worlds import home_world, read_settings, written_world
from vidtopics.evaluate.representations import released_run
from vidtopics.files import write_cache
from vidtopics.settings import Settings, digest
from vidtopics.source import source_hash
from vidtopics.tables import Tables

BASE, LEARNED = "no topics", "learned topics"
PLANTED, TASTES, ORACLE = "planted topics", "planted tastes", "oracle"
CODE = ("vidtopics.evaluate.ceiling", "vidtopics.simulation", "vidtopics.rates")


def evaluate(
    tables: Tables, settings: Settings, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any] | None:
    """The ceiling of a simulated home, kept in its `reports/` until something changes.

    Returns:
        `world` (its seed, settings and number of impressions), `rows` (what the regression `knows`,
        its `auc` and its `gain` over the first) and `recovered` (the share of each ceiling's gain
        that learned topics give; None where planted topics give none beyond their interval), all
        with intervals over users. None: the home isn't of a simulated world.

    Raises:
        InputError: its log isn't what this version of the simulation writes.
        TableError: nothing was released.
    """
    folder = home_world(tables.home)
    if folder is None:
        return None
    release = tables.latest_release()
    key = digest(release["versions"], *read_settings(folder), source_hash(*CODE))
    path = tables.home / "reports" / "ceiling.json"
    if path.is_file():
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if report["key"] == key:
            return report
    progress("what planted topics would give: simulating the log")
    report = {"key": key, **_measure(tables, settings, folder, progress)}
    write_cache(path, json.dumps(report, indent=1))
    return report


def _measure(
    tables: Tables, settings: Settings, folder: Path, progress: Callable[[str], None]
) -> dict[str, Any]:
    world, log = written_world(folder)
    _check_rows(tables, len(log.user))
    consumer = Consumer(world, log)
    topics = learned_topics(released_run(tables, settings), world.settings.videos)
    aucs = bootstrap_aucs(consumer, _variants(consumer, topics, progress))
    return {
        "world": {
            "seed": world.seed,
            "topics": world.settings.topics,
            "visible_taste": world.settings.visible_taste,
            "taste_follows": world.settings.taste_follows,
            "impressions": len(log.user),
        },
        "rows": [
            {"knows": name, "auc": interval(auc), "gain": interval(auc - aucs[BASE])}
            for name, auc in aucs.items()
        ],
        "recovered": recovered(aucs),
    }


def recovered(aucs: Mapping[str, Floats]) -> dict[str, dict[str, float]] | None:
    """Share of each ceiling's gain that learned topics give, from AUCs [1 + DRAWS] by variant.

    None where planted topics gain nothing beyond their interval: there is nothing to recover.

    >>> base, half, whole = (np.full(3, auc) for auc in (0.6, 0.61, 0.62))
    >>> aucs = {BASE: base, LEARNED: half, PLANTED: whole, TASTES: whole, ORACLE: whole}
    >>> recovered(aucs)["oracle"]["mean"].__round__(6), recovered(aucs | {PLANTED: base})
    (0.5, None)
    """
    gains = {name: auc - aucs[BASE] for name, auc in aucs.items()}
    if interval(gains[PLANTED])["low"] <= 0:
        return None
    return {name: interval(gains[LEARNED] / gains[name]) for name in (PLANTED, TASTES, ORACLE)}


def _variants(
    consumer: Consumer, learned: Topics, progress: Callable[[str], None]
) -> Iterator[tuple[str, Features]]:
    """What the regression knows, from nothing of topics to all but chance."""
    base = consumer.base()

    def with_base(name: str, features: Floats) -> tuple[str, Features]:
        progress(f"what planted topics would give: {name}")
        return name, iter([np.hstack([base, features])])

    yield with_base(BASE, base[:, :0])
    yield with_base(LEARNED, consumer.kernels(*learned))
    yield with_base(PLANTED, consumer.topic_kernels(consumer.topic))
    yield with_base(TASTES, consumer.taste_kernels())
    yield with_base(ORACLE, consumer.oracle())


def _check_rows(tables: Tables, simulated: int) -> None:
    """InputError where the home's log has more, or fewer, rows than the world's."""
    rows = tables.read(IMPRESSIONS, columns=["event_id"]).num_rows
    if rows != simulated:
        raise InputError(
            explain(
                str(tables.path(IMPRESSIONS)),
                expected=f"the {simulated:,} impressions of the simulated world alone",
                found=f"{rows:,}",
                mend="evaluate a home made from the world alone: vidtopics demo --home NEW",
            )
        )
