"""A ranking request: topic ids and weights of 600 random videos.

Our client against `get_online_features` on Feast's Redis store, from one thread and from eight, on
a server that is left alone, during rebuilds, and while a release goes back and forth. And against
what no client can do without: redis-py's `MGET` of the same keys, prepared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import redis

from benchmarks import homes
from benchmarks.data import DAY_US, START_US, rows, video_ids
from benchmarks.figures import Figure, Milliseconds, Scale, Target, check, figure, quantile_figure
from benchmarks.serving import (
    NAMES,
    VIEW,
    Serving,
    Sizes,
    as_lists,
    latencies,
    latencies_for,
    read_feast,
    serving,
)
from benchmarks.writers import FULL, ROLLBACK, SETTINGS, beside
from vidtopics.contracts import VIEWS
from vidtopics.materialization import materialize
from vidtopics.online import Features
from vidtopics.online.requests import Request, encoded

PEER = "Feast's Redis store, get_online_features"
BARE = "MGET of the same keys by redis-py: packed, sent, parsed"
THREADS = (1, 8)
WARM_UP = 20
QUIET = ""
RUNS = {FULL: "runs of --full", ROLLBACK: "rollbacks"}


@dataclass(frozen=True)
class Plan:
    """`videos` in the store; rounds, and seconds of each side in a round."""

    videos: int
    rounds: int
    seconds: float


PLANS: dict[Scale, Plan] = {"full": Plan(200_000, 3, 2), "smoke": Plan(1_000, 2, 0.05)}
Sides = Mapping[str, Callable[[list[str]], Any]]
Rounds = dict[str, list[Milliseconds]]


def run(scale: Scale) -> list[Figure]:
    """p50 and p99 of all rounds; all readers ask one server for the same videos."""
    plan = PLANS[scale]
    with serving(Sizes(plan.videos, plan.rounds, 0, 0)) as served:
        sides: Sides = {"ours": partial(_read, served), "feast": partial(read_feast, served.feast)}
        features = _read(served, served.requests[0])
        check(
            "online: values",
            [features[n].tolist() for n in NAMES],
            as_lists(sides["feast"](served.requests[0])),
        )
        for read in sides.values():
            latencies(read, served.requests, WARM_UP)
        bare = _in_turns(plan, {"ours": sides["ours"], "bare": _bare(served)}, served.requests, 1)
        figures = [*_alone(plan, served, sides), _beside_bare(plan, bare)]
        figures += _during(plan, served, sides, FULL)[1]
        _second_release(plan, served)
        seconds, measured = _during(plan, served, sides, ROLLBACK)
        what = f"a rollback of {plan.videos:,} videos, readers at full speed"
        back = figure("online", what, "s", seconds, targets=[Target("most", 1)])
        return [*figures, *measured, back]


def _read(served: Serving, ids: list[str]) -> Features:
    return served.client.read(VIEW, ids, NAMES)


def _bare(served: Serving) -> Callable[[list[str]], object]:
    """The same bytes without hashes, decoding or judging; keys are made before the clock starts."""
    directory = served.client.directory([VIEW])
    keys = {ids[0]: Request.of(directory, [(VIEW, encoded(ids))]).keys() for ids in served.requests}
    connection = redis.Redis.from_url(served.url)
    return lambda ids: connection.mget(keys[ids[0]])


def _second_release(plan: Plan, served: Serving) -> None:
    """New values of all videos, so that each key holds what a rollback goes back to, too."""
    event = np.full(plan.videos, START_US + DAY_US)
    ids = video_ids(np.arange(plan.videos))
    homes.publish(served.tables, VIEWS[VIEW], rows(VIEWS[VIEW], ids, event, event, seed=9))
    homes.release_tables(served.tables)
    with redis.Redis.from_url(served.url) as connection:
        materialize(served.tables, connection, SETTINGS)


def _in_turns(
    plan: Plan,
    sides: Sides,
    requests: Sequence[list[str]],
    threads: int,
) -> Rounds:
    turns = [
        {name: latencies_for(read, requests, plan.seconds, threads) for name, read in sides.items()}
        for _ in range(plan.rounds)
    ]
    return {name: [turn[name] for turn in turns] for name in sides}


def _alone(plan: Plan, served: Serving, sides: Sides) -> list[Figure]:
    measured = {n: _in_turns(plan, sides, served.requests, n) for n in THREADS}
    return [f for n, rounds in measured.items() for f in _quantiles(plan, rounds, n, QUIET)]


def _during(
    plan: Plan, served: Serving, sides: Sides, kind: str
) -> tuple[list[float], list[Figure]]:
    """Seconds of the writer's runs, and the readers' figures meanwhile."""
    home = served.tables.home
    with beside(kind, home, served.url) as seconds:
        measured = {n: _in_turns(plan, sides, served.requests, n) for n in THREADS}
    note = f"during {len(seconds)} {RUNS[kind]}"
    return seconds, [f for n, rounds in measured.items() for f in _quantiles(plan, rounds, n, note)]


def _quantiles(plan: Plan, rounds: Rounds, threads: int, during: str) -> list[Figure]:
    """p50 beside Feast's, and p99: of so few reads of the peer there is none."""
    who = "one thread" if threads == 1 else f"{threads} threads"
    name = f"600 of {plan.videos:,} videos, topic ids and weights, client read, {who}"
    ours, feast = rounds["ours"], rounds["feast"]
    counts = f"{sum(map(len, ours)):,} and {sum(map(len, feast)):,} reads"
    note = f"{during}, {counts}" if during else counts
    is_target = threads == 1 and not during
    p50 = [Target("most", 1), Target("faster", 20)] if is_target else []
    p99 = [Target("most", 2)] if is_target else []
    return [
        quantile_figure("online", f"{name}, p50", 0.5, ours, feast, PEER, p50, note=note),
        quantile_figure("online", f"{name}, p99", 0.99, ours, targets=p99, note=note),
    ]


def _beside_bare(plan: Plan, rounds: Rounds) -> Figure:
    return quantile_figure(
        "online",
        f"600 of {plan.videos:,} videos, client read, one thread, p50",
        0.5,
        rounds["ours"],
        rounds["bare"],
        BARE,
        [Target("share", 1.6)],
        compare="share",
        note=f"{plan.rounds} rounds of {plan.seconds:g} s a side",
    )
