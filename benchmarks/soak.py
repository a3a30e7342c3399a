"""Minutes of events through the real consumer: nothing grows but what events leave, nothing drifts.

`python -m benchmarks.soak [--minutes 10] [--users 1000000] [--rate 2000]`. A home with a few
thousand videos, its Redis, `vidtopics events apply` as a process of its own, and a sender that
repeats every tenth batch. Half-way a release is run, which lands and counts what came, and is
loaded: the hand-over. At the end counts of all videos and counts and clicks of a sample of users
are held against a plain count of what was sent.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple, TextIO, cast

import numpy as np
import psutil
import redis
import typer
from numpy.typing import NDArray

from benchmarks import homes
from benchmarks.children import ROOT
from benchmarks.count_release import release_counts
from vidtopics.cli.event_service import land_before_run
from vidtopics.events.generations import keys_of, lags, opened, parts_of
from vidtopics.ingest import Source, ingest
from vidtopics.materialization import materialize
from vidtopics.online import OnlineClient
from vidtopics.online.events import EventClient
from vidtopics.settings import Settings
from vidtopics.tables import Tables
from vidtopics.tables.stamps import now_us

VIDEOS = 5_000
BATCH = 1_000
CLICKED = 0.25
SAMPLE = 300
REPEATED = 10
LAND_EVERY = "20s"
PARTS = 20
SETTINGS = Settings()
RECENT = SETTINGS.recall.recent_clicks


class Draws(NamedTuple):
    """What a batch consists of: int64[BATCH] users and videos, bool[BATCH] clicked."""

    users: NDArray[np.int64]
    videos: NDArray[np.int64]
    clicked: NDArray[np.bool_]


def draws(number: int, users: int) -> Draws:
    """The impressions of a batch, by its number alone."""
    rng = np.random.default_rng([17, number])
    videos = np.minimum(rng.zipf(1.3, BATCH), VIDEOS) - 1
    return Draws(rng.integers(0, users, BATCH), videos, rng.random(BATCH) < CLICKED)


def events_of(number: int, users: int, begin_us: int) -> Iterator[dict[str, Any]]:
    """The events of a batch; the i-th impression is shown `begin_us` + i."""
    drawn = draws(number, users)
    for i, (user, video, clicked) in enumerate(zip(*map(np.ndarray.tolist, drawn), strict=True)):
        event = {
            "kind": "impression",
            "event_id": f"{number}-{i}",
            "user_id": f"u{user}",
            "video_id": f"v{video}",
            "event_timestamp": (begin_us + i) / 1e6,
        }
        yield event
        if clicked:
            yield event | {"kind": "click", "clicked_at": (begin_us + i) / 1e6}


def send(url: str, users: int, rate: float) -> None:
    """Send batches until the input is closed; a line for each: its number and its first time."""
    client, began = EventClient.from_url(url), time.perf_counter()
    closed = os.dup(0)
    os.set_blocking(closed, False)
    for number in itertools.count():
        if _is_closed(closed):
            return
        begin_us = time.time_ns() // 1000
        batch = list(events_of(number, users, begin_us))
        for _ in range(2 if number % REPEATED == 0 else 1):
            client.send(batch)
        sys.stdout.write(f"{number} {begin_us}\n")
        sys.stdout.flush()
        ahead_s = (number + 1) * BATCH * (1 + CLICKED) / rate - (time.perf_counter() - began)
        time.sleep(max(ahead_s, 0))


def _is_closed(descriptor: int) -> bool:
    try:
        return os.read(descriptor, 1) == b""
    except BlockingIOError:
        return False


@dataclass
class Sent:
    """What was acknowledged: the first time of each batch, by its number."""

    users: int
    begins: dict[int, int] = field(default_factory=dict)

    def counts(self) -> NDArray[np.int64]:
        """int64[VIDEOS, 2]: exposures and clicks of each video."""
        counts = np.zeros((VIDEOS, 2), np.int64)
        for number in self.begins:
            drawn = draws(number, self.users)
            counts[:, 0] += np.bincount(drawn.videos, minlength=VIDEOS)
            counts[:, 1] += np.bincount(drawn.videos[drawn.clicked], minlength=VIDEOS)
        return counts

    def of_users(self, wanted: set[int]) -> dict[int, list[tuple[int, int, bool]]]:
        """Of some users the impressions by time: when, which video, whether it was clicked."""
        shown: dict[int, list[tuple[int, int, bool]]] = {user: [] for user in wanted}
        asked = np.array(sorted(wanted))
        for number, begin_us in sorted(self.begins.items()):
            drawn = draws(number, self.users)
            for i in np.flatnonzero(np.isin(drawn.users, asked)).tolist():
                impression = (begin_us + i, int(drawn.videos[i]), bool(drawn.clicked[i]))
                shown[int(drawn.users[i])].append(impression)
        return shown


def begin(tables: Tables, store: redis.Redis, folder: Path) -> None:
    """Videos, one impression of the day before, a release, and its load."""
    folder.mkdir(parents=True)
    names = "video_id,title,cover,primary_class,secondary_class,tags,published_at\n"
    videos = "".join(f"v{i},,,,,,2026-01-01\n" for i in range(VIDEOS))
    (folder / "videos.csv").write_text(names + videos)
    names = "event_id,user_id,video_id,event_timestamp,clicked\n"
    (folder / "impressions.csv").write_text(f"{names}first,u0,v0,{time.time() - 86_400},0\n")
    ingest(tables, Source("folder", folder), SETTINGS.ingest)
    load_release(tables, store)


def load_release(tables: Tables, store: redis.Redis) -> float:
    """Land what came, count it, load the counts; seconds."""
    began, at_us = time.perf_counter(), now_us()
    land_before_run(tables.home, SETTINGS, at_us)
    release_counts(tables, SETTINGS, at_us)
    materialize(tables, store, SETTINGS.online)
    return time.perf_counter() - began


@contextmanager
def process(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that ends by SIGTERM with the block."""
    started = subprocess.Popen([sys.executable, *command], cwd=ROOT, text=True, **options)  # noqa: S603
    try:
        yield started
    finally:
        started.terminate()
        started.communicate()


