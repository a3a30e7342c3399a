"""The peer of `benchmarks.recall_metrics`: RecTools' figures of lists given as JSON on stdin.

Runs under an interpreter that has RecTools and nothing of this project.
"""

import json
import sys

import pandas as pd
from rectools import Columns
from rectools.metrics import NDCG, CatalogCoverage, MeanInvUserFreq, Recall

Lists = list[list[int]]


def frame(lists: Lists) -> pd.DataFrame:
    """A row for each place of each list: user, item and rank from 1."""
    rows = [
        (user, video, place)
        for user, videos in enumerate(lists)
        for place, video in enumerate(videos, 1)
    ]
    return pd.DataFrame(rows, columns=[Columns.User, Columns.Item, Columns.Rank])


def main() -> None:
    """Writes the figures as JSON."""
    lists = json.load(sys.stdin)
    ranked, clicked, before = (frame(lists[name]) for name in ("ranked", "clicked", "before"))
    whole = CatalogCoverage(k=max(lists["lengths"]), normalize=True)
    figures = {"coverage": [whole.calc(ranked, catalog=range(lists["videos"]))]}
    for k in lists["lengths"]:
        measured = {
            "hit rate": Recall(k=k).calc_per_user(ranked, clicked),
            "NDCG": NDCG(k=k, divide_by_achievable=True).calc_per_user(ranked, clicked),
            "novelty": MeanInvUserFreq(k=k).calc_per_user(ranked, before),
        }
        figures |= {
            f"{name} {k}": values.sort_index().tolist() for name, values in measured.items()
        }
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main()
