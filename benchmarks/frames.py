"""What a training frame costs: `python -m benchmarks.frames --rows 2300000`.

A synthetic log (users and videos by a power law, four topics a video, a fifth of the clicks known
late): seconds and peak memory of the frame and its examples, rows a second of `batch()`, and of a
training of Wide&Deep with topics, an epoch of it and one of its head.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pyarrow as pa

from consumers.ranking.codes import vocabulary
from consumers.ranking.examples import Examples
from consumers.ranking.inputs import encode
from consumers.ranking.models import VARIANTS, Sizes
from consumers.ranking.problems import sizes_of
from consumers.ranking.train import one_thread, train
from consumers.training.frame import build_frame
from consumers.training.inputs import Inputs, ViewRows
from vidtopics.settings import Settings
from vidtopics.tables import FOREVER

DAY_US = 86_400_000_000
TOPICS, DAYS, BATCH = 250, 14, 2_048


def synthetic(rows: int, *, users: int, videos: int, seed: int = 7) -> Inputs:
    """A log of two weeks, with topics of every video from the start."""
    r = np.random.default_rng(seed)
    user = (users * r.random(rows) ** 2).astype(np.int64)
    video = (videos * r.random(rows) ** 2).astype(np.int64)
    times = np.sort(r.integers(0, DAYS * DAY_US, rows)) + DAY_US
    clicked = r.random(rows) < 0.3
    late = np.where(r.random(rows) < 0.2, DAY_US // 2, 0)
    ids = pa.array(np.char.mod("i%09d", np.arange(rows)))
    shown = {"event_id": ids, "position": r.integers(1, 9, rows).astype(np.int32)}
    shown |= {"user_id": pa.array(user).cast(pa.string())}
    shown |= {"video_id": pa.array(video).cast(pa.string())}
    shown |= {"event_us": times, "created_us": times}
    clicks = {"event_id": ids.filter(pa.array(clicked)), "event_us": times[clicked] + 1_000_000}
    clicks |= {"created_us": (times + late)[clicked] + 1_000_000}
    return Inputs.of(shown, clicks, video_topics=_video_topics(r, videos), topics=_topics(r))


def _video_topics(r: np.random.Generator, videos: int) -> ViewRows:
    ids = np.full((videos, 8), -1)
    ids[:, :4] = r.integers(0, TOPICS, (videos, 4))
    weights = np.zeros((videos, 8), np.float32)
    weights[:, :4] = np.sort(r.random((videos, 4)))[:, ::-1]
    ends = pa.array(np.arange(videos + 1) * 8, pa.int32())
    parents = np.where(ids < 0, -1, ids % 16)
    slots = {"topic_ids": ids, "topic_weights": weights, "parent_topic_ids": parents}
    values = {
        name: pa.ListArray.from_arrays(ends, pa.array(array.reshape(-1)))
        for name, array in slots.items()
    }
    values["topic_epoch"] = pa.array(np.ones(videos, np.int64))
    zero = np.zeros(videos, np.int64)
    keys = pa.table({"video_id": pa.array(np.arange(videos)).cast(pa.string())})
    return ViewRows(keys, zero, zero, pa.table(values))


def _topics(r: np.random.Generator) -> ViewRows:
    centroids = r.normal(size=(TOPICS, 64)).astype(np.float32)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    zero, ids = np.zeros(TOPICS, np.int64), np.arange(TOPICS)
    values = {"centroid": list(centroids), "topic_epoch": zero + 1, "parent_topic_id": ids % 16}
    return ViewRows(pa.table({"topic_id": ids}), zero, zero, pa.table(values))


@contextmanager
def timed(what: str, rows: int) -> Iterator[None]:
    """Print seconds, rows a second and peak memory."""
    began = time.perf_counter()
    yield
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what:32} {seconds:8.1f} s {rows / seconds:12,.0f} rows/s  peak {peak:.2f} GB")  # noqa: T201


def rate(call: Callable[[], object], *, times: int = 5) -> float:
    """Rows a second of a call over one batch, the median."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return BATCH / float(np.median(seconds))


def measure(rows: int) -> None:
    """Print the table."""
    settings = Settings()
    build_all(synthetic(5_000, users=50, videos=50), settings)  # compiles
    inputs = synthetic(rows, users=rows // 100, videos=20_000)
    with timed("frame and examples", rows):
        examples, sizes = build_all(inputs, settings)
    chosen = np.random.default_rng(0).integers(0, len(examples), BATCH)
    for name, history in (("batch()", True), ("batch(history=False)", False)):
        per_second = rate(partial(examples.batch, chosen, history=history))
        print(f"{name:32} {'':10} {per_second:12,.0f} rows/s")  # noqa: T201
    pieces, epochs = VARIANTS["topics"], (1, 1)
    with one_thread(), timed("an epoch of each part", rows):
        train(
            "wide_and_deep", pieces, sizes, examples, None, settings.ranking, seed=7, epochs=epochs
        )


def build_all(inputs: Inputs, settings: Settings) -> tuple[Examples, Sizes]:
    """Frame, vocabulary of all rows, examples."""
    frame = build_frame(inputs, settings, as_of_us=FOREVER)
    known = vocabulary(frame, np.arange(len(frame)), inputs.topics, epoch=1, prior_exposures=10.0)
    examples = encode(frame, known, places=settings.ranking.history)
    return examples, sizes_of(known, examples)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_300_000)
    measure(parser.parse_args().rows)
