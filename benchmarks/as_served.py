"""Frames as served beside frames as known: what differs, and what rankers make of each.

`python -m benchmarks.as_served HOME`, on a home that served within its log; of one that was
backfilled, `--as-backfilled` copies the tables to a temporary home whose releases went live a
quarter of an hour after they were made, as they would have.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from numpy.typing import NDArray

from benchmarks.homes import folder
from consumers.ranking.boosted import train_trees
from consumers.ranking.bootstrap import bootstrap
from consumers.ranking.metrics import Groups
from consumers.ranking.models import VARIANTS
from consumers.ranking.problems import Source
from consumers.ranking.sources import source_as_known, source_as_served
from consumers.ranking.splits import by_time
from consumers.ranking.train import one_thread
from vidtopics.contracts import LOADS, USER_STATISTICS, VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.releases.loads import record
from vidtopics.settings import load
from vidtopics.tables import Tables
from vidtopics.tables.releases import read_log
from vidtopics.tables.stamps import now_us

SECOND_US = 1_000_000
SEEDS, TREES = 3, 100
LAG_US = 900 * SECOND_US
"""From a release to its going live, `online.max_lag`."""


def backfilled(home: Path, copy: Path) -> None:
    """A copy of a home's tables and settings in which each release went live when it was made."""
    shutil.copytree(home / "tables", copy / "tables", ignore=shutil.ignore_patterns(LOADS.name))
    shutil.copyfile(home / "settings.yaml", copy / "settings.yaml")
    tables = Tables(copy)
    for number, release in enumerate(read_log(tables), 1):
        record(tables, release.release_id, "copy/0/vt", number, release.created_us + LAG_US)


def compare(home: Path) -> dict[str, Any]:
    """What differs between both frames of the same impressions, and what models make of each."""
    tables, settings = Tables(home), load(home / "settings.yaml")
    release, now = tables.latest_release(), now_us()
    served = source_as_served(tables, release, settings, now)
    known = source_as_known(tables, release, settings, now)
    ids = known.frame.impressions["event_id"]
    value_set = served.frame.impressions["event_id"].combine_chunks()
    rows = np.flatnonzero(pc.is_in(ids, value_set=value_set).to_numpy(zero_copy_only=False))
    same_order = ids.take(pa.array(rows)).combine_chunks().equals(value_set)
    assert same_order, "both frames are in the log's order"
    report: dict[str, Any] = {
        "release": release["release_id"],
        "rows": {"all": len(known.frame), "served": len(rows)},
        "differs": differences(known, served, rows),
    }
    with one_thread():
        report["rankers"] = rankers(known, served, rows)
    return report


def differences(known: Source, served: Source, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Shares of the impressions, and means over them, as known and as served."""
    a, b = known.frame, served.frame
    topics = [
        [None if row < 0 else ids[row] for row in frame.topic_row[of]]
        for frame, ids, of in (
            (a, a.topics["topic_ids"].to_pylist(), rows),
            (b, b.topics["topic_ids"].to_pylist(), np.arange(len(rows))),
        )
    ]
    exposures = a.state.statistics[rows, 0], b.state.statistics[:, 0]
    video = np.nan_to_num(a.counts[rows, 0]), np.nan_to_num(b.counts[:, 0])
    return {
        f"{VIDEO_TOPICS.name}, other topics": float(
            np.mean([x != y for x, y in zip(*topics, strict=True)])
        ),
        f"{VIDEO_STATISTICS.name}, other exposures": float((video[0] != video[1]).mean()),
        f"{USER_STATISTICS.name}, other exposures": float((exposures[0] != exposures[1]).mean()),
        "mean exposures of the video": [float(x.mean()) for x in video],
        "mean exposures of the user": [float(x.mean()) for x in exposures],
    }


def rankers(known: Source, served: Source, rows: NDArray[np.int64]) -> dict[str, Any]:
    """AUC of LightGBM on the last fifth of the rows; intervals over users and seeds.

    A ranker that was trained as known meets rows as served once it serves: the last figure is what
    it loses, or gains, beside one that was trained on such rows.
    """
    window_us = known.settings.ranking.label_window // timedelta(microseconds=1)
    split = by_time(known.frame.shown_us[rows], share=0.2, window_us=window_us)
    every = np.arange(len(rows))
    pairs = {
        "as known": (known, known),
        "as served": (served, served),
        "trained as known, tested as served": (known, served),
    }
    scores = {}
    for name, (learned, judged) in pairs.items():
        vocabulary = learned.vocabulary((rows if learned is known else every)[split.train])
        fit, judge = (
            source.examples(vocabulary).take((rows if source is known else every)[part])
            for source, part in ((learned, split.train), (judged, split.test))
        )
        for variant in ("none", "topics"):
            trees = [
                train_trees(VARIANTS[variant], fit, None, {}, seed=seed, epochs=(TREES,))
                for seed in range(SEEDS)
            ]
            scores[f"{name}, {variant}"] = np.stack([each.predict(judge) for each in trees])
    test = rows[split.test]
    draws = bootstrap(Groups.of(known.users[test], known.frame.clicked[test]), scores, seed=7)
    figures: dict[str, Any] = {name: draws.interval("auc", name) for name in scores}
    for variant in ("none", "topics"):
        figures[f"as served less trained as known, {variant}"] = draws.interval(
            "auc",
            f"as served, {variant}",
            less=f"trained as known, tested as served, {variant}",
        )
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--as-backfilled", action="store_true")
    chosen = parser.parse_args(arguments)
    if not chosen.as_backfilled:
        typer.echo(json.dumps(compare(chosen.home), indent=1))
        return
    with folder() as copy:
        backfilled(chosen.home, copy)
        typer.echo(json.dumps(compare(copy), indent=1))


if __name__ == "__main__":
    main()
