"""What the numbers of a frame are worth: `python -m benchmarks.ranking_inputs HOME`.

A logistic regression on `numbers` alone, and with each group of topic numbers, on the last fifth of
the time and on each user's last fifth (topics of all tags there): AUC, and the paired difference
with its 95% interval over users. Beside them: the videos' counts as of the last run instead of
those of the log at that moment.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from consumers.encoding.numbers import TOPIC_NAMES
from consumers.ranking.bootstrap import bootstrap
from consumers.ranking.codes import vocabulary
from consumers.ranking.inputs import encode
from consumers.ranking.metrics import Groups
from consumers.ranking.splits import by_time, by_user
from consumers.training import Inputs, read
from consumers.training.frame import Frame, TopicsOf, build_frame
from consumers.training.served import counts_of
from vidtopics.contracts import VIDEO_STATISTICS
from vidtopics.settings import Settings
from vidtopics.tables import FOREVER, Tables

SHARE = 0.2
GROUPS: Mapping[str, tuple[str, ...]] = {
    "match": ("topic_",),
    "overlap": ("overlap_",),
    "kernels": ("kernel_",),
    "parents": ("parent_",),
    "tiers": ("skipped_tier_", "clicked_tier_"),
}
Floats = NDArray[np.float32]


def measure(home: str) -> None:
    """Print the table."""
    tables, settings = Tables(home), Settings()
    release = tables.latest_release()
    inputs = read(tables, release["versions"])
    splits: dict[str, TopicsOf] = {"time": "as known", "user": "all tags"}
    for split, topics in splits.items():
        frame = build_frame(inputs, settings, as_of_us=FOREVER, topics=topics)
        users = frame.impressions["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        window_us = settings.ranking.label_window // timedelta(microseconds=1)
        rows = (
            by_time(frame.shown_us, share=SHARE, window_us=window_us)
            if split == "time"
            else by_user(users, frame.shown_us, share=SHARE)
        )
        columns = column_sets(inputs, frame, rows.train, settings, release["topic_epoch"])
        scores = {
            name: _fit(x, frame.clicked, rows.train, rows.test)[None] for name, x in columns.items()
        }
        groups = Groups.of(users[rows.test], frame.clicked[rows.test])
        draws = bootstrap(groups, scores, seed=settings.seed)
        print(f"last fifth by {split}, {len(rows.test):,} of {len(frame):,} rows")  # noqa: T201
        for name in scores:
            auc, gain = draws.interval("auc", name), draws.interval("auc", name, "numbers")
            interval = f"{gain['mean']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"
            print(f"  {name:42} {auc['mean']:.4f}  {interval}")  # noqa: T201


def column_sets(
    inputs: Inputs, frame: Frame, train: NDArray[np.int64], settings: Settings, epoch: int
) -> Mapping[str, Floats]:
    """The columns that each regression reads, by name."""
    prior, places = settings.statistics.prior_exposures, settings.ranking.history
    known = vocabulary(frame, train, inputs.topics, epoch=epoch, prior_exposures=prior)
    examples = encode(frame, known, places=places)
    statistics = inputs.views[VIDEO_STATISTICS.name]
    row = statistics.known(frame.impressions.select(["video_id"]), frame.windows.seen_us)
    counts = counts_of(statistics.values.take(pa.array(row, mask=row < 0)))
    of_runs = encode(replace(frame, counts=counts), known, places=places)
    sets = {"numbers": examples.numbers, "numbers, counts of the last run": of_runs.numbers}
    for name, beginning in GROUPS.items():
        chosen = [n for n, column in enumerate(TOPIC_NAMES) if column.startswith(beginning)]
        sets[f"and {name}"] = np.hstack([examples.numbers, examples.topic_numbers[:, chosen]])
    sets["and all topic numbers"] = np.hstack([examples.numbers, examples.topic_numbers])
    return sets


def _fit(
    x: Floats, clicked: NDArray[np.bool_], train: NDArray[np.int64], test: NDArray[np.int64]
) -> Floats:
    x = (x - x[train].mean(0)) / (x[train].std(0) + 1e-6)
    model = LogisticRegression(C=0.1, max_iter=300).fit(x[train], clicked[train])
    scores: Floats = model.predict_proba(x[test])[:, 1].astype(np.float32)
    return scores


if __name__ == "__main__":
    measure(sys.argv[1])
