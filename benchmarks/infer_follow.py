"""Seconds from a delivery's arrival to its videos in Redis: `infer --follow`, and its peer.

`python -m benchmarks.infer_follow HOME [--videos 20] [--events 500] [--rounds 3]`, HOME being a new
folder or one that an earlier call made. It makes the demo's simulated world without some videos,
trains, runs and loads it. Then deliveries of new videos arrive in turns, each with impressions of
known videos: one in the inbox of a follower, one for the processes `ingest`, `run`, `materialize`.

A video is there once a client reads its topics and finds it in a fresh queue of each of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

from vidtopics import server
from vidtopics.ingest.inbox import INBOX
from vidtopics.online import OnlineClient
from vidtopics.settings import load
from vidtopics.simulation.writer import write_world

CONFIG = Path(__file__).parents[1] / "conf" / "demo.yaml"
LATER = 400
"""Videos that the first delivery leaves out."""
PATIENCE_S = 600.0
PEER = ("ingest", "run", "materialize")
FRESH_LIMIT = 1_000


def make(home: Path) -> None:
    """The home without the later videos, trained, released and loaded."""
    settings, world = load(CONFIG), home / "world"
    home.mkdir(parents=True)
    write_world(settings.simulation, world, seed=settings.seed)
    catalogue, later = split(pq.read_table(world / "videos.parquet"))
    log = pq.read_table(world / "impressions.parquet")
    log = log.filter(pc.is_in(log["video_id"], catalogue["video_id"].combine_chunks()))
    first = home / "first"
    first.mkdir()
    (first / "covers").symlink_to(world / "covers")
    pq.write_table(catalogue, first / "videos.parquet")
    pq.write_table(log, first / "impressions.parquet")
    pq.write_table(later, home / "later.parquet")
    for arguments in (["ingest", "folder", str(first)], ["run"], ["apply"], ["materialize"]):
        command(home, *arguments)


def split(catalogue: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The videos of the first delivery, and those that come later, drawn by a seed."""
    order = np.random.default_rng(7).permutation(len(catalogue))
    rows = (np.sort(order[LATER:]), order[:LATER])
    return catalogue.take(pa.array(rows[0])), catalogue.take(pa.array(rows[1]))


def deliver(home: Path, folder: Path, videos: pa.Table, events: int) -> None:
    """A delivery of videos that were published just now, and impressions of known ones."""
    (folder / "covers").mkdir(parents=True)
    for cover in videos["cover"].to_pylist():
        shutil.copyfile(home / "world" / cover, folder / cover)
    now = datetime.now(UTC)
    published = pa.repeat(pa.scalar(now, pa.timestamp("us", "UTC")), len(videos))
    at = videos.schema.get_field_index("published_at")
    pq.write_table(videos.set_column(at, "published_at", published), folder / "videos.parquet")
    log = pq.read_table(home / "first" / "impressions.parquet").slice(0, events)
    shown = {
        "event_id": [f"{folder.name}-{row}" for row in range(events)],
        "user_id": log["user_id"],
        "video_id": log["video_id"],
        "event_timestamp": pa.repeat(pa.scalar(now, pa.timestamp("us", "UTC")), events),
        "clicked": log["clicked"],
    }
    pq.write_table(pa.table(shown), folder / "impressions.parquet")


def wait_until_served(client: OnlineClient, videos: Sequence[str]) -> None:
    """Until each video has topics, and is in the fresh queues of all of them."""
    began = time.monotonic()
    while not is_served(client, videos):
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError(f"{videos[0]} and others aren't served after {PATIENCE_S:.0f} s")
        time.sleep(0.02)


def is_served(client: OnlineClient, videos: Sequence[str]) -> bool:
    """Whether they are, now."""
    topics = client.read("video_topics", videos)
    if not topics.present.all():
        return False
    columns = topics.columns
    epoch = int(np.max(columns["topic_epoch"]))
    pairs = [
        (video, int(topic))
        for video, row in zip(videos, columns["topic_ids"], strict=True)
        for topic in row
        if topic >= 0
    ]
    names = sorted({topic for _, topic in pairs})
    queues = client.queues([f"{t}:fresh" for t in names], epoch=epoch, limit=FRESH_LIMIT)
    fresh = {name: set(queue) for name, queue in zip(names, queues, strict=True)}
    return all(video in fresh[topic] for video, topic in pairs)


