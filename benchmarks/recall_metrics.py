"""Recall's figures beside RecTools': `python -m benchmarks.recall_metrics [--requests N]`.

The variable RECTOOLS_PYTHON names a Python with RecTools 0.19 (`pip install rectools==0.19.0` in an
environment of its own; it wants an older numpy). Both read the same random lists of up to 600
videos, clicks and earlier clicks. Printed: the means of both, and the greatest difference of any
list; ends with 1 where one is above 1e-9.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtopics.evaluate.recall_metrics import coverage, hit_rate, ndcg, novelty

PEER = Path(__file__).with_name("rectools_peer.py")
VIDEOS, LENGTHS, SEED, BOUND = 20_000, (50, 600), 7, 1e-9
Figures = dict[str, list[float]]


def draw(requests: int) -> dict[str, list[list[int]]]:
    """Lists, clicks after them and clicks before them, of a user each; few videos have most."""
    random = np.random.default_rng(SEED)
    weights = 1 / np.arange(1, VIDEOS + 1)

    def videos(most: int) -> list[int]:
        number = random.integers(1, most + 1)
        chosen: list[int] = random.choice(
            VIDEOS, number, replace=False, p=weights / weights.sum()
        ).tolist()
        return chosen

    limits = {"ranked": max(LENGTHS), "clicked": 80, "before": 40}
    return {name: [videos(most) for _ in range(requests)] for name, most in limits.items()}


def figures(lists: dict[str, list[list[int]]]) -> Figures:
    """Each figure of each list; coverage of all lists together."""
    ranked, clicked = lists["ranked"], [frozenset(videos) for videos in lists["clicked"]]
    share = shares(lists["before"])
    measured: Figures = {"coverage": [coverage(ranked, VIDEOS)]}
    for k in LENGTHS:
        pairs = list(zip(ranked, clicked, strict=True))
        measured[f"hit rate {k}"] = [hit_rate(*pair, k) for pair in pairs]
        measured[f"NDCG {k}"] = [ndcg(*pair, k) for pair in pairs]
        measured[f"novelty {k}"] = [novelty(videos[:k], share) for videos in ranked]
    return measured


def shares(before: list[list[int]]) -> NDArray[np.float64]:
    """float64[VIDEOS], share of the users who clicked each before, as `evaluate recall` has it."""
    clicks = np.bincount(np.concatenate(before), minlength=VIDEOS)
    return np.maximum(clicks, 1) / len(before)


def report(ours: Figures, peer: Figures) -> bool:
    """Prints a line a figure; whether all lists agree.

    >>> report({"coverage": [0.5]}, {"coverage": [0.25]})
    coverage     ours 0.500000  RecTools 0.250000  greatest difference 2.5e-01
    False
    """
    gaps = []
    for name, values in ours.items():
        gaps.append(float(np.abs(np.subtract(values, peer[name])).max()))
        print(  # noqa: T201
            f"{name:12} ours {np.mean(values):.6f}  RecTools {np.mean(peer[name]):.6f}"
            f"  greatest difference {gaps[-1]:.1e}"
        )
    return max(gaps) <= BOUND


def main(arguments: list[str]) -> int:
    """Exit 1 where they differ; nothing is compared without RecTools."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    lists = draw(parser.parse_args(arguments).requests)
    python = os.environ.get("RECTOOLS_PYTHON")
    if not python:
        print(  # noqa: T201
            "skipped: RECTOOLS_PYTHON names no Python with RecTools (pip install rectools==0.19.0)"
        )
        return 0
    answer = subprocess.run(  # noqa: S603
        [python, str(PEER)],
        input=json.dumps({**lists, "videos": VIDEOS, "lengths": LENGTHS}),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    return 0 if report(figures(lists), json.loads(answer.stdout)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
