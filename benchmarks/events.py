"""Events applied per second beside plain counters, how soon one is seen, and bytes it leaves.

`python -m benchmarks.events [--events N]`. Both sides run on one fresh server with an append-only
log, in turns. The peer counts exposures and clicks of videos and users by two `HINCRBY` an event,
pipelined by 1,000 from the client: no log, no lists, nothing once. Latency is from the
acknowledgement of an event to the first read that has it, while a thread sends 10,000 a second.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import redis
import typer

from benchmarks import homes
from vidtopics.events.applying import Applier
from vidtopics.events.generations import Generation, keys_of, open_generation
from vidtopics.layout import Layout, place
from vidtopics.layout.live import COUNTS, LiveKeys
from vidtopics.online.events import EventClient

VIDEOS, USERS, CLICKED = 20_000, 20_000, 0.25
PROBES = 300
DAY = timedelta(days=1)
Mapped = dict[str, Any]


def events(count: int, seed: int, begin_us: int) -> Iterator[Mapped]:
    """Impressions of popular videos, a quarter of them clicked: `count` events in all."""
    rng = np.random.default_rng(seed)
    shown = int(count / (1 + CLICKED)) + 1
    videos = np.minimum(rng.zipf(1.3, shown), VIDEOS)
    users, clicked = rng.integers(0, USERS, shown), rng.random(shown) < CLICKED
    made = 0
    for i in range(shown):
        event = {
            "kind": "impression",
            "event_id": f"{seed}-{i:09d}-0123456789",
            "user_id": f"u{users[i]:07d}",
            "video_id": f"v{videos[i]:07d}",
            "event_timestamp": (begin_us + i) / 1e6,
            "position": i % 20 + 1,
        }
        yield event
        if clicked[i]:
            yield event | {"kind": "click", "clicked_at": (begin_us + i + 5) / 1e6}
        made += 1 + clicked[i]
        if made >= count:
            return


def count_plainly(store: redis.Redis, batch: Sequence[Mapped]) -> float:
    """Seconds for the peer's counters of the same events."""
    began = time.perf_counter()
    for start in range(0, len(batch), 1_000):
        with store.pipeline(transaction=False) as pipe:
            for event in batch[start : start + 1_000]:
                what = "c" if event["kind"] == "click" else "e"
                for part in ("video_id", "user_id"):
                    bucket = hash(event[part]) % 16
                    pipe.hincrby(f"plain:{part}:{bucket}:{what}", event[part], 1)
            pipe.execute()
    return time.perf_counter() - began


def throughput(store: redis.Redis, applier: Applier, generation: Generation, count: int) -> None:
    """Rounds in turns; medians."""
    client = EventClient(store)
    rates: dict[str, list[float]] = {"send": [], "apply": [], "plain": []}
    for seed in range(3):
        batch = list(events(count, seed, generation.as_of_us))
        began = time.perf_counter()
        client.send(batch)
        sent = time.perf_counter()
        applied = applier.apply(generation)
        rates["apply"].append(len(batch) / (time.perf_counter() - sent))
        assert applied == 2 * len(batch)
        rates["send"].append(len(batch) / (sent - began))
        rates["plain"].append(len(batch) / count_plainly(store, batch))
    send, apply, plain = (float(np.median(rates[name])) for name in ("send", "apply", "plain"))
    typer.echo(
        f"applied by one consumer: {apply:,.0f} events/s, {apply / plain:.2f} x plain counters"
    )
    typer.echo(f"plain counters, pipelined: {plain:,.0f} events/s; sent by one client: {send:,.0f}")


def latency(
    store: redis.Redis, applier: Applier, keys: LiveKeys, generation: Generation, rate: float
) -> None:
    """From acknowledged to visible, while a thread sends `rate` events a second."""
    ended, began = threading.Event(), time.perf_counter()
    client, waits_ms = EventClient(store), []

    def send() -> None:
        sent, source = 0, events(10**8, 99, generation.as_of_us)
        while not ended.is_set():
            due = int((time.perf_counter() - began) * rate) - sent
            if due > 0:
                client.send(next(source) for _ in range(due))
                sent += due
            time.sleep(0.01)

    def consume() -> None:
        while not ended.is_set():
            if not applier.apply(generation):
                time.sleep(0.02)

    threads = [threading.Thread(target=work) for work in (send, consume)]
    for thread in threads:
        thread.start()
    name = b"probe"
    state = keys.state(generation.release, "video", "state", keys.bucket(name))
    for probe in range(1, PROBES + 1):
        event = {"kind": "impression", "event_id": f"p{probe}", "user_id": "prober"}
        now = {"video_id": "probe", "event_timestamp": time.time()}
        client.send([event | now])
        acknowledged = time.perf_counter()
        while True:
            value = store.hget(state, name)
            if value and COUNTS.unpack(value)[0] >= probe:
                break
            time.sleep(0.001)
        waits_ms.append((time.perf_counter() - acknowledged) * 1e3)
    ended.set()
    for thread in threads:
        thread.join()
    p50, p99 = np.quantile(waits_ms, [0.5, 0.99])
    typer.echo(
        f"acknowledged to visible at {rate:,.0f} events/s: p50 {p50:.0f} ms, p99 {p99:.0f} ms"
    )


def memory(store: redis.Redis, keys: LiveKeys, generation: Generation) -> None:
    """Bytes of the generation's keys, by part, and of the streams by event."""
    sizes: dict[str, int] = {}
    names: dict[str, int] = {}
    for part in ("video", "user"):
        for bucket in range(keys.layout.buckets):
            for name in ("ids", "state"):
                key = keys.state(generation.release, part, name, bucket)
                label = f"{part} {name}"
                sizes[label] = sizes.get(label, 0) + (store.memory_usage(key, samples=0) or 0)
                count = store.scard(key) if name == "ids" else store.hlen(key)
                names[label] = names.get(label, 0) + count
            stream = keys.stream(part, bucket)
            sizes[f"{part} stream"] = sizes.get(f"{part} stream", 0) + (
                store.memory_usage(stream, samples=0) or 0
            )
            names[f"{part} stream"] = names.get(f"{part} stream", 0) + store.xlen(stream)
    shown = names["user ids"] / max(names["user state"], 1)
    typer.echo(f"{shown:.0f} applied ids a user")
    for label, size in sizes.items():
        typer.echo(f"  {label}: {size / max(names[label], 1):,.0f} bytes each of {names[label]:,}")


def main() -> None:
    """Run all three and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="of each of three rounds")
    options = parser.parse_args()
    with homes.redis_server() as url, redis.Redis.from_url(url) as store:
        store.set(place("vt", "layout"), Layout(16).to_json())
        keys = keys_of(store, "vt")
        generation = Generation(1, time.time_ns() // 1000 - 3_600_000_000)
        open_generation(store, keys, generation)
        applier = Applier(store, keys, recent=128, max_ahead=DAY)
        throughput(store, applier, generation, options.events)
        memory(store, keys, generation)
        latency(store, applier, keys, generation, 10_000)


if __name__ == "__main__":
    main()
