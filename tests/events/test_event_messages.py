"""What messages and their names are made into, without an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from source_contract import ipc_stream, rows

from vidtopics.errors import SettingsError
from vidtopics.ingest.event_fields import EventFields, read_fields
from vidtopics.jobs.event_messages import LEFT_OUT, events_of_message
from vidtopics.online.event_rules import RefusedError, check

EVENT = {
    "kind": "click",
    "event_id": "e1",
    "user_id": "u1",
    "video_id": "v1",
    "event_timestamp": 1_767_261_600.25,
    "clicked_at": "2026-01-01T10:00:05Z",
}


def test_a_message_is_an_event_or_a_list_of_them() -> None:
    text = json.dumps(EVENT).encode()
    assert list(events_of_message("json", text)) == [EVENT]
    assert list(events_of_message("json", b"[%b, %b]" % (text, text))) == [EVENT, EVENT]
    assert list(events_of_message("arrow", ipc_stream(rows([EVENT, EVENT])))) == [EVENT, EVENT]
    assert list(events_of_message("json", b" \r")) == []


def test_a_row_of_the_ingest_format_is_its_impression_and_its_click() -> None:
    row = {name: value for name, value in EVENT.items() if name != "kind"}
    shown, clicked = events_of_message("json", json.dumps(row | {"clicked": 1}).encode())
    assert shown == {"kind": "impression"} | {n: v for n, v in row.items() if n != "clicked_at"}
    assert clicked == {"kind": "click"} | row


@pytest.mark.parametrize(
    ("encoding", "value", "reason", "found"),
    [
        ("json", None, "no_event", "found none"),
        ("json", b'{"user_id": "\xff"}', "not_utf8", r"\xff"),
        ("arrow", b"no stream", "no_event", "an Arrow IPC stream"),
        ("arrow", ipc_stream(rows([EVENT]))[:-100], "no_event", "an Arrow IPC stream"),
        ("parquet", b"PAR1", "no_event", "a Parquet file"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(
    encoding: Any, value: bytes | None, reason: str, found: str
) -> None:
    [error] = events_of_message(encoding, value)
    assert isinstance(error, RefusedError)
    assert error.reason == reason
    assert found in error.detail


def test_a_line_that_is_no_json_stays_itself_so_that_its_dead_letter_has_it() -> None:
    deep = b"[" * 100_000
    assert list(events_of_message("json", b'{"kind":')) == ['{"kind":']
    assert list(events_of_message("json", deep)) == [deep.decode()]


FILE = """
fields: {event_id: id, user_id: user.id, video_id: item, event_timestamp: ts, watch_seconds: a.b}
kind: type
kinds: {view: impression, play: watch, scroll: null}
time_unit: ms
"""


def fields_of(tmp_path: Path, text: str) -> EventFields:
    file = tmp_path / "map.yaml"
    file.write_text(text)
    return read_fields(file)


def test_names_kinds_and_units_of_others(tmp_path: Path) -> None:
    fields = fields_of(tmp_path, FILE)
    theirs = {"type": "play", "id": "e1", "user": {"id": "u1"}, "item": "v1", "ip": "::1"}
    theirs |= {"ts": 1_767_261_600_250, "a.b": 3}
    ours = {"event_id": "e1", "user_id": "u1", "video_id": "v1", "watch_seconds": 3}
    ours |= {"event_timestamp": 1_767_261_600.25, "kind": "watch"}
    assert fields.event(theirs) == ours
    assert fields.event({**theirs, "ts": "2026-01-01"}) == ours | {"event_timestamp": "2026-01-01"}
    assert fields.event({**theirs, "type": "share"}) == ours | {"kind": "share"}
    assert fields.event({**theirs, "type": "scroll"}) is None
    assert fields.event("no object") == "no object"
    assert fields.event({"user": "u1"})["user_id"] is None  # type: ignore[index]
    left = events_of_message("json", json.dumps({"type": "scroll"}).encode(), fields)
    assert list(left) == [LEFT_OUT]


def test_the_page_s_example_takes_views_that_have_the_time_of_all_messages(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "realtime.md").read_text(encoding="utf-8")
    fields = fields_of(tmp_path, page.partition("```yaml\n")[2].partition("```")[0])
    theirs = {"impression_id": "e1", "user": {"id": "u1"}, "item": "v1"}
    theirs |= {"shown_at": 1_767_261_600_000, "ts": 1_767_261_600_000}
    shown = check(fields.event({**theirs, "type": "view"}))
    clicked = check(fields.event({**theirs, "type": "tap", "ts": 1_767_261_605_000}))
    assert (shown.kind, clicked.kind) == ("i", "c")
    assert clicked.own_us - shown.own_us == 5_000_000


def test_a_topic_of_one_kind(tmp_path: Path) -> None:
    fields = fields_of(tmp_path, "{fields: {event_id: id}, every: click}")
    assert fields.event({"id": "e1"}) == {"event_id": "e1", "kind": "click"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("fields: {event: id}", "event"),
        ("kind: type", "fields"),
        ("{fields: {}, kind: type}", "`kind` with `kinds`"),
        ("{fields: {}, kinds: {a: click}}", "`kind` with `kinds`"),
        ("{fields: {}, kind: type, kinds: {a: click}, every: click}", "or `every`"),
        ("{fields: {}, kind: type, kinds: {a: tap}}", "kinds.a"),
        ("{fields: {}, time_unit: minutes}", "time_unit"),
        ("{fields: {}, units: ms}", "units"),
        ("fields: [", "map.yaml"),
    ],
)
def test_a_wrong_file_is_refused_by_key(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(SettingsError, match=wrong) as error:
        fields_of(tmp_path, text)
    assert "map.yaml" in str(error.value)
