"""Generations of live state: one per release, of the events since the release's as-of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

from vidtopics.events.queue_sets import drop_set, known_sets
from vidtopics.layout import place
from vidtopics.layout.live import FORMAT, PARTS, SETTLED, LiveKeys, Part
from vidtopics.online.connections import Connection

LIVE = "live"
"""A hash beside the directory: release to the as-of time of its generation, in microseconds."""
TRIMMED = "trimmed"
"""Beside it: for which as-of time streams were trimmed; an earlier one can't be opened any more."""


@dataclass(frozen=True)
class Generation:
    """The live state of a release: what events did from its as-of time on (microseconds)."""

    release: int
    as_of_us: int


def keys_of(connection: Connection, prefix: str) -> LiveKeys:
    """The keys of a prefix; StoreError where nothing was loaded under it."""
    return LiveKeys.of(prefix, cast("bytes | None", connection.get(place(prefix, "layout"))))


def parts_of(keys: LiveKeys) -> Iterator[tuple[Part, int]]:
    """Each part of each bucket."""
    return product(PARTS, range(keys.layout.buckets))


def opened(connection: Connection, prefix: str) -> dict[int, Generation]:
    """The generations that are open, by release."""
    stored = cast("Mapping[bytes, bytes]", connection.hgetall(place(prefix, LIVE)))
    return {int(r): Generation(int(r), int(as_of)) for r, as_of in stored.items()}


def open_generation(connection: Connection, keys: LiveKeys, generation: Generation) -> bool:
    """Open a generation, empty, unless it is open; False where the streams lack what it needs.

    It may be called again, also after a process died here: what is open stays as it is.

    One of the same release but another as-of time is another home's, or of before the tables were
    made anew: it goes first. So does one whose values another version of vidtopics wrote.
    """
    known = opened(connection, keys.prefix).get(generation.release)
    at = _at(connection, keys, generation.release)
    if known == generation and all(_is_open(fields, generation) for fields in at):
        return True
    is_trimmed = _is_trimmed(connection, keys, generation)
    is_other = known != generation or any(_is_of_another_format(fields) for fields in at)
    if known is not None and (is_trimmed or is_other):
        drop(connection, keys, generation.release)
    if is_trimmed:
        return False
    # Entered first: what a process that dies here left is known, and goes with the release. Then
    # looked again: who trims meanwhile looks at what is entered once it has said so.
    connection.hset(place(keys.prefix, LIVE), str(generation.release), str(generation.as_of_us))
    if _is_trimmed(connection, keys, generation):
        drop(connection, keys, generation.release)
        return False
    with connection.pipeline(transaction=False) as pipe:
        for part, bucket in parts_of(keys):
            name = keys.state(generation.release, part, "at", bucket)
            pipe.hsetnx(name, "format", str(FORMAT))
            pipe.hsetnx(name, "as_of", str(generation.as_of_us))
        pipe.execute()
    return True


def _is_open(fields: Mapping[bytes, bytes], generation: Generation) -> bool:
    """Whether a bucket is: that one is entered doesn't say so, who entered it may have died."""
    is_since = fields.get(b"as_of") == str(generation.as_of_us).encode()
    return is_since and not _is_of_another_format(fields)


def _is_of_another_format(fields: Mapping[bytes, bytes]) -> bool:
    return b"as_of" in fields and fields.get(b"format") != str(FORMAT).encode()


def _is_trimmed(connection: Connection, keys: LiveKeys, generation: Generation) -> bool:
    """Whether the streams lack what the generation needs."""
    trimmed = cast("bytes | None", connection.get(place(keys.prefix, TRIMMED)))
    return trimmed is not None and generation.as_of_us < int(trimmed)


def drop(connection: Connection, keys: LiveKeys, release: int) -> None:
    """Remove a generation and its queues; a script that comes late finds it closed."""
    for queues in known_sets(connection, keys.prefix):
        if queues.release == release:
            drop_set(connection, keys, queues)
    with connection.pipeline(transaction=False) as pipe:
        for part, bucket in parts_of(keys):
            pipe.execute_command("UNLINK", *keys.generation(release, part, bucket))
        pipe.execute()
    connection.hdel(place(keys.prefix, LIVE), str(release))


def counters(connection: Connection, keys: LiveKeys, release: int) -> dict[Part, dict[str, int]]:
    """Entries by outcome, of each part: applied, duplicate, late, early, malformed, implied."""
    sums: dict[Part, dict[str, int]] = {part: {} for part in PARTS}
    for (part, _), fields in zip(parts_of(keys), _at(connection, keys, release), strict=True):
        for name, value in fields.items():
            if (outcome := name.decode()) not in SETTLED:
                sums[part][outcome] = sums[part].get(outcome, 0) + int(value)
    return sums


def lags(connection: Connection, keys: LiveKeys, release: int) -> dict[Part, list[int]]:
    """Per bucket the milliseconds that the first entry which isn't applied has waited; 0: none is.

    By the clock of Redis, so that the number grows while nobody applies and nothing more comes.
    """
    cursors = [at.get(b"cursor") for at in _at(connection, keys, release)]
    places = list(parts_of(keys))
    waits = waits_ms(
        connection,
        [(keys.stream(*where), cursor) for where, cursor in zip(places, cursors, strict=True)],
    )
    result: dict[Part, list[int]] = {part: [] for part in PARTS}
    for (part, _), wait in zip(places, waits, strict=True):
        result[part].append(wait)
    return result


def waits_ms(connection: Connection, places: Sequence[tuple[str, bytes | None]]) -> list[int]:
    """For each stream the milliseconds that its first entry after a cursor has waited; 0: none is.

    Args:
        connection: a server or a cluster, whose clock counts.
        places: streams, and the id of the entry before; None: from the beginning.
    """
    with connection.pipeline(transaction=False) as pipe:
        for stream, cursor in places:
            pipe.xrange(stream, min="-" if cursor is None else f"({cursor.decode()}", count=1)
        answers = pipe.execute()
    seconds, micros = cast("tuple[int, int]", connection.time())
    now_ms = seconds * 1000 + micros // 1000
    return [max(1, now_ms - _milliseconds(first[0][0])) if first else 0 for first in answers]


def _at(connection: Connection, keys: LiveKeys, release: int) -> list[dict[bytes, bytes]]:
    with connection.pipeline(transaction=False) as pipe:
        for part, bucket in parts_of(keys):
            pipe.hgetall(keys.state(release, part, "at", bucket))
        return cast("list[dict[bytes, bytes]]", pipe.execute())


def _milliseconds(entry_id: Any) -> int:
    return int(entry_id.partition(b"-")[0])
