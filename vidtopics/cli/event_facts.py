"""What lies in Redis of events: the last entries of streams, and how far each generation is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidtopics.online.connections import Connection

AT_A_TIME = 5_000
"""Entries of a stream that :func:`tailed` reads in a call."""


def tailed(connection: Connection, streams: list[str], last: int, follow: bool) -> Iterator[str]:
    """The last entries of all streams, a line of JSON each; with `follow` those to come, too."""
    cursors = dict.fromkeys(streams, "0-0")
    with connection.pipeline(transaction=False) as pipe:
        for stream in streams:
            pipe.xrevrange(stream, count=max(last, 1))
        answers = pipe.execute()
    entries = []
    for stream, newest in zip(streams, answers, strict=True):
        if newest:
            cursors[stream] = newest[0][0].decode()
        entries += newest
    entries.sort(key=lambda entry: tuple(map(int, entry[0].split(b"-"))))
    yield from map(_line, entries[len(entries) - min(last, len(entries)) :])
    while follow:
        time.sleep(0.1)
        with connection.pipeline(transaction=False) as pipe:
            for stream in streams:
                pipe.xrange(stream, min=f"({cursors[stream]}", count=AT_A_TIME)
            answers = pipe.execute()
        for stream, newer in zip(streams, answers, strict=True):
            if newer:
                cursors[stream] = newer[-1][0].decode()
            yield from map(_line, newer)


def _line(entry: tuple[bytes, dict[bytes, bytes]]) -> str:
    """An entry in the field names of the ingest format."""
    from vidtopics.ingest.landing import NAMES
    from vidtopics.times import moment

    number, fields = entry
    text = {name.decode(errors="replace"): v.decode(errors="replace") for name, v in fields.items()}
    try:
        shown, own = (moment(int(text[name])) for name in ("t", "a"))
        event = {"kind": NAMES[text["k"]], "event_id": text["e"], "user_id": text["u"]}
        event |= {"video_id": text["v"], "event_timestamp": shown}
        event |= {"clicked_at": own} if text["k"] != "i" else {}
        names = {"w": "watch_seconds", "p": "position", "r": "request_id"}
        event |= {names[name]: text[name] for name in names if text[name]}
    except (KeyError, ValueError, OverflowError):
        event = {"malformed": json.dumps(text)}
    return json.dumps({"entry": number.decode(), **event}, ensure_ascii=False)


def queues_line(queues: dict[str, Any]) -> str:
    """A set of live queues, in a line."""
    age_s = queues["age_s"]
    age = "never refreshed" if age_s is None else f"refreshed {age_s:.1f} s ago"
    read = "" if queues["read"] else "; readers see the batch's"
    return (
        f"queues of release {queues['release']}, load {queues['load']}: {age},"
        f" {queues['refreshes']:,} refreshes, {queues['written']:,} lists written{read}"
    )


def _queue_facts(connection: Connection, prefix: str) -> list[dict[str, Any]]:
    """The sets of live queues, by age."""
    from vidtopics.events.queue_sets import known_sets

    now_us = time.time_ns() // 1000
    return [
        {
            "release": queues.release,
            "load": queues.load,
            "age_s": (now_us - done.at_us) / 1e6 if done.at_us else None,
            "refreshes": done.refreshes,
            "written": done.written,
            "version": done.version,
            "read": done.is_read,
        }
        for queues, done in sorted(known_sets(connection, prefix).items())
    ]


def facts(connection: Connection, keys: Any) -> dict[str, Any]:
    """What `vidtopics events status` says, as plain values."""
    from vidtopics.events.generations import counters, lags, opened, parts_of
    from vidtopics.ingest.landing import not_landed
    from vidtopics.times import moment

    lengths = {"video": 0, "user": 0}
    for part, bucket in parts_of(keys):
        lengths[part] += connection.xlen(keys.stream(part, bucket))  # type: ignore[operator]
    return {
        "streams": lengths,
        "dead": connection.xlen(keys.dead),
        "not_landed": not_landed(connection, keys),
        "generations": {
            release: {
                "as_of": moment(generation.as_of_us),
                "counts": counters(connection, keys, release),
                "lag_ms": lags(connection, keys, release),
            }
            for release, generation in sorted(opened(connection, keys.prefix).items())
        },
        "queues": _queue_facts(connection, keys.prefix),
    }
