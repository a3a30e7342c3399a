"""What queues that move with events cost: events applied a second with and without them.

`python -m benchmarks.live_queues [--videos N] [--events N]`. One fresh server with an append-only
log; a catalogue of N videos, each in four topics and their parents, by the job's own query and
rules. The same events, a quarter of them of one video, are applied from their beginning in turns:
alone, and beside a thread that refreshes all queues at the pace of `vidtopics events apply`.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import redis
import typer

from benchmarks import homes
from benchmarks.events import DAY, events
from vidtopics.cli.event_monitoring import Watch
from vidtopics.cli.event_service import refresh_at_a_pace
from vidtopics.events.applying import Applier
from vidtopics.events.generations import Generation, drop, keys_of, open_generation
from vidtopics.events.queue_sets import QueueSet, known_sets
from vidtopics.jobs.live_queues import LiveOrdering
from vidtopics.jobs.queue_videos import queue_videos
from vidtopics.layout import Layout, place
from vidtopics.layout.live import LiveKeys
from vidtopics.materialization.live_queues import QueueWork
from vidtopics.online.events import EventClient
from vidtopics.settings import Settings

VIDEOS_OF_A_TOPIC = 250
ROUNDS = 3
SETTINGS = Settings()


def ordering_of(videos: int, as_of_us: int) -> LiveOrdering:
    """A catalogue of so many videos, one in twenty of them young and never shown."""
    rng = np.random.default_rng(7)
    ids = [f"v{number:07d}" for number in range(videos)]
    topics = max(videos * 4 // VIDEOS_OF_A_TOPIC, 4)
    own = rng.integers(0, topics, (videos, 4))
    exposures = rng.geometric(0.005, videos) * (rng.random(videos) > 0.05)
    clicks = rng.binomial(exposures, 0.15)
    moments = [datetime.fromtimestamp(as_of_us / 1e6, UTC) - timedelta(days=d) for d in (1, 90)]
    published = [moments[0 if shown == 0 else 1] for shown in exposures.tolist()]
    live = pa.table({"video_id": ids, "published_at": pa.array(published)})
    assigned = pa.table(
        {
            "video_id": ids,
            "topic_ids": pa.array(own.tolist()),
            "parent_topic_ids": pa.array((own // 10).tolist()),
            "topic_epoch": [1] * videos,
        }
    )
    statistics = pa.table(
        {
            "video_id": ids,
            "video_exposures": exposures,
            "video_clicks": clicks,
            "video_decayed_clicks": clicks.astype(float),
            "video_decayed_at": [as_of_us] * videos,
        }
    )
    rules, rates = SETTINGS.queues, SETTINGS.statistics
    members, prior = queue_videos(live, assigned, statistics, rules, rates, as_of_us=as_of_us)
    return LiveOrdering(members, prior, SETTINGS)


class Timed:
    """A set of queues whose refreshes are timed."""

    def __init__(self, work: QueueWork) -> None:
        self.work = work
        self.seconds: list[float] = []
        self.cpu_s: list[float] = []
        self.written = 0

    def refresh(self) -> None:
        """As :meth:`QueueWork.refresh`."""
        began, own_s = time.perf_counter(), time.process_time()
        self.written += self.work.refresh().written
        self.seconds.append(time.perf_counter() - began)
        self.cpu_s.append(time.process_time() - own_s)


@contextmanager
def refreshed(timed: Timed) -> Iterator[None]:
    """Beside the block, at the pace of the service."""
    ended = threading.Event()
    every_s = SETTINGS.queues.refresh.total_seconds()
    thread = threading.Thread(target=refresh_at_a_pace, args=(timed, every_s, ended, Watch()))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Run(NamedTuple):
    """Events a second, seconds of each refresh, CPU of the first (alone), and lists written."""

    rate: float
    refreshes: list[float]
    cpu_s: float
    written: int


def applied(
    store: redis.Redis, keys: LiveKeys, applier: Applier, release: int, as_of_us: int, videos: int
) -> tuple[Run, Run]:
    """All events that the streams hold, alone and beside refreshes, each from the beginning."""
    runs = []
    for number, with_queues in enumerate((False, True)):
        generation = Generation(2 * release + number, as_of_us)
        open_generation(store, keys, generation)
        queues = QueueSet(generation.release, 1)
        ordering = ordering_of(videos, as_of_us)
        timed = Timed(QueueWork(store, keys, generation, queues, release, ordering))
        if with_queues:
            timed.refresh()  # all queues, as at a hand-over
        began = time.perf_counter()
        with refreshed(timed) if with_queues else nullcontext():
            entries = applier.apply(generation)
            seconds = time.perf_counter() - began
        if with_queues:
            timed.refresh()
            state = known_sets(store, "vt")[queues]
            assert (state.written, state.is_read) == (timed.written, True)
        runs.append(Run(entries / 2 / seconds, timed.seconds, sum(timed.cpu_s[:1]), timed.written))
        drop(store, keys, generation.release)
    return runs[0], runs[1]


def main() -> None:
    """Print the rates, their ratio, and what refreshes take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=20_000, help="of the catalogue")
    parser.add_argument("--events", type=int, default=200_000, help="of each round")
    options = parser.parse_args()
    with homes.redis_server() as url, redis.Redis.from_url(url) as store:
        store.set(place("vt", "layout"), Layout(16).to_json())
        keys, as_of_us = keys_of(store, "vt"), time.time_ns() // 1000 - 3_600_000_000
        EventClient(store).send(events(options.events, 1, as_of_us))
        applier = Applier(store, keys, recent=128, max_ahead=DAY)
        rounds = [
            applied(store, keys, applier, release, as_of_us, options.videos)
            for release, _ in zip(count(1), range(ROUNDS), strict=False)
        ]
    alone, beside = (np.median([run[i].rate for run in rounds]) for i in (0, 1))
    ratio = np.median([run[1].rate / run[0].rate for run in rounds])
    typer.echo(f"applied alone: {alone:,.0f} events/s; beside refreshes of queues: {beside:,.0f}")
    typer.echo(f"ratio: {ratio:.2f} (median of {ROUNDS} pairs)")
    first = np.median([run[1].refreshes[0] for run in rounds])
    later = [seconds for run in rounds for seconds in run[1].refreshes[1:]]
    cpu_s = np.median([run[1].cpu_s for run in rounds])
    typer.echo(
        f"a refresh of all queues of {options.videos:,} videos: {first:.2f} s, CPU {cpu_s:.2f} s"
    )
    typer.echo(f"{len(later)} refreshes while events came: median {np.median(later):.2f} s each")
    typer.echo(f"lists written: {np.median([run[1].written for run in rounds]):,.0f} a round")


if __name__ == "__main__":
    main()
