"""Recall and recommendation within a request, beside bare reads of the same size in the same run.

    python -m benchmarks.recommend --home .vidtopics [--users 300] [--json FILE]

Reads a home that `vidtopics demo` has made, loads its release into a Redis server of its own, and
takes turns, user by user: a bare read of 600 videos' topics and statistics, recall, what else a
request is made of, the whole request, and the whole request with events: each user was shown some
videos since the release, of which some were clicked. Wall times are what a user waits for; ratios
are to the bare read, so that another load on the machine slows both sides; CPU times (of the
service, not of Redis) hardly depend on it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np
import redis
import torch
from numpy.typing import NDArray

from benchmarks import homes
from benchmarks.figures import Figure, Target, quantile_figure
from benchmarks.home_report import report_home, verdict_line
from consumers.live import LiveRules, LiveStore
from consumers.ranking.examples import SharedBatch
from consumers.ranking.models import Model
from consumers.ranking.requests import Encoded
from consumers.ranking.serve import Ranker
from consumers.ranking.store import restore
from consumers.ranking.train import one_thread
from consumers.recommendation import VIEWS, gather, recommend
from consumers.retrieval import Recall
from consumers.retrieval.epochs import of_epoch
from vidtopics.contracts import USER_RECENT_CLICKS, VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.materialization import live, materialize
from vidtopics.online import OnlineClient
from vidtopics.online.events import EventClient
from vidtopics.settings import Settings, load
from vidtopics.tables import FOREVER, Tables

ROUNDS = 3
"""The first warms up and isn't counted."""
BARE, RECALL, WHOLE, LIVE = "bare read", "recall", "recommend", "with events"
EVENTS = 20
"""Impressions of each user since the release; every fourth was clicked."""
PARTS = (RECALL, "features", "encode", "predict")
"""Of a request; what it has beside them sorts the scores."""
TORCH = "by torch"
"""The peer of `predict`: the same model and rows (not DIN, whose rows share no history)."""
TARGETS = {(RECALL, 0.5): 3.0, (RECALL, 0.99): 8.0, (WHOLE, 0.5): 10.0, (WHOLE, 0.99): 20.0}
"""Milliseconds at most."""


class Times(NamedTuple):
    """Milliseconds of a step, call by call."""

    wall: NDArray[np.float64]
    cpu: NDArray[np.float64]


@dataclass(frozen=True)
class Service:
    """What a recommendation service keeps between requests."""

    client: OnlineClient
    recall: Recall
    with_events: Recall
    ranker: Ranker
    model: Model

    def steps(self, user: str, videos: Sequence[str]) -> dict[str, Callable[[], Any]]:
        """The steps of one user's turn; each part takes what the part before it gave."""
        given = dict[str, Any]()

        def take(name: str, step: Callable[[], Any]) -> None:
            given[name] = step()

        def read() -> Any:
            ids = {"video": given[RECALL].video_ids, "user": [user]}
            features = self.client.read_entities(VIEWS, ids)
            topics = of_epoch(features[VIDEO_TOPICS.name], given[RECALL].epoch)
            return dict(features) | {VIDEO_TOPICS.name: topics}

        def encode() -> Any:
            return self.ranker.encode(given[RECALL], given["features"])

        def score() -> Any:
            return self.ranker.predict(given["encode"])

        def score_by_torch() -> Any:
            with one_thread(), torch.inference_mode():
                return torch.sigmoid(self.model(_batch(given["encode"]))).numpy()

        made = (lambda: self.recall.recall(user, seed=7), read, encode, score, score_by_torch)
        names, views = [*PARTS, TORCH], [VIDEO_TOPICS.name, VIDEO_STATISTICS.name]
        return {
            BARE: partial(self.client.read_views, views, videos),
            **{name: partial(take, name, step) for name, step in zip(names, made, strict=True)},
            WHOLE: partial(recommend, self.recall, self.ranker, user, top=10),
            LIVE: partial(recommend, self.with_events, self.ranker, user, top=10),
        }


def _batch(encoded: Encoded) -> SharedBatch:
    """A request as tensors; candidates share the history."""
    arrays = {name: torch.from_numpy(np.array(value)) for name, value in vars(encoded).items()}
    n = len(encoded.user)
    arrays |= {"clicked": torch.zeros(n), "cover": torch.zeros(n, 0)}
    return SharedBatch(**arrays, history_row=torch.zeros(n, dtype=torch.int64))


