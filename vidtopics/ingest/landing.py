"""Events from their streams into the log's tables, as a delivery that `ingest` judges.

Users' entries have all fields of an event. What one reading brings is merged to a row for each
impression, goes through the same rules as a folder, and is in `impressions` and `clicks`; so the
next run counts it. A reading that died before it noted how far it came is repeated: rows that are
there are left out.
"""

from __future__ import annotations

import csv
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from vidtopics.contracts import CREATED_TIME, DEAD_EVENTS, EVENT_TIME
from vidtopics.events.trimming import LANDED
from vidtopics.ingest import log, videos
from vidtopics.ingest.publishing import ingest
from vidtopics.ingest.source import Source
from vidtopics.layout import place
from vidtopics.layout.live import FIELDS, KINDS, LiveKeys
from vidtopics.online.connections import Connection
from vidtopics.online.event_rules import Event, RefusedError, check
from vidtopics.settings import IngestSettings
from vidtopics.tables import Commit, Tables
from vidtopics.tables.schemas import arrow_schema
from vidtopics.times import moment

ENTRIES = 5_000
"""Of each bucket, and of those that were held back, in one round."""
HELD = "landing-held"
"""A sorted set beside the directory: entries whose time hasn't come, as JSON, by that time."""
# KEYS: HELD, LANDED. ARGV: how many are due, held, and cursors; those. A server at its `maxmemory`
# refuses a script whose first write needs room: this one's never does, as the log has to go on.
_NOTE = """
redis.call('ZREM', KEYS[1], '')
local due, held, cursors, at = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), 4
for i = 1, due do redis.call('ZREM', KEYS[1], ARGV[at]); at = at + 1 end
for i = 1, held do redis.call('ZADD', KEYS[1], ARGV[at + 1], ARGV[at]); at = at + 2 end
for i = 1, cursors do redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1]); at = at + 2 end
return redis.call('ZCARD', KEYS[1])
"""
NAMES = {letter: kind for kind, letter in KINDS.items()}
Entry = tuple[str, int, Mapping[str, str]]
"""Stream and number of an entry, its time in milliseconds, and its fields."""


