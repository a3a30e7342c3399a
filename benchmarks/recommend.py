"""Recall and recommendation within a request, beside bare reads of the same size in the same run.

    python -m benchmarks.recommend --home .vidtopics [--users 300] [--json FILE]

Reads a home that `vidtopics demo` has made, loads its release into a Redis server of its own, and
takes turns: a bare read of 600 videos' topics and statistics, recall, recall with features and
ranking. Figures are milliseconds; ratios are to the bare reads, so that another load on the machine
slows both sides.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from benchmarks import homes
from consumers.ranking.serve import Ranker
from consumers.recommendation import VIEWS, recommend
from consumers.retrieval import Recall
from vidtopics.contracts import USER_RECENT_CLICKS
from vidtopics.materialization import materialize
from vidtopics.online import OnlineClient
from vidtopics.settings import load
from vidtopics.tables import FOREVER, Tables

ROUNDS = 3
"""The first warms up and isn't counted."""


def measure(home: Path, users: int) -> dict[str, Any]:
    """p50 and p99 of each step, its ratio to the bare read, and how many candidates there were."""
    tables, settings = Tables(home), load(home / "settings.yaml")
    ranker = Ranker.load(tables.home / "models" / "ranking")
    ids = tables.as_of(USER_RECENT_CLICKS, FOREVER)["user_id"].to_pylist()
    chosen = np.random.default_rng(7).choice(ids, min(users, len(ids)), replace=False).tolist()
    with homes.redis_server() as url:
        connection = redis.Redis.from_url(url)
        materialize(tables, connection, settings.online)
        connection.close()
        client = OnlineClient.from_url(url)
        recall = Recall(client, settings.recall)
        videos = recall.recall(chosen[0]).video_ids
        steps: dict[str, Callable[[str], Any]] = {
            "bare read": lambda user: client.read_views(VIEWS, videos),
            "recall": lambda user: recall.recall(user, seed=7),
            "recommend": lambda user: recommend(client, ranker, settings.recall, user, top=10),
        }
        times = _turns(steps, chosen)
        counts = [len(recall.recall(user, seed=7).reasons) for user in chosen]
        client.close()
    figures = {
        name: {
            "p50_ms": round(float(np.quantile(row, 0.5)), 2),
            "p99_ms": round(float(np.quantile(row, 0.99)), 2),
            "ratio_p50": round(float(np.median(row) / np.median(times["bare read"])), 2),
        }
        for name, row in times.items()
    }
    return {"users": len(chosen), "candidates": int(np.median(counts)), "steps": figures}


def _turns(
    steps: dict[str, Callable[[str], Any]], users: list[str]
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of each step for each user, one step after the other."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(ROUNDS):
        for user in users:
            for name, step in steps.items():
                began = perf_counter()
                step(user)
                if turn:
                    times[name].append(1e3 * (perf_counter() - began))
    return {name: np.array(row) for name, row in times.items()}


def main() -> None:
    """Print the figures; with `--json` write them too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = measure(options.home, options.users)
    lines = [f"{report['users']} users, {report['candidates']} candidates at the median"]
    lines += [
        f"  {name:10s} p50 {row['p50_ms']:.2f} ms, p99 {row['p99_ms']:.2f} ms,"
        f" {row['ratio_p50']:.2f} bare reads"
        for name, row in report["steps"].items()
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
