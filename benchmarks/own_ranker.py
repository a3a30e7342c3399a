"""A ranker of one's own on a home's log: what topics add by a join, and by the encoder; serving.

`python -m benchmarks.own_ranker HOME [--seeds 3] [--serve]`.

The ranker is LightGBM on four running counters, as a team has them without this platform: how often
the user and the video were shown before, and their smoothed click rates. All rankers learn from the
first four fifths of the time and are judged on the last; intervals are over users and seeds.
`--serve` also times requests of 600 candidates against the Redis that the home was loaded into.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.ranking.bootstrap import bootstrap
from consumers.ranking.metrics import Groups
from consumers.ranking.own import Encoder
from consumers.ranking.problems import Source
from consumers.ranking.sources import source_as_known
from consumers.ranking.splits import by_time
from consumers.training import join_stream
from consumers.training.log import count_before
from vidtopics.contracts import EVENT_TIME, SERVICES
from vidtopics.online import OnlineClient
from vidtopics.server import url_of
from vidtopics.settings import load
from vidtopics.tables import Tables
from vidtopics.tables.schemas import TIMESTAMP
from vidtopics.tables.stamps import now_us

SHARE, ROUNDS = 0.2, 100
PARAMETERS = {
    "objective": "binary",
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
    "learning_rate": 0.05,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
}
CANDIDATES, REQUESTS = 600, 100
Floats = NDArray[np.float64]


def counters(source: Source) -> Floats:
    """float64[N, 4]: user and video before each row, their impressions and smoothed click rates."""
    frame = source.frame
    times_us, clicked = frame.shown_us, frame.clicked
    columns = []
    for group, prior in ((source.users.astype(np.int32), 4), (frame.video, 10)):
        shown = count_before(group, times_us, group, times_us - 1)
        clicks = count_before(group[clicked], times_us[clicked], group, times_us - 1)
        columns += [shown, (clicks + prior / 2) / (shown + prior)]
    return np.stack(columns, axis=1)


def joined_match(tables: Tables, source: Source, versions: Mapping[str, int]) -> Floats:
    """float64[N, 1]: the user's residual in the candidate's topics, of a join; NaN: no value.

    It is that of docs/recall-and-ranking.md, "Bring your own ranker".
    """
    rows = source.frame.impressions
    times = pa.array(source.frame.shown_us).cast(TIMESTAMP)
    spine = rows.select(["video_id", "user_id"]).append_column(EVENT_TIME, times)
    views = SERVICES["training_v2"]
    joined = join_stream(tables, spine.to_reader(), views, versions=versions).read_all()
    names = ("user_topic_ids", "user_topic_clicks", "user_topic_expected")
    lists = zip(
        *(joined[name].to_pylist() for name in ("topic_ids", "topic_weights", *names)), strict=True
    )
    return np.array([[residual(*row)] for row in lists])


def residual(
    topics: Sequence[int] | None,
    weights: Sequence[float],
    met: Sequence[int] | None,
    clicks: Sequence[float],
    expected: Sequence[float],
) -> float:
    """(clicks - expected) / (expected + 2) of the user in the candidate's topics, by weight.

    >>> residual([5, 6, -1], [0.5, 0.25, 0.0], [5, 7], [4.0, 1.0], [2.0, 1.0])
    0.25
    """
    if topics is None or met is None:
        return float("nan")
    rows = zip(met, clicks, expected, strict=True)
    by_topic = {topic: (c - due) / (due + 2) for topic, c, due in rows}
    slots = zip(topics, weights, strict=True)
    return sum(weight * by_topic.get(topic, 0.0) for topic, weight in slots if topic >= 0)


def fit(columns: NDArray[Any], clicked: NDArray[np.bool_], seed: int) -> lightgbm.Booster:
    """A ranker."""
    return lightgbm.train({**PARAMETERS, "seed": seed}, lightgbm.Dataset(columns, clicked), ROUNDS)


def serve(home: Path, encoder: Encoder, model: lightgbm.Booster, source: Source) -> None:
    """Milliseconds of a request: reading alone, reading and encoding, scoring."""
    client = OnlineClient.from_url(url_of(home))
    videos = source.frame.videos.to_pylist()[:CANDIDATES]
    user = source.frame.impressions["user_id"][-1].as_py()
    numbers = encoder.encode_request(client, user, videos)
    ids = {"video": videos, "user": [user]}
    steps: dict[str, Callable[[], object]] = {
        "read ranking_v2": lambda: client.read_entities("ranking_v2", ids),
        "read and encode": lambda: encoder.encode_request(client, user, videos),
        "score": lambda: model.predict(numbers, num_threads=1),
    }
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REQUESTS):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            taken[name].append((time.perf_counter() - began) * 1e3)
    for name, values in taken.items():
        p50, p99 = np.percentile(values[3:], [50, 99])
        print(f"  {name:16} {len(videos)} candidates: p50 {p50:.1f} ms, p99 {p99:.1f} ms")  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints AUC and per-user AUC of each ranker, what topics gain, and times of requests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--serve", action="store_true")
    chosen = parser.parse_args(arguments)
    tables, settings = Tables(chosen.home), load(chosen.home / "settings.yaml")
    release = tables.latest_release()
    source = source_as_known(tables, release, settings, now_us())
    window_us = settings.ranking.label_window // timedelta(microseconds=1)
    train, test = by_time(source.frame.shown_us, share=SHARE, window_us=window_us)
    encoder, clicked = Encoder.learn(source, train), source.frame.clicked
    numbers, own = encoder.encode_log(source), counters(source)
    match = joined_match(tables, source, release["versions"])
    plain, topics = np.split(numbers, [len(encoder.plain_names)], axis=1)
    columns = {
        "own": own,
        "own + joined residual": np.hstack([own, match]),
        "own + encoder's topic numbers": np.hstack([own, topics]),
        "encoder's plain numbers": plain,
        "encoder's numbers": numbers,
    }
    scores = {}
    for name, matrix in columns.items():
        models = [fit(matrix[train], clicked[train], seed) for seed in range(chosen.seeds)]
        scores[name] = np.stack([np.asarray(model.predict(matrix[test])) for model in models])
    draws = bootstrap(Groups.of(source.users[test], clicked[test]), scores, seed=settings.seed)
    known = np.isfinite(match[test]).mean()
    print(f"{len(train):,} rows to learn, {len(test):,} test; {known:.0%} have a joined residual")  # noqa: T201
    for name in columns:
        base = "encoder's plain numbers" if name.startswith("encoder's") else "own"
        figures = []
        for metric in ("auc", "user_auc"):
            figures.append(f"{draws.interval(metric, name)['mean']:.4f}")
            gain = draws.interval(metric, name, less=base)
            text = f"{gain['mean']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"
            figures.append("" if name == base else text)
        print(f"  {name:30} AUC {figures[0]} {figures[1]:28}  per user {figures[2]} {figures[3]}")  # noqa: T201
    if chosen.serve:
        serve(chosen.home, encoder, models[-1], source)


if __name__ == "__main__":
    main()