@dataclass
class Landed:
    """What a landing brought.

    Attributes:
        entries: entries that were read.
        impressions: new rows of `impressions`.
        clicks: new rows of `clicks`.
        already_there: impressions that the table had.
        erased: rows of people who were erased since, left out.
        held: entries whose event lies ahead of this clock; they wait for a later landing.
        refused: by reason, rows of `impressions_rejected`, `clicks_rejected` and `dead_events`.
    """

    entries: int = 0
    impressions: int = 0
    clicks: int = 0
    already_there: int = 0
    erased: int = 0
    held: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def add(self, other: Landed) -> None:
        """Count another landing in."""
        for name in ("entries", "impressions", "clicks", "already_there", "erased"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.held = other.held
        for reason, count in other.refused.items():
            self.refused[reason] = self.refused.get(reason, 0) + count


@dataclass
class _Reading:
    """One reading of the streams, sorted by what becomes of each entry.

    `held`: entries to be held back, to the time of their event; `due`: those whose time has come.
    """

    cursors: dict[str, str] = field(default_factory=dict)
    entries: int = 0
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    due: list[bytes] = field(default_factory=list)
    dead: list[dict[str, str]] = field(default_factory=list)


def land(
    tables: Tables,
    connection: Connection,
    keys: LiveKeys,
    settings: IngestSettings,
    max_ahead: timedelta,
) -> Landed:
    """Land what the streams have now; arguments as :func:`land_in_rounds`."""
    landed = Landed()
    for part in land_in_rounds(tables, connection, keys, settings, max_ahead):
        landed.add(part)
    return landed


def land_in_rounds(
    tables: Tables,
    connection: Connection,
    keys: LiveKeys,
    settings: IngestSettings,
    max_ahead: timedelta,
) -> Iterator[Landed]:
    """Land what the streams have at the start, in parts of bounded size; what each brought.

    The last brings nothing. Entries that come meanwhile are left for the next landing, so that this
    one ends however many come.

    Raises:
        OutdatedError: other deliveries changed the tables each time.
        redis.exceptions.RedisError: a server can't be reached. Land again.
    """
    ends, until_us = _ends(connection, keys), time.time_ns() // 1000
    while True:
        reading = _read(connection, keys, max_ahead, ends, until_us)
        is_last = not (reading.entries or reading.due)
        landed = Landed() if is_last else _publish(tables, reading, settings)
        landed.held = _note(connection, keys, reading)
        yield landed
        if is_last:
            return


def not_landed(connection: Connection, keys: LiveKeys) -> int:
    """How many events haven't landed, held back or not; at most ENTRIES of each bucket count."""
    stored = cast("Mapping[bytes, bytes]", connection.hgetall(place(keys.prefix, LANDED)))
    held = cast("int", connection.zcard(place(keys.prefix, HELD)))
    with connection.pipeline(transaction=False) as pipe:
        for bucket in range(keys.layout.buckets):
            cursor = stored.get(f"user:{bucket}".encode(), b"-").decode()
            first = "-" if cursor == "-" else f"({cursor}"
            pipe.xrange(keys.stream("user", bucket), min=first, count=ENTRIES)
        return held + sum(map(len, pipe.execute()))


def _streams(keys: LiveKeys) -> dict[str, str]:
    """What lands: the name of its cursor, and the stream."""
    users = {f"user:{b}": keys.stream("user", b) for b in range(keys.layout.buckets)}
    return {**users, "dead": keys.dead}


def _ends(connection: Connection, keys: LiveKeys) -> dict[str, str]:
    """The last entry of each stream; 0-0 where it has none."""
    streams = _streams(keys)
    with connection.pipeline(transaction=False) as pipe:
        for stream in streams.values():
            pipe.xrevrange(stream, count=1)
        answers = pipe.execute()
    return {
        name: newest[0][0].decode() if newest else "0-0"
        for name, newest in zip(streams, answers, strict=True)
    }


def _read(
    connection: Connection,
    keys: LiveKeys,
    max_ahead: timedelta,
    ends: Mapping[str, str],
    until_us: int,
) -> _Reading:
    """Entries up to `ends`, and those held back of which the time came by `until_us`."""
    stored = cast("Mapping[bytes, bytes]", connection.hgetall(place(keys.prefix, LANDED)))
    due: Any = connection.zrangebyscore(
        place(keys.prefix, HELD), "-inf", until_us, start=0, num=ENTRIES
    )
    cursors = {name.decode(): cursor.decode() for name, cursor in stored.items()}
    streams = _streams(keys)
    with connection.pipeline(transaction=False) as pipe:
        for name, stream in streams.items():
            first = f"({cursors[name]}" if name in cursors else "-"
            pipe.xrange(stream, min=first, max=ends[name], count=ENTRIES)
        answers = pipe.execute()
    reading, ahead_us = _Reading(due=due), max_ahead // timedelta(microseconds=1)
    now_us = time.time_ns() // 1000
    for text in due:
        name, sent_ms, fields = json.loads(text)
        _sort(reading, (name, sent_ms, fields), now_us, ahead_us)
    for (name, stream), entries in zip(streams.items(), answers, strict=True):
        for entry in _decoded(stream, entries):
            reading.entries += 1
            reading.cursors[name] = entry[0].rpartition(" ")[2]
            if name == "dead":
                reading.dead.append(_dead(entry, entry[2]))
            else:
                _sort(reading, entry, now_us, ahead_us)
    return reading


def _decoded(
    stream: str, entries: Iterable[tuple[bytes, Mapping[bytes, bytes]]]
) -> Iterator[Entry]:
    for number, fields in entries:
        plain = {
            name.decode(errors="replace"): value.decode(errors="surrogateescape")
            for name, value in (fields or {}).items()
        }
        yield f"{stream} {number.decode()}", int(number.partition(b"-")[0]), plain


def _sort(reading: _Reading, entry: Entry, now_us: int, ahead_us: int) -> None:
    """Merge an entry into the row of its impression, hold it back, or give it up."""
    _, sent_ms, fields = entry
    try:
        event = _event(fields, sent_ms * 1000 + ahead_us)
    except RefusedError as error:
        reading.dead.append(_dead(entry, {"reason": error.reason, "detail": error.detail}))
        return
    if event.own_us > now_us:
        reading.held[json.dumps(entry)] = event.own_us
        return
    known_us = min(max(sent_ms * 1000, event.own_us), now_us)
    row = reading.rows.setdefault(event.event_id, _row(event, known_us))
    if (row["user_id"], row["video_id"], row["shown_us"]) != event[2:5]:
        detail = f"expected one impression of event_id {event.event_id}, found another"
        reading.dead.append(_dead(entry, {"reason": "conflicting_rows", "detail": detail}))
        return
    _merge(row, event)


def _event(fields: Mapping[str, str], latest_us: int) -> Event:
    """The event of an entry, judged by the time at which Redis took it, as the scripts do."""
    if tuple(fields) != tuple(FIELDS["user"]) or fields["k"] not in NAMES:
        raise RefusedError("malformed", f"expected the fields of an event, found {list(fields)}")
    times = {}
    for name in ("t", "a"):
        if not fields[name].removeprefix("-").isdecimal() or len(fields[name]) > 17:
            detail = f"expected microseconds, found {ascii(fields[name])[:80]}"
            raise RefusedError("malformed", detail)
        times[name] = int(fields[name])
    kind = NAMES[fields["k"]]
    if kind == "impression" and times["t"] != times["a"]:
        raise RefusedError("malformed", "expected one time of an impression, found two")
    after = {"clicked_at": times["a"] / 1e6, "watch_seconds": fields["w"]}
    event = {
        "kind": kind,
        "event_id": fields["e"],
        "user_id": fields["u"],
        "video_id": fields["v"],
        "event_timestamp": times["t"] / 1e6,
        "position": fields["p"],
        "request_id": fields["r"],
    } | ({} if kind == "impression" else after)
    checked = check(event, latest_us, timedelta(0))
    # Through seconds as a float, a time of far away may lose a microsecond.
    return checked._replace(shown_us=times["t"], own_us=times["a"])


def _row(event: Event, known_us: int) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "user_id": event.user_id,
        "video_id": event.video_id,
        "shown_us": event.shown_us,
        "known_us": known_us,
        "clicked_us": None,
        "watch": "",
        "position": "",
        "request_id": "",
    }


