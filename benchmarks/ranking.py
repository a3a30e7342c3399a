"""Training a ranking model beside a plain torch loop: `python -m benchmarks.ranking [--rows N]`.

Both train the same model from the same weights on the same rows in the same order. The plain loop
indexes tensors of all rows, histories written out for each; ours gathers them from windows into one
log, which is what lets a log of millions fit. They take turns; what they learn is compared.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.figures import Figure, Target, check, figure, timed
from consumers.ranking import train as training
from consumers.ranking.examples import Batch
from consumers.ranking.models import VARIANTS, Model, Residual
from consumers.ranking.problems import Source
from consumers.ranking.search import Parts
from consumers.ranking.train import one_thread
from consumers.training import Inputs, ViewRows
from vidtopics.settings import RankingSettings, Settings
from vidtopics.tables import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, SEED, TOPICS, ROWS = 3, 7, 250, 8_192
HOUR_US = 3_600_000_000


def run(rows: int) -> list[Figure]:
    """Rows a second of an epoch of each model, ours and the plain loop's."""
    settings = Settings(ranking=RankingSettings(device="cpu", history=50))
    every = np.arange(rows)
    parts = synthetic(rows, settings).parts(every, every[:1])
    target = [Target("faster", 0.8)]
    figures = []
    with one_thread():
        for name, variant in (("wide_and_deep", "none"), ("wide_and_deep", "topics")):
            ours, plain = _turns(name, variant, parts, settings.ranking)
            what = f"{name}, {variant}, {rows:,} rows, histories of 50"
            rates = ([rows / s for s in ours], [rows / s for s in plain])
            figures.append(figure("ranking", what, "rows/s", *rates, "plain torch loop", target))
    return figures


def synthetic(rows: int, settings: Settings) -> Source:
    """A log of random impressions with topics, a user for each hundred of them."""
    random = np.random.default_rng(SEED)
    videos, users = max(rows // 10, 10), max(rows // 100, 2)
    ids = np.array([f"i{i:08}" for i in range(rows)])
    user, video = random.integers(0, users, rows), random.integers(0, videos, rows)
    times, clicked = np.arange(rows) * HOUR_US, random.random(rows) < 0.4
    shown = {
        "event_id": ids,
        "user_id": [f"u{u}" for u in user],
        "video_id": [f"v{v:08}" for v in video],
        "position": [None] * rows,
        "event_us": times,
        "created_us": times,
    }
    clicks = {"event_id": ids[clicked], "watch_seconds": [None] * int(clicked.sum())}
    clicks |= {"event_us": times[clicked], "created_us": times[clicked]}
    slots = random.integers(0, TOPICS, (videos, 8))
    values = {
        "topic_ids": slots.tolist(),
        "topic_weights": pa.array(random.random((videos, 8)).tolist(), pa.list_(pa.float32())),
        "parent_topic_ids": (slots // 16).tolist(),
        "topic_epoch": pa.array([1] * videos, pa.int64()),
    }
    names = pa.table({"video_id": [f"v{v:08}" for v in range(videos)]})
    zero, none = np.zeros(videos, np.int64), np.zeros(TOPICS, np.int64)
    centres = {
        "centroid": pa.array(np.eye(TOPICS, dtype=np.float32).tolist(), pa.list_(pa.float32())),
        "topic_epoch": pa.array([1] * TOPICS, pa.int64()),
        "parent_topic_id": pa.array(np.arange(TOPICS) // 16, pa.int64()),
    }
    keys = pa.table({"topic_id": np.arange(TOPICS)})
    inputs = Inputs.of(
        shown,
        clicks,
        video_topics=ViewRows(names, zero, zero, pa.table(values)),
        topics=ViewRows(keys, none, none, pa.table(centres)),
    )
    return Source(inputs, settings, FOREVER, 1)


def _turns(
    name: str, variant: str, parts: Parts, settings: RankingSettings
) -> tuple[list[float], list[float]]:
    """Seconds of an epoch of each, in turns."""
    tensors = parts.train.batch(np.arange(len(parts.train)))
    seconds: tuple[list[float], list[float]] = ([], [])

    def ours() -> Model:
        pieces, sizes = VARIANTS[variant], parts.sizes
        fitted = training.train(
            name, pieces, sizes, parts.train, None, settings, seed=SEED, epochs=(1, 1)
        )
        return fitted.model

    def plain() -> Model:
        return plain_epoch(name, variant, parts, tensors, settings)

    calls: tuple[Callable[[], Model], Callable[[], Model]] = (ours, plain)
    for call in calls:
        call()  # compiled
    for _ in range(ROUNDS):
        models = []
        for times, call in zip(seconds, calls, strict=True):
            spent, model = timed(call)
            times.append(spent)
            models.append(model)
        same = all(
            torch.equal(a, b)
            for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True)
        )
        check(f"ranking: weights of {name}, {variant}", same, True)
    return seconds


def plain_epoch(
    name: str, variant: str, parts: Parts, tensors: Batch, settings: RankingSettings
) -> Model:
    """What one writes without this project: index, forward, backward, step.

    An epoch of the model without topics, then one of a head on its log-odds.
    """
    pieces, widths = VARIANTS[variant], training.widths_of(settings)
    base = training.build(name, parts.sizes, VARIANTS["none"], widths, seed=SEED)
    _plain_part(base, parts, tensors, torch.zeros(len(tensors)), settings)
    if not pieces.has_head:
        return base
    head = training.build(name, parts.sizes, pieces.head, widths, seed=SEED)
    head.zero_output()
    with torch.inference_mode():
        nobody = torch.zeros(len(tensors), dtype=torch.int64)
        hidden = replace(tensors, user=nobody, video=nobody)
        odds = [base(_rows(hidden, rows)) for rows in torch.split(torch.arange(len(tensors)), ROWS)]
    _plain_part(head, parts, tensors, torch.cat(odds).clone(), settings)
    return Residual(base, head)


def _plain_part(
    model: Model, parts: Parts, tensors: Batch, odds: Tensor, settings: RankingSettings
) -> None:
    training.set_scale(model, parts.train)
    is_base = model.pieces.base
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=settings.learning_rate if is_base else settings.topic_learning_rate,
        weight_decay=settings.weight_decay if is_base else settings.topic_weight_decay,
        fused=True,
    )
    random = np.random.default_rng([SEED, 0])
    order = random.permutation(len(tensors))
    model.train()
    for start in range(0, len(order), settings.batch_size):
        rows = torch.from_numpy(order[start : start + settings.batch_size])
        batch = training.hide(_rows(tensors, rows), random)
        loss = binary_cross_entropy_with_logits(model(batch) + odds[rows], batch.clicked)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()


def _rows(tensors: Batch, rows: Tensor) -> Batch:
    return Batch(*(getattr(tensors, f.name)[rows] for f in fields(Batch)))


def main(arguments: list[str]) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000)
    for measured in run(parser.parse_args(arguments).rows):
        share = f"{measured.ratio:.0%}" if measured.ratio else ""
        print(  # noqa: T201
            f"{measured.name}: {measured.ours:,.0f} rows/s, plain loop {measured.peer:,.0f};"
            f" {share} (must reach 80%)"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
