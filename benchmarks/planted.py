"""What topics could add to AUC in a simulated world, from what is planted in it.

`python -m benchmarks.planted WORLD`.

WORLD is a folder that `write_world` wrote (`HOME/simulated/<digest>`). Clicks are replayed in order
of time; a logistic regression learns from the first four fifths of the impressions, with click
rates alone and with how well a video fits the user's earlier clicks. `planted affinity` is the
world's own, which no consumer can know.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

RECENT = 128
TRAIN_SHARE = 0.8


def ceilings(world: Path) -> dict[str, float]:
    """AUC on the last fifth of the impressions by what a model knows beside click rates."""
    videos = pq.read_table(world / "truth" / "videos.parquet")
    shown = pq.read_table(world / "impressions.parquet").sort_by("event_timestamp")
    place = {name: i for i, name in enumerate(videos["video_id"].to_pylist())}
    video = np.array([place[name] for name in shown["video_id"].to_pylist()])
    clicked = np.array(shown["clicked"].to_pylist()).astype(bool)
    cut = int(TRAIN_SHARE * len(video))
    rates, fits = _replay(videos, shown["user_id"].to_pylist(), video, clicked)
    seen, wins = (
        np.bincount(video[:cut], weights, minlength=len(place)) for weights in (None, clicked[:cut])
    )
    base = [_odds((wins + 3) / (seen + 10))[video], *rates]
    known = {
        "click rates": [],
        "and planted topic": ["topic"],
        "and planted topic and classes": ["topic", "secondary", "primary"],
        "and planted taste": ["taste"],
    }
    scores = {}
    for name, columns in known.items():
        extra = [c for column in columns for c in (fits[column], fits[column] * rates[1])]
        x = np.column_stack([*base, *extra])
        x = (x - x.mean(0)) / x.std(0)
        model = LogisticRegression(max_iter=500).fit(x[:cut], clicked[:cut])
        scores[name] = float(roc_auc_score(clicked[cut:], model.predict_proba(x[cut:])[:, 1]))
    scores["planted affinity"] = float(
        roc_auc_score(clicked, _affinity(world, videos, shown["user_id"].to_pylist(), video))
    )
    return scores


def _replay(
    videos: pq.Table, users: list[str], video: NDArray[np.int64], clicked: NDArray[np.bool_]
) -> tuple[list[NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Of each impression: the user's click rate and log clicks before; how the video fits them."""
    taste = np.array(videos["taste"].to_pylist())
    classes = {name: videos[name].to_numpy() for name in ("topic", "secondary", "primary")}
    history, views = defaultdict[str, list[int]](list), defaultdict[str, int](int)
    rates, fits = (
        np.zeros((len(video), 2)),
        {name: np.zeros(len(video)) for name in (*classes, "taste")},
    )
    for row, (user, this, click) in enumerate(zip(users, video, clicked, strict=True)):
        recent = np.array(history[user][-RECENT:], int)
        rates[row] = (
            _odds(np.array((len(history[user]) + 3) / (views[user] + 10))),
            np.log1p(len(history[user])),
        )
        if len(recent):
            for name, codes in classes.items():
                fits[name][row] = (codes[recent] == codes[this]).mean()
            fits["taste"][row] = np.log(np.exp(4 * (taste[recent] @ taste[this] - 1)).mean())
        else:
            fits["taste"][row] = -3
        views[user] += 1
        if click:
            history[user].append(int(this))
    return [rates[:, 0], rates[:, 1]], fits


def _affinity(
    world: Path, videos: pq.Table, users: list[str], video: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The world's own score before position, fatigue and age (docs/simulation.md)."""
    table = pq.read_table(world / "truth" / "users.parquet")
    place = {name: i for i, name in enumerate(table["user_id"].to_pylist())}
    user = np.array([place[name] for name in users])
    interests = np.array(table["interests"].to_pylist()).reshape(len(table), 4, -1)
    weights = np.exp(np.array(table["log_weights"].to_pylist()))
    weights /= weights.sum(1, keepdims=True)
    cosine = np.einsum("nmk,nk->nm", interests[user], np.array(videos["taste"].to_pylist())[video])
    affinity = np.log((weights[user] * np.exp(4 * (cosine - 1))).sum(1))
    appeal, bias = videos["appeal"].to_numpy()[video], table["bias"].to_numpy()[user]
    return affinity + 0.5 * appeal + bias  # type: ignore[no-any-return]


def _odds(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(share / (1 - share))


if __name__ == "__main__":
    for name, auc in ceilings(Path(sys.argv[1])).items():
        print(f"{auc:.4f}  {name}")  # noqa: T201
