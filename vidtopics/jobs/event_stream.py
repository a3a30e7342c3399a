"""Events of a source into the streams of Redis, batch by batch: each arrives, and counts once.

A batch is sent by as many tasks as it has partitions, each with a client of events. Spark notes it
in the checkpoint once Redis has all of it. Where it failed or the process died it is sent again,
and what was sent twice counts once.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pyarrow as pa
import redis
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from vidtopics.errors import InputError, StoreError, VidtopicsError, explain
from vidtopics.faults import size
from vidtopics.ingest.event_fields import EventFields
from vidtopics.jobs.event_messages import LEFT_OUT, Format, events_of_message
from vidtopics.online.connections import Connection, connect
from vidtopics.online.events import EventClient, Placed

TIMEOUT_S = 30.0
LOOK_S = 1
"""Between two looks for the end of the query."""
FULL_SHARE = 0.9
"""Of `maxmemory`: above it a batch waits, so that those who send live events have room."""
SENT = (
    "messages bigint, acknowledged bigint, left_out bigint, refused map<string, bigint>,"
    " error string"
)
ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"


@dataclass(frozen=True)
class Target:
    """Where executors send: the prefix of a Redis that they reach, and the rule for early events.

    >>> Target("redis://:secret@host:6379", "vt", timedelta(days=1))
    Target(prefix='vt', max_ahead=datetime.timedelta(days=1))
    """

    url: str = field(repr=False)  # holds the password
    prefix: str
    max_ahead: timedelta


@dataclass(frozen=True)
class Reading:
    """How messages become events."""

    encoding: Format
    fields: EventFields | None = None


@dataclass
class Sent:
    """What became of messages.

    Attributes:
        messages: lines of JSON, messages of Kafka, files of Parquet.
        acknowledged: events that Redis has.
        left_out: messages of kinds that are left out.
        refused: by reason, events in the dead letters.
    """

    messages: int = 0
    acknowledged: int = 0
    left_out: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def add(self, messages: int, acknowledged: int, left_out: int, refused: Any) -> None:
        """Count others in."""
        self.messages += messages
        self.acknowledged += acknowledged
        self.left_out += left_out
        self.refused.update(refused)


OnBatch = Callable[[int, Sent], None]


def send_events(
    rows: DataFrame,
    target: Target,
    reading: Reading,
    *,
    checkpoint: str,
    once: bool,
    on_batch: OnBatch = lambda number, sent: None,
    ended: threading.Event | None = None,
) -> None:
    """Send a stream's messages: what is there (`once`), or until `ended` is set.

    Args:
        rows: a stream of `value` and `place` (:mod:`vidtopics.jobs.event_sources`).
        target: where to.
        reading: how messages become events.
        checkpoint: a folder of the query alone: how far it came.
        once: end when all that was there at the beginning has been sent.
        on_batch: takes each batch that Redis has, by its number.
        ended: ends the query from another thread or a signal.

    Raises:
        StoreError: Redis didn't take all of a batch, or is too full. Call again: it is sent again.
        InputError: the source can't be read on from the checkpoint.
    """
    failures: list[VidtopicsError] = []

    def send(batch: DataFrame, number: int) -> None:
        try:
            on_batch(number, send_batch(batch, target, reading))
        except VidtopicsError as error:
            failures.append(error)
            raise

    writer = rows.writeStream.foreachBatch(send).option("checkpointLocation", checkpoint)
    try:
        query = (writer.trigger(availableNow=True) if once else writer).start()
        try:
            while not query.awaitTermination(LOOK_S):
                if ended is not None and ended.is_set():
                    return
        finally:
            query.stop()
    except PySparkException as error:
        raise failures[-1] if failures else _unreadable(checkpoint, error) from None


def _unreadable(checkpoint: str, error: PySparkException) -> InputError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return InputError(
        explain(
            f"the source, from the checkpoint {checkpoint} on",
            expected="one that can be read on",
            found=" ".join(lines)[:600],
            mend="correct the source, or begin again with another --checkpoint: what was sent"
            " before counts once",
        )
    )


def send_batch(batch: DataFrame, target: Target, reading: Reading) -> Sent:
    """Send a batch, each partition by a task of its own.

    Raises:
        StoreError: Redis didn't take all of it, or is too full to.
    """
    try:
        with connect(target.url, timeout_s=TIMEOUT_S) as connection:
            require_room(connection)
    except redis.RedisError as error:
        expected, mend = "a server that answers", "start it; the batch waits"
        found = str(error) or type(error).__name__
        raise StoreError(explain("Redis", expected=expected, found=found, mend=mend)) from error
    if reading.encoding == "parquet":  # a row is a file: one at a time
        batch.sparkSession.conf.set(ROWS, "1")
    sent = Sent()
    errors = []
    for *counts, message in batch.mapInArrow(part_sender(target, reading), SENT).collect():
        sent.add(*counts)
        errors += [message] if message else []
    if errors:
        raise StoreError(errors[0])
    return sent


def part_sender(
    target: Target, reading: Reading
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What a task does: sends the messages of its partition, and gives one row of :data:`SENT`."""

    def send(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        sent, error = Sent(), ""
        connection = connect(target.url, timeout_s=TIMEOUT_S)
        client = EventClient(connection, prefix=target.prefix, max_ahead=target.max_ahead)
        try:
            for batch in batches:
                result = client.send(_events(batch, reading, sent))
                refused = Counter(refusal.reason for refusal in result.refused)
                sent.add(0, result.acknowledged, 0, refused)
        except StoreError as cause:  # to be told by the driver, in its own words
            error = str(cause)
        finally:
            client.close()
        counts = [sent.messages, sent.acknowledged, sent.left_out, [*sent.refused.items()], error]
        yield pa.record_batch([[value] for value in counts], schema=_SCHEMA)

    return send


_SCHEMA = pa.schema(
    {
        "messages": pa.int64(),
        "acknowledged": pa.int64(),
        "left_out": pa.int64(),
        "refused": pa.map_(pa.string(), pa.int64()),
        "error": pa.string(),
    }
)


def _events(batch: pa.RecordBatch, reading: Reading, sent: Sent) -> Iterator[Placed]:
    values, places = batch.column("value"), batch.column("place")
    for value, place in zip(values.to_pylist(), places.to_pylist(), strict=True):
        sent.messages += 1
        for event in events_of_message(reading.encoding, value, reading.fields):
            if event is LEFT_OUT:
                sent.left_out += 1
            else:
                yield Placed(event, place)


def require_room(connection: Connection) -> None:
    """StoreError where a node of Redis has used most of its `maxmemory`."""
    is_cluster = isinstance(connection, redis.RedisCluster)
    nodes = {"target_nodes": redis.RedisCluster.PRIMARIES} if is_cluster else {}
    memory: Any = connection.info("memory", **nodes)
    for name, node in (memory if is_cluster else {"Redis": memory}).items():
        used, limit = int(node["used_memory"]), int(node["maxmemory"])
        if limit and used > FULL_SHARE * limit:
            raise StoreError(
                explain(
                    str(name),
                    expected=f"at most {FULL_SHARE:.0%} of its {size(limit)} in use",
                    found=size(used),
                    mend="land events (`vidtopics events apply`), which trims the streams, or raise"
                    " `maxmemory`; the batch waits",
                )
            )
