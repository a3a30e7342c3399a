"""A rollback while readers go at full speed: its seconds, the reads meanwhile, errors and mixes.

`python -m benchmarks.rollback [--videos N]`. Two releases of both views of `ranking_v1` are loaded,
the second with new values for all videos, in place. Readers in processes of their own read random
600 of the videos; every value of a release has its event time, so one answer with both is a mix.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from dataclasses import dataclass

import numpy as np
import redis

from benchmarks import homes
from benchmarks.data import DAY_US, START_US, rows, video_ids
from benchmarks.figures import timed
from vidtopics.contracts import VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.materialization import materialize
from vidtopics.materialization.rollback import switch_back
from vidtopics.online import OnlineClient
from vidtopics.settings import OnlineSettings
from vidtopics.tables import Tables

VIEWS = (VIDEO_TOPICS, VIDEO_STATISTICS)
SETTINGS = OnlineSettings()
IDS = 600


@dataclass(frozen=True)
class Read:
    """One answer: when it came, how long it took, and the releases that its values are of."""

    ended: float
    seconds: float
    releases: frozenset[int]


@dataclass(frozen=True)
class Result:
    """Seconds of the rollback and of the loads, memory after each load, reads, and errors."""

    seconds: float
    loads: list[float]
    memory: list[int]
    reads: list[Read]
    errors: list[str]

    @property
    def mixes(self) -> int:
        """Answers with values of both releases."""
        return sum(len(read.releases) > 1 for read in self.reads)


def run(videos: int, readers: int) -> Result:
    """Load two releases, then go back from the second to the first under reads."""
    with homes.folder() as home, homes.redis_server() as url:
        tables = Tables(home)
        connection = redis.Redis.from_url(url)
        loads, memory = [], [homes.used_memory(url)]
        for release in (1, 2):
            at = np.full(videos, START_US + release * DAY_US)
            for view in VIEWS:
                ids = video_ids(np.arange(videos))
                homes.publish(tables, view, rows(view, ids, at, at, seed=release))
            homes.release_tables(tables)
            loads.append(timed(lambda: materialize(tables, connection, SETTINGS))[0])
            memory.append(homes.used_memory(url))
        stop = multiprocessing.Event()
        with multiprocessing.Pool(readers, _begin, (stop,)) as pool:
            answers = [pool.apply_async(_read, (url, videos, seed)) for seed in range(readers)]
            time.sleep(2)
            seconds = switch_back(connection, SETTINGS, 1).seconds
            time.sleep(2)
            stop.set()
            done = [answer.get() for answer in answers]
    reads = [read for part, _ in done for read in part]
    errors = [error for _, part in done for error in part]
    return Result(seconds, loads, memory, reads, errors)


def _begin(stop: object) -> None:
    global _stop  # noqa: PLW0603  a pool hands events over at its processes' start alone
    _stop = stop


def _read(url: str, videos: int, seed: int) -> tuple[list[Read], list[str]]:
    """Reads until the event is set."""
    client, rng = OnlineClient.from_url(url), np.random.default_rng(seed)
    reads: list[Read] = []
    errors: list[str] = []
    while not _stop.is_set():  # type: ignore[attr-defined]
        ids = [f"v{n:07}" for n in rng.choice(videos, IDS, replace=False)]
        began = time.monotonic()
        try:
            features = client.read_views([view.name for view in VIEWS], ids)
        except Exception as error:
            errors.append(repr(error))
            continue
        seconds = time.monotonic() - began
        days = {
            (t - START_US) // DAY_US for f in features.values() for t in set(f.event_us.tolist())
        }
        reads.append(Read(time.monotonic(), seconds, frozenset(days)))
    return reads, errors


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=int, default=200_000)
    parser.add_argument("--readers", type=int, default=2)
    options = parser.parse_args()
    result = run(options.videos, options.readers)
    took = np.array([read.seconds for read in result.reads]) * 1000
    print(  # noqa: T201
        f"rollback of {options.videos:,} videos, 2 views: {result.seconds:.3f} s; "
        f"{len(result.reads):,} reads of {IDS} ids by {options.readers} processes, "
        f"p50 {np.median(took):.2f} ms, p99 {np.percentile(took, 99):.2f} ms, "
        f"{len(result.errors)} errors, {result.mixes} mixes; loads of "
        f"{' and '.join(f'{s:.1f} s' for s in result.loads)}, used_memory "
        f"{' then '.join(f'{m / 1e6:.0f} MB' for m in result.memory)}"
    )
    if result.errors:
        print(result.errors[0])  # noqa: T201


_stop: object = None
if __name__ == "__main__":
    main()