@contextmanager
def following(home: Path) -> Iterator[psutil.Process]:
    """`infer --follow` within the block, once its first round is over."""
    log = home / "follow.jsonl"
    line = [sys.executable, "-m", "vidtopics", "infer", "--follow", "--log-format", "json"]
    with log.open("w") as stderr:
        child = subprocess.Popen([*line, "--home", str(home)], stderr=stderr)  # noqa: S603
    try:
        while not events_of(log, "round"):
            if child.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.1)
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait()


def events_of(log: Path, name: str) -> list[dict[str, Any]]:
    """Whole lines of a service's log that are such an event."""
    lines = (json.loads(line) for line in log.read_text().splitlines() if line.endswith("}"))
    return [line for line in lines if line.get("event") == name]


def command(home: Path, *arguments: str) -> float:
    """Seconds of a command of vidtopics on the home; its output goes to standard error."""
    line = [sys.executable, "-m", "vidtopics", *arguments, "--home", str(home)]
    began = time.monotonic()
    subprocess.run(line, check=True, stdout=sys.stderr)  # noqa: S603 - our own command
    return time.monotonic() - began


def measure(home: Path, videos: int, events: int, rounds: int) -> Mapping[str, Any]:
    """Deliveries in turns; seconds of each, and of the peer's processes."""
    later = pq.read_table(home / "later.parquet")
    client = OnlineClient.from_url(server.start(home))
    used = client.read("video_topics", later["video_id"].to_pylist()).present
    later = later.filter(pa.array(~used))
    turns = iter(later.slice(first, videos) for first in range(0, len(later), videos))
    follower, peer = [], []
    parts: dict[str, list[float]] = {name: [] for name in PEER}
    with following(home) as process:
        for _ in range(rounds):
            follower.append(timed(client, partial(arrive, home, events), next(turns)))
            processes = partial(by_processes, home, events, parts)
            peer.append(timed(client, processes, next(turns)))
        memory = process.memory_info().rss
    return {
        "videos": videos,
        "events": events,
        "follow_s": follower,
        "processes_s": peer,
        "of_processes_s": {name: statistics.median(seconds) for name, seconds in parts.items()},
        "ratio": statistics.median(follower) / statistics.median(peer),
        "follower_mb": memory / 2**20,
        "load": psutil.getloadavg()[0],
    }


def timed(client: OnlineClient, bring: Callable[[pa.Table], float], part: pa.Table) -> float:
    """Seconds from the arrival, which `bring` returns, until the videos are served."""
    arrived = bring(part)
    wait_until_served(client, part["video_id"].to_pylist())
    return time.monotonic() - arrived


def arrive(home: Path, events: int, part: pa.Table) -> float:
    """A delivery in the inbox; when it had its name."""
    name = f"d{time.time_ns()}"
    deliver(home, home / INBOX / f".{name}", part, events)
    arrived = time.monotonic()
    (home / INBOX / f".{name}").rename(home / INBOX / name)
    return arrived


def by_processes(
    home: Path, events: int, seconds: Mapping[str, list[float]], part: pa.Table
) -> float:
    """The same by the commands of a batch; when the first began."""
    folder = home / f"d{time.time_ns()}"
    deliver(home, folder, part, events)
    arrived = time.monotonic()
    for name in PEER:
        arguments = [name, "folder", str(folder)] if name == "ingest" else [name]
        seconds[name].append(command(home, *arguments))
    return arrived


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the home unless it is there, and prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--videos", type=int, default=20)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    if not chosen.home.exists():
        make(chosen.home)
    typer.echo(
        json.dumps(measure(chosen.home, chosen.videos, chosen.events, chosen.rounds), indent=1)
    )


if __name__ == "__main__":
    main()