class Sizes(NamedTuple):
    """Megabytes of the consumer and of Redis; entries of the streams; how far it is behind."""

    consumer_mb: float
    redis_mb: float
    entries: int
    lag_ms: int


def sizes(store: redis.Redis, consumer: subprocess.Popen[str]) -> Sizes:
    """As they are now."""
    keys = keys_of(store, SETTINGS.online.prefix)
    entries = sum(
        cast("int", store.xlen(keys.stream(part, bucket))) for part, bucket in parts_of(keys)
    )
    memory = cast("dict[str, int]", store.info("memory"))["used_memory"]
    return Sizes(
        psutil.Process(consumer.pid).memory_info().rss / 2**20,
        memory / 2**20,
        entries,
        max(_lags_ms(store), default=0),
    )


def _lags_ms(store: redis.Redis) -> list[int]:
    keys = keys_of(store, SETTINGS.online.prefix)
    generations = opened(store, keys.prefix)
    behind = lags(store, keys, max(generations)) if generations else {}
    return [ms for parts in behind.values() for ms in parts]


def drained(store: redis.Redis) -> None:
    """Wait until all that streams have is applied."""
    while max(_lags_ms(store), default=1):
        time.sleep(0.1)


def drift(reader: OnlineClient, sent: Sent) -> tuple[int, int]:
    """Videos and users of the sample that differ from the plain count."""
    live = reader.live_statistics([f"v{video}" for video in range(VIDEOS)])
    counts = np.stack([live.exposures, live.clicks], axis=1) - sent.counts()
    counts[0, 0] -= 1  # the first impression
    sample = np.random.default_rng(3).choice(np.arange(1, sent.users), SAMPLE, replace=False)
    wrong = 0
    for user, shown in sent.of_users(set(sample.tolist())).items():
        read = reader.live_user(f"u{user}")
        clicked: dict[str, None] = dict.fromkeys(f"v{v}" for _, v, hit in reversed(shown) if hit)
        expected = (len(shown), sum(hit for *_, hit in shown), list(clicked)[:RECENT])
        wrong += (read.exposures, read.clicks, read.recent_video_ids) != expected
    return int((counts != 0).any(axis=1).sum()), wrong


def soak(tables: Tables, url: str, users: int, rate: float, minutes: float) -> bool:
    """Run it and print a line each part; whether nothing drifted."""
    store, sent = redis.Redis.from_url(url), Sent(users)
    begin(tables, store, tables.home / "delivery")
    apply = ("-m", "vidtopics", "events", "apply", "--home", str(tables.home))
    with process(*apply, "--land-every", LAND_EVERY, stderr=subprocess.DEVNULL) as consumer:
        me = ("-m", "benchmarks.soak", "--send", url, "--rate", str(rate), "--users", str(users))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with process(*me, **pipes) as sender:
            assert sender.stdin
            assert sender.stdout
            acknowledged = Thread(target=_take, args=(sender.stdout, sent))
            acknowledged.start()
            for part in range(PARTS):
                time.sleep(60 * minutes / PARTS)
                now = sizes(store, consumer)
                typer.echo(
                    f"{60 * minutes * (part + 1) / PARTS:4.0f} s: {len(sent.begins) * BATCH:,}"
                    f" impressions; consumer {now.consumer_mb:.0f} MB, Redis {now.redis_mb:.0f} MB,"
                    f" streams {now.entries:,} entries, behind by {now.lag_ms:,} ms"
                )
                if part == PARTS // 2 - 1:
                    seconds = load_release(tables, store)
                    typer.echo(f"hand-over: landed, counted and loaded in {seconds:.0f} s")
            sender.stdin.close()
            acknowledged.join()
            sender.stdin = None  # closed: nothing to flush at the end
        drained(store)
        videos, wrong = drift(OnlineClient(store), sent)
    typer.echo(
        f"drained: {videos} of {VIDEOS:,} videos and {wrong} of {SAMPLE} users differ from the"
        f" plain count of {len(sent.begins) * BATCH:,} impressions"
    )
    return not (videos or wrong)


def _take(lines: TextIO, sent: Sent) -> None:
    for line in lines:
        number, begin_us = map(int, line.split())
        sent.begins[number] = begin_us


def main() -> None:
    """Run it; 1 if something drifted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=2_000, help="events a second")
    parser.add_argument("--send", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send(options.send, options.users, options.rate)
        return
    with homes.folder() as home, homes.redis_server() as url:
        os.environ["REDIS_URL"] = url
        tables = Tables(home)
        sys.exit(not soak(tables, url, options.users, options.rate, options.minutes))


if __name__ == "__main__":
    main()
