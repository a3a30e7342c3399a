"""Seconds from a delivery's arrival to its videos in Redis: `infer --follow`, and its peer.

`python -m benchmarks.infer_follow HOME [--videos 20] [--events 500] [--rounds 3]`, HOME being a
copy of a home that `vidtopics demo` made: it is run and loaded as of now, and gets new videos. They
have covers of the catalogue's, titles of two of its words more, and tags of one of its videos.
Deliveries come one after the other, each with impressions of known videos: first in the inbox of a
follower, then, once that has ended, for the processes `ingest`, `run`, `materialize`.

A video is there once a client reads its topics and finds it in a fresh queue of each of them.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import typer

from vidtopics import server
from vidtopics.contracts import IMPRESSIONS, VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.ingest.inbox import INBOX
from vidtopics.online import OnlineClient
from vidtopics.tables import FOREVER, Tables

CLASSES = ("primary_classes", "secondary_classes")
VIDEO_COLUMNS = [
    *("video_id", "title", "cover", "primary_class", "secondary_class", "tags", "published_at")
]
PATIENCE_S = 600.0
PEER = ("ingest", "run", "materialize")
FRESH_LIMIT = 1_000


def sources(tables: Tables) -> list[dict[str, Any]]:
    """What new videos are made of, for each video with a cover: cover, title, classes, tags."""
    tags: dict[str, list[str]] = {}
    for row in tables.as_of(VIDEO_TAGS, FOREVER, columns=["video_id", "tag"]).to_pylist():
        tags.setdefault(row["video_id"], []).append(row["tag"])
    videos = tables.as_of(VIDEO_CATALOG, FOREVER, columns=["video_id", "cover", "title", *CLASSES])
    rows = (row | {"tags": tags.get(row["video_id"], [])} for row in videos.to_pylist())
    return [row for row in rows if row["cover"]]


def deliver(home: Path, folder: Path, count: int, events: int) -> list[str]:
    """A delivery of videos that were published just now, and impressions of known ones.

    Returns the videos' ids.
    """
    (folder / "covers").mkdir(parents=True)
    tables, now, rng = Tables(home), datetime.now(UTC).isoformat(), np.random.default_rng()
    rows = sources(tables)
    words = " ".join(row["title"] for row in rows).split()
    drawn = [rows[i] for i in rng.choice(len(rows), count, replace=False)]
    names = [f"{folder.name.strip('.')}-{number}" for number in range(count)]
    with (folder / "videos.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(VIDEO_COLUMNS)
        for name, row in zip(names, drawn, strict=True):
            cover = f"covers/{name}{Path(row['cover']).suffix}"
            shutil.copyfile(row["cover"], folder / cover)
            title = " ".join([row["title"], *rng.choice(words, 2)])
            classes = ["|".join(row[kind] or []) for kind in CLASSES]
            writer.writerow([name, title, cover, *classes, "|".join(row["tags"]), now])
    log = tables.read(IMPRESSIONS, columns=["user_id", "video_id"]).slice(0, events)
    pairs = zip(log["user_id"].to_pylist(), log["video_id"].to_pylist(), strict=True)
    with (folder / "impressions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["event_id", "user_id", "video_id", "event_timestamp", "clicked"])
        for number, (user, video) in enumerate(pairs):
            writer.writerow([f"{names[0]}-{number}", user, video, now, int(number % 9 == 0)])
    return names


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
    epoch = int(np.max(topics["topic_epoch"]))
    pairs = [
        (video, int(topic))
        for video, row in zip(videos, topics["topic_ids"], strict=True)
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
    """Deliveries by the follower, then by the processes; seconds of each, and of its parts."""
    client = OnlineClient.from_url(server.start(home))
    follower, peer, of_follower, of_peer = [], [], [], []
    parts: dict[str, list[float]] = {name: [] for name in PEER}
    with following(home) as process:
        for _ in range(rounds):
            before = cpu_s(process)
            follower.append(arrive(home, client, videos, events))
            of_follower.append(cpu_s(process) - before)
        memory = process.memory_info().rss
    for _ in range(rounds):
        before = cpu_s(None)
        peer.append(by_processes(home, client, videos, events, parts))
        of_peer.append(cpu_s(None) - before)
    return {
        "videos": videos,
        "events": events,
        "follow_s": follower,
        "processes_s": peer,
        "of_processes_s": {name: statistics.median(seconds) for name, seconds in parts.items()},
        "ratio": statistics.median(follower) / statistics.median(peer),
        "follow_cpu_s": of_follower,
        "processes_cpu_s": of_peer,
        "cpu_ratio": statistics.median(of_follower) / statistics.median(of_peer),
        "follower_mb": memory / 2**20,
        "load": psutil.getloadavg()[0],
    }


def cpu_s(process: psutil.Process | None) -> float:
    """CPU seconds of a process so far; of None, of this one's children that have ended."""
    if process is not None:
        times = process.cpu_times()
        return times.user + times.system
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def arrive(home: Path, client: OnlineClient, videos: int, events: int) -> float:
    """Seconds from a delivery's name in the inbox until its videos are served."""
    inbox, name = home / INBOX, f"d{time.time_ns()}"
    names = deliver(home, inbox / f".{name}", videos, events)
    arrived = time.monotonic()
    (inbox / f".{name}").rename(inbox / name)
    wait_until_served(client, names)
    return time.monotonic() - arrived


def by_processes(
    home: Path, client: OnlineClient, videos: int, events: int, seconds: Mapping[str, list[float]]
) -> float:
    """The same by the commands of a batch, from the start of the first."""
    folder = home / "batch" / f"d{time.time_ns()}"
    names = deliver(home, folder, videos, events)
    arrived = time.monotonic()
    for name in PEER:
        arguments = [name, "folder", str(folder)] if name == "ingest" else [name]
        seconds[name].append(command(home, *arguments))
    wait_until_served(client, names)
    return time.monotonic() - arrived


def main(arguments: Sequence[str] | None = None) -> None:
    """Brings the home up to now, and prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--videos", type=int, default=20)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    for name in ("run", "materialize"):
        command(chosen.home, name)
    typer.echo(
        json.dumps(measure(chosen.home, chosen.videos, chosen.events, chosen.rounds), indent=1)
    )


if __name__ == "__main__":
    main()
