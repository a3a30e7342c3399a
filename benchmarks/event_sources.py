"""Events per second of each source, from where they lie into the streams of Redis.

`python -m benchmarks.event_sources [--events N] [--no-kafka]`. The same events in turns, on one
fresh server with an append-only log: by the client from memory, by Structured Streaming from a
folder of JSON lines and from a topic of a fresh broker on this machine. A query's start counts, in
a session that has run one before. The last line is what applying them costs Redis beside taking
them, which applying straight from the executors would save.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import redis
import typer

from benchmarks import homes
from benchmarks.events import DAY, Cost, Mapped, cost, events
from benchmarks.kafka_broker import Broker, kafka_broker
from vidtopics.events.applying import Applier
from vidtopics.events.generations import Generation, keys_of, open_generation
from vidtopics.jobs.event_sources import Kafka, Source, source_of
from vidtopics.jobs.event_stream import Reading, Sent, Target, send_events
from vidtopics.jobs.session import session, stop
from vidtopics.layout import Layout, place
from vidtopics.online.events import EventClient

ROUNDS, FILES, WARM = 3, 8, 1_000
Costs = dict[str, list[Cost]]


def followed(source: Source, url: str, checkpoint: Path, expected: int) -> None:
    """Send all that a source has; every event has to be acknowledged."""
    spark, total = session("benchmark", packages=Kafka.packages), Sent()
    send_events(
        source.read(spark, 1_000_000),
        Target(url, "vt", timedelta(days=1)),
        Reading("json"),
        checkpoint=str(checkpoint),
        once=True,
        on_batch=lambda number, sent: total.add(
            sent.messages, sent.acknowledged, sent.left_out, sent.refused
        ),
    )
    assert (total.acknowledged, total.refused) == (expected, {}), total


def folder_of(batch: Sequence[Mapped], folder: Path) -> str:
    """Events as files of JSON lines."""
    folder.mkdir(parents=True)
    for number in range(FILES):
        lines = (f"{json.dumps(event)}\n" for event in batch[number::FILES])
        (folder / f"{number}.jsonl").write_text("".join(lines))
    return str(folder)


def topic_of(batch: Sequence[Mapped], broker: Broker, topic: str) -> str:
    """Events as messages of a topic."""
    broker.produce(topic, (json.dumps(event).encode() for event in batch))
    return f"kafka://{broker.servers}/{topic}"


def measure(url: str, root: Path, broker: Broker | None, count: int) -> Costs:
    """Rounds in turns; the first, a small one, warms up and isn't counted."""
    costs: Costs = {"client": [], "files": [], "kafka": [], "applied": []}
    with redis.Redis.from_url(url) as store:
        store.set(place("vt", "layout"), Layout(16).to_json())
        keys, generation = (
            keys_of(store, "vt"),
            Generation(1, time.time_ns() // 1000 - 3_600_000_000),
        )
        open_generation(store, keys, generation)
        applier = Applier(store, keys, recent=128, max_ahead=DAY)
        for number in range(ROUNDS + 1):
            size = count if number else WARM
            works: dict[str, Callable[[], object]] = {}
            batches = [list(events(size, 10 * number + i, generation.as_of_us)) for i in range(3)]
            works["client"] = partial(EventClient(store).send, batches[0])
            files = source_of(folder_of(batches[1], root / f"{number}"))
            where = root / f"{number}-files"
            works["files"] = partial(followed, files, url, where, len(batches[1]))
            if broker is not None:
                topic = source_of(topic_of(batches[2], broker, f"events-{number}"))
                where = root / f"{number}-kafka"
                works["kafka"] = partial(followed, topic, url, where, len(batches[2]))
            for name, work in works.items():
                measured = cost(store, size, work)
                applied = cost(store, size, partial(applier.apply, generation))
                if number:
                    costs[name].append(measured)
                    costs["applied"].append(applied)
    return costs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="of each source and round")
    parser.add_argument("--no-kafka", action="store_true", help="the folder alone")
    options = parser.parse_args()
    with ExitStack() as stack:
        root = stack.enter_context(homes.folder())
        url = stack.enter_context(homes.redis_server())
        broker = None if options.no_kafka else stack.enter_context(kafka_broker(root))
        stack.callback(stop)
        costs = measure(url, root, broker, options.events)
    client = np.median([c.rate for c in costs["client"]])
    for name, measured in costs.items():
        if measured:
            rate, server_us, _ = np.median([[*m] for m in measured], axis=0)
            typer.echo(
                f"{name}: {rate:,.0f} events/s, {rate / client:.2f} of the client's; CPU of Redis"
                f" {server_us:.1f} us an event"
            )


if __name__ == "__main__":
    main()
