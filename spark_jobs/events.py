"""Events of a folder of files, or of topics of Kafka, into the streams of Redis, by executors.

    spark-submit --properties-file conf/spark-defaults.conf [--packages DELTA,KAFKA]
    spark_jobs/events.py SOURCE --home H [--config F] [--format json|arrow|parquet] [--map F]
    [--kafka-config F] [--since T] [--batch N] [--checkpoint DIR] [--once] [--embedded]

The same as `vidtopics events follow`, on a cluster whose executors reach Redis, the source and the
checkpoint, and have the package.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from vidtopics.errors import StoreError
from vidtopics.ingest.event_fields import read_fields
from vidtopics.jobs.event_messages import Format
from vidtopics.jobs.event_sources import Kafka, read_properties, source_of
from vidtopics.jobs.event_stream import OnBatch, Reading, Sent, Target, send_events
from vidtopics.jobs.session import session
from vidtopics.paths import to_spark
from vidtopics.settings import Settings

RETRY_S = 2.0


@dataclass(frozen=True)
class Following:
    """What is read, and how; as the options of `vidtopics events follow`."""

    source: str
    encoding: Format = "json"
    fields: Path | None = None
    kafka_config: Path | None = None
    since_ms: int | None = None
    batch: int | None = None
    checkpoint: str | None = None
    once: bool = False

    def checkpoint_in(self, home: Path) -> str:
        """The folder that says how far the source was read; one of the home if none is named.

        >>> Following("kafka://a:9092/events").checkpoint_in(Path("/home"))
        '/home/checkpoints/kafka-a-9092-events-d04474b4'
        """
        if self.checkpoint is not None:
            return self.checkpoint
        name = re.sub(r"[^A-Za-z0-9]+", "-", self.source)[-40:].strip("-")
        digest = hashlib.sha256(self.source.encode()).hexdigest()[:8]
        return str(home.absolute() / "checkpoints" / f"{name}-{digest}")


def run(
    following: Following,
    settings: Settings,
    home: Path,
    url: str,
    *,
    on_batch: OnBatch,
    ended: threading.Event,
) -> None:
    """Send what the source has (`once`), or until `ended` is set; a batch that failed is repeated.

    Raises:
        SettingsError, InputError: the source isn't one, or can't be read.
        StoreError: with `once`, Redis didn't take all of a batch.
    """
    fields = read_fields(following.fields) if following.fields else None
    source = source_of(following.source, following.encoding, since_ms=following.since_ms)
    spark = session("events", log=home / "logs" / "spark.log", packages=source.packages)
    if isinstance(source, Kafka) and following.kafka_config:
        source = replace(source, properties=read_properties(spark, following.kafka_config))
    target = Target(url, settings.online.prefix, settings.online.max_ahead)
    reading = Reading(following.encoding, fields)
    while not ended.is_set():
        try:
            send_events(
                source.read(spark, following.batch),
                target,
                reading,
                checkpoint=to_spark(following.checkpoint_in(home)),
                once=following.once,
                on_batch=on_batch,
                ended=ended,
            )
        except StoreError as error:
            if following.once:
                raise
            print(f"a batch failed, and is sent again: {error}", file=sys.stderr)  # noqa: T201
            ended.wait(RETRY_S)
        else:
            return


def line(number: int, sent: Sent) -> str:
    """A batch in words.

    >>> sent = Sent(messages=10, acknowledged=9)
    >>> sent.refused["bad_kind"] += 1
    >>> line(3, sent)
    'batch 3: 10 messages, 9 events acknowledged, refused 1 bad_kind'
    """
    refused = [f"{count:,} {reason}" for reason, count in sorted(sent.refused.items())]
    parts = [
        f"{sent.messages:,} messages",
        f"{sent.acknowledged:,} events acknowledged",
        *([f"{sent.left_out:,} left out"] if sent.left_out else []),
        *([f"refused {', '.join(refused)}"] if refused else []),
    ]
    return f"batch {number}: {', '.join(parts)}"


def main() -> None:
    """The command line."""
    from vidtopics.server import url_of
    from vidtopics.settings import load

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--home", type=Path, default=Path(".vidtopics"))
    parser.add_argument("--config", default="conf/demo.yaml")
    parser.add_argument("--format", choices=get_args(Format), default="json", dest="encoding")
    parser.add_argument("--map", type=Path, dest="fields")
    parser.add_argument("--kafka-config", type=Path)
    parser.add_argument("--since", type=unix_ms, dest="since_ms")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--checkpoint")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--embedded", action="store_true")
    options = vars(parser.parse_args())
    home, config, embedded = (options.pop(name) for name in ("home", "config", "embedded"))
    url = url_of(home, embedded=embedded)
    with until_signal() as ended:
        run(
            Following(**options),
            load(config),
            home,
            url,
            on_batch=lambda number, sent: print(line(number, sent), flush=True),  # noqa: T201
            ended=ended,
        )


@contextmanager
def until_signal() -> Iterator[threading.Event]:
    """Within the block SIGINT and SIGTERM set the event."""
    ended = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: ended.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def unix_ms(text: str) -> int:
    """Unix milliseconds of an ISO 8601 time; UTC where it has no offset.

    >>> unix_ms("1970-01-01T00:00:01Z"), unix_ms("1970-01-01")
    (1000, 0)
    """
    time = datetime.fromisoformat(text)
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000)


if __name__ == "__main__":
    main()
