"""Our LR, DCN and DIN beside FuxiCTR's: `python -m benchmarks.ranking_parity HOME [--seeds N]`.

The variable FUXICTR_PYTHON names a Python with FuxiCTR 2.3.10 (`pip install fuxictr==2.3.10` in an
environment of its own). Both sides train on the same rows of the split by time, in the same order,
with the same ids hidden, at the same settings and for the same number of epochs, without topics:
user, video, the same numbers, and the clicked videos of the history (for LR none, as FuxiCTR's
has a table of its own for them). FuxiCTR trains by its own loop. Its DIN sums the attended clicks;
ours divides them by the places of the history. It is compared with that division, and once more as
it is, which fails nothing.

Printed: AUC of the last fifth of the time, mean over seeds, and the paired difference with its 95%
t interval; ends with 1 where a mean difference is above 0.001.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t

from consumers.ranking.evaluate import TEST_SHARE
from consumers.ranking.examples import Batch, Examples
from consumers.ranking.metrics import area_under_curve
from consumers.ranking.models import VARIANTS
from consumers.ranking.models.layers import Standard
from consumers.ranking.problems import Source
from consumers.ranking.search import Parts
from consumers.ranking.splits import by_time
from consumers.ranking.train import one_thread, train
from consumers.training import read
from vidtopics.settings import RankingSettings, Settings
from vidtopics.tables import FOREVER, Tables

PEER = Path(__file__).with_name("fuxictr_peer.py")
MODELS = ("lr", "dcn", "din")
SUMMED = "din_sum"
"""FuxiCTR's DIN without the division: shown, and not held to the bound."""
EPOCHS, PLACES, FIRST_SEED, BOUND = 3, 50, 7, 0.001
EMBEDDING_SCALE = 0.05
"""Standard deviation of first embeddings, as `models.layers.Fields` has it."""
Floats = NDArray[np.float32]


class Clicks(Examples):
    """Examples whose histories hold the clicked impressions alone."""

    def batch(self, rows: NDArray[np.int64], **options: bool) -> Batch:
        """Tensors of some rows."""
        batch = super().batch(rows, **options)
        return replace(batch, history_mask=batch.history_mask & batch.history_clicked)


class NoHistory(Examples):
    """Examples whose histories are empty."""

    def batch(self, rows: NDArray[np.int64], **options: bool) -> Batch:
        """Tensors of some rows."""
        batch = super().batch(rows, **options)
        return replace(batch, history_mask=torch.zeros_like(batch.history_mask))


def measure(home: str, python: str, seeds: int) -> bool:
    """Prints a line a model; whether each difference lies within the bound."""
    ranking = RankingSettings(device="cpu", history=PLACES, epochs=EPOCHS)
    settings = Settings(ranking=ranking)
    parts = split(home, settings)
    every = [FIRST_SEED + i for i in range(seeds)]
    print(  # noqa: T201
        f"{len(parts.train):,} rows to learn, {len(parts.judge):,} test, {seeds} seeds,"
        f" {EPOCHS} epochs, without topics"
    )
    with tempfile.TemporaryDirectory() as name, one_thread():
        folder = Path(name)
        write_rows(folder, parts, ranking)
        ours = {
            model: [ours_auc(model, parts, ranking, seed) for seed in every] for model in MODELS
        }
        within = [
            report(model, ours[model], peer_auc(model, parts, folder, python, every))
            for model in MODELS
        ]
        report(SUMMED, ours["din"], peer_auc(SUMMED, parts, folder, python, every))
    return all(within)


def report(model: str, ours: list[float], peer: list[float]) -> bool:
    """Prints means and paired difference of AUC; whether that lies within the bound.

    >>> report("lr", [0.71, 0.73], [0.7105, 0.7303])
    lr       ours 0.7200  FuxiCTR 0.7204  difference -0.0004 (-0.0017 to +0.0009)
    True
    """
    gaps = np.subtract(ours, peer)
    error = gaps.std(ddof=1) / len(gaps) ** 0.5 if len(gaps) > 1 else np.nan
    low, high = gaps.mean() + error * np.array(t.interval(0.95, len(gaps) - 1))
    print(  # noqa: T201
        f"{model:8} ours {mean(ours):.4f}  FuxiCTR {mean(peer):.4f}"
        f"  difference {gaps.mean():+.4f} ({low:+.4f} to {high:+.4f})",
        flush=True,
    )
    return abs(float(gaps.mean())) <= BOUND


def peer_auc(model: str, parts: Parts, folder: Path, python: str, seeds: list[int]) -> list[float]:
    """AUC on the test rows of FuxiCTR's model, for each seed."""
    command = [python, str(PEER), str(folder), model, *map(str, seeds)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": ""})  # noqa: S603
    scores = np.load(folder / f"{model}.npy")
    return [area_under_curve(parts.judge.clicked, of_seed) for of_seed in scores]


def split(home: str, settings: Settings) -> Parts:
    """The split by time of a home's last release."""
    tables = Tables(home)
    release = tables.latest_release()
    inputs = read(tables, release["versions"])
    source = Source(inputs, settings, FOREVER, release["topic_epoch"])
    window_us = settings.ranking.label_window.total_seconds() * 1e6
    rows = by_time(source.frame.shown_us, share=TEST_SHARE, window_us=int(window_us))
    return source.parts(rows.train, rows.test)


def ours_auc(model: str, parts: Parts, ranking: RankingSettings, seed: int) -> float:
    """AUC on the test rows of our model."""
    kind = NoHistory if model == "lr" else Clicks
    learn, test = (
        kind(**{field.name: getattr(part, field.name) for field in fields(Examples)})
        for part in (parts.train, parts.judge)
    )
    pieces, epochs = VARIANTS["none"], (EPOCHS,)
    fitted = train(model, pieces, parts.sizes, learn, None, ranking, seed=seed, epochs=epochs)
    return area_under_curve(test.clicked, fitted.predict(test))


def write_rows(folder: Path, parts: Parts, ranking: RankingSettings) -> None:
    """What the peer reads: arrays of all rows, codes one higher, and the settings."""
    standard = Standard(parts.sizes.numbers)
    standard.set_scale(parts.train.numbers)
    arrays: dict[str, NDArray[Any]] = {}
    for name, part in (("train", parts.train), ("test", parts.judge)):
        batch = part.batch(np.arange(len(part)), topics=False)
        clicks = torch.where(
            batch.history_mask & batch.history_clicked, batch.history_videos + 1, 0
        )
        columns = {
            "clicked": batch.clicked,
            "user": batch.user + 1,
            "video": batch.video + 1,
            "numbers": standard(batch.numbers),
            "clicks": clicks,
        }
        arrays |= {f"{name}_{column}": values.numpy() for column, values in columns.items()}
    np.savez(folder / "rows.npz", allow_pickle=False, **arrays)
    sizes = {"users": parts.sizes.users, "videos": parts.sizes.videos}
    plain = {
        **ranking.model_dump(mode="json"),
        "embedding_scale": EMBEDDING_SCALE,
        "sizes": {**sizes, "embedding": ranking.embedding_width},
    }
    (folder / "settings.json").write_text(json.dumps(plain), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Exit 1 where a difference lies outside the bound; nothing is measured without FuxiCTR."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home")
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    python = os.environ.get("FUXICTR_PYTHON")
    if not python:
        print(  # noqa: T201
            "skipped: FUXICTR_PYTHON names no Python with FuxiCTR (pip install fuxictr==2.3.10)"
        )
        return 0
    return 0 if measure(chosen.home, python, chosen.seeds) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
