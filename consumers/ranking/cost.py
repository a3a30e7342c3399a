"""Fig. 6: what topics cost beside the paper's cover features: time, memory, bytes, latency."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from consumers.ranking.evaluate import TEST_SHARE, refuse_few
from consumers.ranking.models import VARIANTS, Model
from consumers.ranking.problems import Source
from consumers.ranking.search import Parts
from consumers.ranking.splits import by_time
from consumers.ranking.train import one_thread, predict, train
from vidtopics.contracts import TOPIC_SLOTS, VIDEO_TOPICS
from vidtopics.layout.schema import Field, Schema
from vidtopics.settings import Settings

if TYPE_CHECKING:
    from consumers.ranking.examples import Examples

COMPARED = ("none", "topics", "cover")
CANDIDATES = 600
"""The paper's N_3."""
ROUNDS = 5
WARM_UP_ROWS = 256
REPEATS = 20
SLOT_BYTES = TOPIC_SLOTS * (4 + 4 + 4)
"""Of a video's topics in memory: id, weight and parent, 4 bytes each."""


def measure_cost(
    source: Source, settings: Settings, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Fig. 6 of `ranking.model`, on the split by time.

    Raises:
        TableError: too few rows.
    """
    window_us = settings.ranking.label_window // timedelta(microseconds=1)
    split = by_time(source.frame.shown_us, share=TEST_SHARE, window_us=window_us)
    refuse_few(source.frame.clicked, split._asdict())
    with one_thread():
        parts = source.parts(split.train, split.test)
        variants = compare(parts, settings, progress)
    facts = {"model": settings.ranking.model, "rows": len(parts.train), "rounds": ROUNDS}
    return {**facts, "variants": variants}


def compare(
    parts: Parts, settings: Settings, progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Of each variant, taking turns in one run, after each has seen a few rows.

    What a first use costs (compiled loops, the allocator's memory) would else be the baseline's.

    * CPU seconds of an epoch of training on one thread, which other work on the machine changes
      less than the clock: the median of five rounds, and what it takes beyond the baseline's epoch
      of the same round, median, least and greatest;
    * bytes of parameters and of what a training row holds beside the shared inputs;
    * bytes that a video's served value grows by;
    * milliseconds for a request's 600 candidates, median and 99th percentile.
    """
    seconds: dict[str, list[float]] = {variant: [] for variant in COMPARED}
    latency: dict[str, list[float]] = {variant: [] for variant in COMPARED}
    models: dict[str, Model] = {}
    request = request_of(parts.judge)
    few = parts.train.take(np.arange(min(WARM_UP_ROWS, len(parts.train))))
    for variant in COMPARED:
        predict(_train_epoch(variant, parts, few, settings), request)
    for turn in range(ROUNDS):
        progress(f"round {turn + 1} of {ROUNDS}")
        for variant in COMPARED:
            began = time.process_time()
            models[variant] = _train_epoch(variant, parts, parts.train, settings)
            seconds[variant].append(time.process_time() - began)
            for _ in range(REPEATS):
                began = time.perf_counter()
                predict(models[variant], request)
                latency[variant].append((time.perf_counter() - began) * 1_000)
    return [
        {
            "variant": variant,
            "seconds": median(seconds[variant]),
            "extra_time": extra_time(seconds[variant], seconds["none"]),
            "parameters": sum(p.numel() for p in models[variant].parameters()),
            "row_bytes": row_bytes(parts, variant),
            "serving_bytes": serving_bytes(parts, variant),
            "latency_p50_ms": float(np.percentile(latency[variant], 50)),
            "latency_p99_ms": float(np.percentile(latency[variant], 99)),
        }
        for variant in COMPARED
    ]


def request_of(examples: Examples) -> Examples:
    """As many candidates as a request has, all with the history of the last row's user."""
    candidates = examples.take(np.arange(CANDIDATES) % len(examples))
    user = examples.take(np.full(CANDIDATES, len(examples) - 1))
    return replace(candidates, user=user.user, windows=user.windows, content_us=user.content_us)


def _train_epoch(variant: str, parts: Parts, examples: Examples, settings: Settings) -> Model:
    """A model after an epoch, and its head after one."""
    return train(
        settings.ranking.model,
        VARIANTS[variant],
        parts.sizes,
        examples,
        None,
        settings.ranking,
        seed=settings.seed,
        epochs=(1, 1),
    ).model


def extra_time(seconds: Sequence[float], baseline: Sequence[float]) -> dict[str, float]:
    """How much longer than the baseline's epoch of the same round: median, least, greatest.

    >>> extra_time([1.5, 3.0, 2.0], [1.0, 2.0, 2.0])
    {'median': 0.5, 'low': 0.0, 'high': 0.5}
    """
    extra = [a / b - 1 for a, b in zip(seconds, baseline, strict=True)]
    return {"median": median(extra), "low": min(extra), "high": max(extra)}


def row_bytes(parts: Parts, variant: str) -> int:
    """Bytes of a training row that the variant adds to the shared inputs."""
    if variant == "cover":
        return 4 * parts.sizes.cover
    return SLOT_BYTES + 4 * len(parts.sizes.topic_numbers) if variant == "topics" else 0


def serving_bytes(parts: Parts, variant: str) -> int:
    """Bytes of the value that a video has in Redis for the variant's sake, as it is encoded.

    0 for cover features where there are no covers.
    """
    if variant == "cover" and not parts.sizes.cover:
        return 0
    cover = Field("cover", "float32", "slots", "float32", parts.sizes.cover)
    schemas = {"topics": Schema.of(VIDEO_TOPICS), "cover": Schema((cover,))}
    return schemas[variant].row.itemsize if variant in schemas else 0