def measure(home: Path, users: int) -> dict[str, Any]:
    """Wall and CPU times of each step, ratios to the bare read, and the targets."""
    tables, settings = Tables(home), load(home / "settings.yaml")
    folder = tables.home / "models" / "ranking"
    ranker, stored = Ranker.load(folder), restore(folder)
    ids = tables.as_of(USER_RECENT_CLICKS, FOREVER)["user_id"].to_pylist()
    chosen = np.random.default_rng(7).choice(ids, min(users, len(ids)), replace=False).tolist()
    with homes.redis_server() as url:
        connection = redis.Redis.from_url(url)
        materialize(tables, connection, settings.online)
        client = OnlineClient.from_url(url)
        with_events = Recall(LiveStore(client, LiveRules.of(settings)), settings.recall)
        service = Service(
            client, Recall(client, settings.recall), with_events, ranker, stored.model
        )
        candidates = [service.recall.recall(user, seed=7).video_ids for user in chosen]
        send_events(tables, connection, settings, dict(zip(chosen, candidates, strict=True)))
        assert gather(with_events, with_events.client.snapshot(), chosen[0]).live
        connection.close()
        times = _turns(service, chosen, candidates[0])
        client.close()
    return {
        "model": stored.name,
        "users": len(chosen),
        "candidates": int(np.median([len(videos) for videos in candidates])),
        "load": os.getloadavg()[0],
        **report_of(times),
    }


def send_events(
    tables: Tables, connection: Any, settings: Settings, videos: Mapping[str, Sequence[str]]
) -> None:
    """Show each user the first of these videos, and apply the events."""
    applier, us = live.begin(connection, settings), time.time_ns() // 1_000
    events = [
        {"kind": "impression" if number % 4 else "click", "event_id": f"{user}-{number}"}
        | {"user_id": user, "video_id": video, "event_timestamp": (us - number) / 1e6}
        for user, shown in videos.items()
        for number, video in enumerate(shown[:EVENTS])
    ]
    EventClient(connection, prefix=settings.online.prefix).send(events)
    for generation in live.synchronise(tables, applier):
        applier.apply(generation)


def report_of(times: dict[str, Times]) -> dict[str, Any]:
    """Each step in figures, and the targets."""
    return {
        "steps": {name: _summary(row, times[BARE]) for name, row in times.items()},
        "events": cost_of_events(times),
        "targets": [_target(figure) for figure in figures(times)],
    }


def _turns(service: Service, users: list[str], videos: Sequence[str]) -> dict[str, Times]:
    """Each step for each user, one step after the other."""
    rows: dict[str, list[tuple[float, float]]] = {}
    for turn in range(ROUNDS):
        for user in users:
            for name, step in service.steps(user, videos).items():
                began, cpu = perf_counter(), process_time()
                step()
                spent = 1e3 * (perf_counter() - began), 1e3 * (process_time() - cpu)
                if turn:
                    rows.setdefault(name, []).append(spent)
    return {name: Times(*np.array(spent).T) for name, spent in rows.items()}


def _summary(times: Times, bare: Times) -> dict[str, float]:
    wall, cpu = (float(np.median(column)) for column in times)
    return {
        "p50_ms": round(wall, 2),
        "p99_ms": round(float(np.quantile(times.wall, 0.99)), 2),
        "cpu_p50_ms": round(cpu, 2),
        "ratio_p50": round(wall / float(np.median(bare.wall)), 2),
    }


def cost_of_events(times: Mapping[str, Times]) -> dict[str, float]:
    """What events cost a request: ratios of the medians with them to those without."""
    ours, peer = times[LIVE], times[WHOLE]
    return {
        "wall": round(float(np.median(ours.wall) / np.median(peer.wall)), 3),
        "cpu": round(float(np.median(ours.cpu) / np.median(peer.cpu)), 3),
    }


def figures(times: dict[str, Times]) -> list[Figure]:
    """The figures that must reach something, beside the bare read's same quantile."""
    return [
        quantile_figure(
            "recommend",
            f"{name}, p{100 * quantile:.0f}",
            quantile,
            [times[name].wall],
            [times[BARE].wall],
            BARE,
            [Target("most", bound)],
        )
        for (name, quantile), bound in TARGETS.items()
    ]


def _target(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "ms": round(figure.ours, 2),
        "target": figure.target,
        "met": figure.met,
    }


def show(report: dict[str, Any]) -> list[str]:
    """The report in lines."""
    lines = [
        f"{report['model']}, {report['users']} users, {report['candidates']} candidates at the"
        f" median, load {report['load']:.1f}"
    ]
    lines += [
        f"  {name:11s} p50 {row['p50_ms']:6.2f} ms, p99 {row['p99_ms']:6.2f} ms,"
        f" {row['ratio_p50']:5.2f} bare reads, CPU {row['cpu_p50_ms']:5.2f} ms"
        for name, row in report["steps"].items()
    ]
    ratios = report["events"]
    lines.append(
        f"  {EVENTS} events of the user since the release: {ratios['wall']:.2f} of the time,"
        f" {ratios['cpu']:.2f} of the CPU of a request without"
    )
    return lines + [verdict_line(row) for row in report["targets"]]


def main() -> None:
    """Print the figures; with `--json` write them too."""
    report_home(__doc__, measure, show, users=300)


if __name__ == "__main__":
    main()
