"""Events applied per second beside plain counters, how soon one is seen, and bytes it leaves.

`python -m benchmarks.events [--events N]`. Both sides run on one fresh server with an append-only
log, in turns. The peer counts exposures and clicks of videos and users by two `HINCRBY` an event,
pipelined by 1,000 from the client: no log, no lists, nothing once. Latency is from the
acknowledgement of an event to the first read that has it, while a thread sends 2,000 a second.
"""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, cast

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
PROBES = 150
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


class Cost(NamedTuple):
    """Events a second, and microseconds of CPU an event, of Redis and of this process."""

    rate: float
    server_us: float
    own_us: float


def cost(store: redis.Redis, count: int, work: Callable[[], object]) -> Cost:
    """What a piece of work on so many events costs."""
    began, own, server = time.perf_counter(), time.process_time(), server_cpu_s(store)
    work()
    seconds, own_s = time.perf_counter() - began, time.process_time() - own
    return Cost(count / seconds, (server_cpu_s(store) - server) / count * 1e6, own_s / count * 1e6)


def server_cpu_s(store: redis.Redis) -> float:
    """Seconds of CPU that the server took so far."""
    info: Any = store.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def count_plainly(store: redis.Redis, batch: Sequence[Mapped]) -> None:
    """The peer's counters of the same events."""
    for start in range(0, len(batch), 1_000):
        with store.pipeline(transaction=False) as pipe:
            for event in batch[start : start + 1_000]:
                what = "c" if event["kind"] == "click" else "e"
                for part in ("video_id", "user_id"):
                    bucket = hash(event[part]) % 16
                    pipe.hincrby(f"plain:{part}:{bucket}:{what}", event[part], 1)
            pipe.execute()


def throughput(store: redis.Redis, applier: Applier, generation: Generation, count: int) -> None:
    """Rounds in turns; medians."""
    client = EventClient(store)
    costs: dict[str, list[Cost]] = {"sent": [], "applied": [], "plain counters": []}
    for seed in range(3):
        batch = list(events(count, seed, generation.as_of_us))
        works: dict[str, Callable[[], object]] = {
            "sent": partial(client.send, batch),
            "applied": partial(applier.apply, generation),
            "plain counters": partial(count_plainly, store, batch),
        }
        for name, work in works.items():
            costs[name].append(cost(store, len(batch), work))
    for name, measured in costs.items():
        rate, server_us, own_us = np.median([[*m] for m in measured], axis=0)
        typer.echo(
            f"{name}: {rate:,.0f} events/s; CPU an event {server_us:.1f} us of Redis,"
            f" {own_us:.1f} us of the process"
        )


def latency(
    store: redis.Redis, applier: Applier, keys: LiveKeys, generation: Generation, rate: float
) -> None:
    """From acknowledged to visible, while a thread sends `rate` events a second."""
    ended, began = threading.Event(), time.perf_counter()
    client, waits_ms = EventClient(store), []

    def send() -> None:
        sent = 0
        source = chain.from_iterable(
            events(20_000, seed, generation.as_of_us) for seed in itertools.count(100)
        )
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
    name = "probe"
    state = keys.state(generation.release, "video", "state", keys.bucket(name.encode()))
    for probe in range(1, PROBES + 1):
        event = {"kind": "impression", "event_id": f"p{probe}", "user_id": "prober"}
        now = {"video_id": "probe", "event_timestamp": time.time()}
        client.send([event | now])
        acknowledged = time.perf_counter()
        while True:
            value: Any = store.hget(state, name)
            if value and COUNTS.unpack_from(value)[0] >= probe:
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
                sizes[label] = sizes.get(label, 0) + _size(store, key)
                count: Any = store.scard(key) if name == "ids" else store.hlen(key)
                names[label] = names.get(label, 0) + count
            stream = keys.stream(part, bucket)
            sizes[f"{part} stream"] = sizes.get(f"{part} stream", 0) + _size(store, stream)
            names[f"{part} stream"] = names.get(f"{part} stream", 0) + cast(
                "int", store.xlen(stream)
            )
    shown = names["user ids"] / max(names["user state"], 1)
    typer.echo(f"{shown:.0f} applied ids a user")
    for label, size in sizes.items():
        typer.echo(f"  {label}: {size / max(names[label], 1):,.0f} bytes each of {names[label]:,}")


def _size(store: redis.Redis, key: str) -> int:
    return int(cast("int | None", store.memory_usage(key, samples=0)) or 0)


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
        latency(store, applier, keys, generation, 2_000)


if __name__ == "__main__":
    main()
