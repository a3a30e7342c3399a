"""Reads of 600 videos while events flow, beside the same reads on a quiet server.

`python -m benchmarks.events_flow [--rate 25000] [--rounds 5] [--seconds 6]`. One server with an
append-only log, 200,000 videos; the sender of events, their consumer and the reader are a process
each. Rounds are in turns: quiet; with as many events to another server, what sharing the machine
costs; with as many plain counters, two `HINCRBY` an event, the peer; with events. Besides: how long
after its acknowledgement an event is in what a reader gets, while events flow.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain, islice
from typing import Any, cast

import numpy as np
import redis
import typer

from benchmarks import homes
from benchmarks.children import ROOT
from benchmarks.data import START_US, video_ids
from benchmarks.events import events
from benchmarks.serving import CANDIDATES, latencies_for
from vidtopics.contracts import VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.events.applying import Applier
from vidtopics.events.generations import Generation, keys_of, open_generation
from vidtopics.layout import Layout, place
from vidtopics.materialization import materialize
from vidtopics.online import OnlineClient
from vidtopics.online.events import EventClient
from vidtopics.settings import OnlineSettings

VIDEOS, PROBES = 200_000, 40
GENERATION = Generation(1, START_US)
BATCH_S = 0.02
IDLE_S = 0.02


def send(url: str, rate: float, counters: bool) -> None:
    """Send `rate` events a second until the process is ended, or count them in plain counters."""
    with redis.Redis.from_url(url) as store:
        client, sent, began = EventClient(store), 0, time.perf_counter()
        first_us = time.time_ns() // 1000
        source = chain.from_iterable(
            events(20_000, seed, first_us) for seed in itertools.count(first_us)
        )
        say_ready()
        while True:
            due = int((time.perf_counter() - began) * rate) - sent
            part = list(islice(source, max(due, 0)))
            sent += len(part)
            if counters:
                count(store, part)
            elif client.send(part).acknowledged != len(part):
                raise ValueError("an event was refused")
            time.sleep(BATCH_S)


def count(store: redis.Redis, part: Sequence[Mapping[str, Any]]) -> None:
    """Count a video's and a user's events: what the scripts do, without log, ids and lists."""
    with store.pipeline(transaction=False) as pipe:
        for event in part:
            pipe.hincrby("counted:video", event["video_id"], 1)
            pipe.hincrby("counted:user", event["user_id"], 1)
        pipe.execute()


def say_ready() -> None:
    """Let the parent go on."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def consume(url: str) -> None:
    """Apply until the process is ended."""
    with redis.Redis.from_url(url) as store:
        applier = applier_of(store)
        say_ready()
        while True:
            if not applier.apply(GENERATION, rounds=5):
                time.sleep(IDLE_S)


def applier_of(store: redis.Redis) -> Applier:
    """What applies the server's events."""
    return Applier(store, keys_of(store, "vt"), recent=128, max_ahead=timedelta(days=1))


@contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """This module in another process, which ends with the block."""
    command = [sys.executable, "-m", "benchmarks.events_flow", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert process.stdout
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def flowing(url: str, rate: float) -> Iterator[None]:
    """Events at a rate, and their consumer."""
    with child("--consume", url), child("--send", url, "--rate", str(rate)):
        yield


@contextmanager
def elsewhere(rate: float) -> Iterator[None]:
    """Events at a rate, and their consumer, on a server of their own."""
    with homes.redis_server() as url:
        with redis.Redis.from_url(url) as store:
            store.set(place("vt", "layout"), Layout(16).to_json())
            open_generation(store, keys_of(store, "vt"), GENERATION)
        with flowing(url, rate):
            yield


def visible_ms(store: redis.Redis, reader: OnlineClient) -> list[float]:
    """Milliseconds from acknowledgement until a read of 600 videos has the event."""
    client, waits = EventClient(store), []
    asked = video_ids(np.arange(CANDIDATES)).to_pylist()
    known = int(reader.live_statistics(asked).live_exposures[-1])
    for probe in range(PROBES):
        event = {"kind": "impression", "event_id": f"probe-{time.time_ns()}", "user_id": "prober"}
        client.send([event | {"video_id": asked[-1], "event_timestamp": time.time()}])
        acknowledged = time.perf_counter()
        while int(reader.live_statistics(asked).live_exposures[-1]) <= known + probe:
            time.sleep(0.001)
        waits.append((time.perf_counter() - acknowledged) * 1e3)
    return waits


def measure(url: str, rate: float, rounds: int, seconds: float) -> None:
    """Print quantiles of both kinds of reads, quiet and with events."""
    rng = np.random.default_rng(7)
    requests = [
        video_ids(rng.choice(VIDEOS, CANDIDATES, replace=False)).to_pylist() for _ in range(200)
    ]
    with redis.Redis.from_url(url) as store, OnlineClient.from_url(url).connection as connection:
        reader = OnlineClient(connection)
        kinds = {
            "topics": lambda ids: reader.read(VIDEO_TOPICS.name, ids),
            "counts with events": reader.live_statistics,
        }
        times: dict[tuple[str, str], list[float]] = {}
        waits: list[float] = []

        def read(state: str) -> None:
            for kind, call in kinds.items():
                times.setdefault((kind, state), []).extend(latencies_for(call, requests, seconds))

        for _ in range(rounds):
            read("quiet")
            with elsewhere(rate):
                read("events elsewhere")
            with child("--send", url, "--rate", str(rate), "--counters"):
                read("plain counters")
            with flowing(url, rate):
                read("events")
                waits += visible_ms(store, reader)
            applier_of(store).apply(GENERATION)
        applied = store_entries(store)
    for (kind, state), taken in times.items():
        p50, p99 = np.quantile(taken, [0.5, 0.99])
        typer.echo(
            f"read of {CANDIDATES}, {kind}, {state}: p50 {p50:.2f}, p99 {p99:.2f} ms,"
            f" {p99 / np.quantile(times[kind, 'quiet'], 0.99):.2f} times the quiet one's"
            f" ({len(taken):,} reads)"
        )
    p50, p99 = np.quantile(waits, [0.5, 0.99])
    typer.echo(f"acknowledged to visible: p50 {p50:.0f} ms, p99 {p99:.0f} ms ({len(waits)} probes)")
    flowed = rounds * len(kinds) * seconds + sum(waits) / 1e3
    typer.echo(f"{applied:,} events in about {flowed:.0f} s: {applied / flowed:,.0f} a second")


def store_entries(store: redis.Redis) -> int:
    """Events that the streams hold."""
    keys = keys_of(store, "vt")
    streams = [keys.stream("video", bucket) for bucket in range(keys.layout.buckets)]
    return sum(cast("int", store.xlen(stream)) for stream in streams)


def main() -> None:
    """Fill a server and measure; or be one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=25_000, help="events a second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6, help="of each kind of read in a round")
    parser.add_argument("--send", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--consume", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--counters", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send(options.send, options.rate, options.counters)
    elif options.consume:
        consume(options.consume)
    else:
        with homes.folder() as home, homes.redis_server() as url:
            tables = homes.fill(home, (VIDEO_TOPICS.name, VIDEO_STATISTICS.name), VIDEOS)
            with redis.Redis.from_url(url) as store:
                materialize(tables, store, OnlineSettings())
                open_generation(store, keys_of(store, "vt"), GENERATION)
            measure(url, options.rate, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