def _merge(row: dict[str, Any], event: Event) -> None:
    """The first that says when it was clicked counts, as in live state; the longest watch."""
    row["position"] = row["position"] or event.position
    row["request_id"] = row["request_id"] or event.request_id
    if event.kind != KINDS["impression"]:
        if row["clicked_us"] is None:
            row["clicked_us"] = event.own_us
        if event.watch:
            row["watch"] = max(row["watch"] or "0", event.watch, key=float)


def _publish(tables: Tables, reading: _Reading, settings: IngestSettings) -> Landed:
    landed = Landed(entries=reading.entries)
    if reading.rows:
        tables.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=tables.home, prefix="landing-") as folder:
            _deliver(Path(folder), list(reading.rows.values()))
            # One bad client must not keep the others' events out.
            lenient = settings.model_copy(
                update={"max_rejected_share": 1.0, "max_reused_share": 1.0}
            )
            result = ingest(tables, Source("folder", Path(folder)), lenient)
        rows = {publication.table: publication.rows for publication in result.publications}
        landed.impressions, landed.clicks = rows["impressions"], rows["clicks"]
        landed.already_there = result.already_there["impressions"]
        landed.erased = result.erased
        for report in result.files:
            for reason, tally in report.refused.items():
                landed.refused[reason] = landed.refused.get(reason, 0) + tally.count
    for letter in reading.dead:
        landed.refused[letter["reason"]] = landed.refused.get(letter["reason"], 0) + 1
    if reading.dead:
        _bury(tables, reading.dead)
    return landed


def _deliver(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as a delivery in the folder format that brings no video."""
    with (folder / "videos.csv").open("w", newline="") as file:
        csv.writer(file).writerow(videos.COLUMNS.names)
    columns = {
        "user_id": [row["user_id"] for row in rows],
        "video_id": [row["video_id"] for row in rows],
        "event_timestamp": [moment(row["shown_us"]) for row in rows],
        "clicked": ["0" if row["clicked_us"] is None else "1" for row in rows],
        "clicked_at": ["" if r["clicked_us"] is None else moment(r["clicked_us"]) for r in rows],
        "watch_seconds": [row["watch"] for row in rows],
        "request_id": [row["request_id"] for row in rows],
        "position": [row["position"] for row in rows],
        "event_id": [row["event_id"] for row in rows],
        "created_timestamp": [moment(row["known_us"]) for row in rows],
    }
    assert set(columns) <= set(log.COLUMNS.names)
    pq.write_table(pa.table(columns), folder / "impressions.parquet")


def _dead(entry: Entry, fields: Mapping[str, str]) -> dict[str, str]:
    event = fields.get("event") or json.dumps(dict(entry[2]))[:4_096]
    texts = {name: fields.get(name, "") for name in ("reason", "detail")}
    return {"entry": entry[0], **texts, "event": event, "sent_ms": str(entry[1])}


def _bury(tables: Tables, letters: Sequence[Mapping[str, str]]) -> None:
    """Append dead letters; those that are there already are left out."""
    now_us = time.time_ns() // 1000
    rows = [
        {name: _printable(letter[name]) for name in ("entry", "reason", "detail", "event")}
        | {EVENT_TIME: min(int(letter["sent_ms"]) * 1000, now_us), CREATED_TIME: now_us}
        for letter in letters
    ]
    letters = pa.Table.from_pylist(rows, arrow_schema(DEAD_EVENTS, DEAD_EVENTS.timed_columns))
    tables.publish(DEAD_EVENTS, letters, Commit("landing", now_us, now_us, live=True))


def _printable(text: str) -> str:
    """Text that a table takes: what isn't UTF-8 is escaped."""
    return text.encode(errors="backslashreplace").decode()


def _note(connection: Connection, keys: LiveKeys, reading: _Reading) -> int:
    """Keep how far the landing came, and what it held back, in one script; how many wait.

    Only what this reading had is changed: another landing may have held back more since.
    """
    held, landed = place(keys.prefix, HELD), place(keys.prefix, LANDED)
    arguments = [
        *(len(part) for part in (reading.due, reading.held, reading.cursors)),
        *reading.due,
        *(value for text, us in reading.held.items() for value in (text, us)),
        *(value for pair in reading.cursors.items() for value in pair),
    ]
    return int(cast("Any", connection).eval(_NOTE, 2, held, landed, *arguments))
