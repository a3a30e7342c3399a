"""Events are judged as `vidtopics ingest` judges the same rows, reason for reason."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from vidtopics.ingest.rules import FIRST_YEAR, MAX_FLOAT32, MAX_INT32
from vidtopics.ingest.source import Source
from vidtopics.ingest.staging import stage
from vidtopics.online import event_rules
from vidtopics.online.event_rules import RefusedError, check, shown
from vidtopics.settings import IngestSettings
from vidtopics.times import micros

GOOD = {
    "kind": "click",
    "event_id": "e1",
    "user_id": "u1",
    "video_id": "v1",
    "event_timestamp": "2026-01-01T10:00:00Z",
    "clicked_at": "2026-01-01T10:00:05Z",
    "watch_seconds": "3.5",
    "position": "2",
    "request_id": "r1",
}
CHANGES: dict[str, dict[str, str]] = {
    "as it is": {},
    "no user": {"user_id": ""},
    "no video": {"video_id": ""},
    "long": {"user_id": "ü" * 65},
    "just not long": {"user_id": "ü" * 64},
    "control": {"video_id": "v\t1"},
    "c1 control": {"user_id": "u\x85"},
    "long request": {"request_id": "r" * 129},
    "no request": {"request_id": ""},
    "long event": {"event_id": "e" * 129},
    "no time": {"event_timestamp": ""},
    "word": {"event_timestamp": "yesterday"},
    "date": {"event_timestamp": "2026-01-01", "clicked_at": ""},
    "no such day": {"event_timestamp": "2026-02-30T10:00:00Z"},
    "offset": {"event_timestamp": "2026-01-01T12:00:00+0200"},
    "short offset": {"event_timestamp": "2026-01-01T12:00:00+02"},
    "no offset": {"event_timestamp": "2026-01-01 10:00"},
    "fraction": {"event_timestamp": "2026-01-01T10:00:00.123456789Z"},
    "unix": {"event_timestamp": "1767261600.25"},
    "scientific": {"event_timestamp": "1.7672616e9"},
    "milliseconds": {"event_timestamp": "1767261600000"},
    "1899": {"event_timestamp": "1899-12-31T23:59:59Z"},
    "future": {"event_timestamp": "2999-01-01"},
    "click first": {"clicked_at": "2026-01-01T09:59:59Z"},
    "click word": {"clicked_at": "later"},
    "position 0": {"position": "0"},
    "position half": {"position": "1.5"},
    "position whole": {"position": "2.0"},
    "position large": {"position": "2147483648"},
    "position nan": {"position": "nan"},
    "position word": {"position": "first"},
    "watch word": {"watch_seconds": "long"},
    "watch nan": {"watch_seconds": "NaN"},
    "watch infinite": {"watch_seconds": "-inf"},
    "watch too large": {"watch_seconds": "3.5e38"},
    "watch negative": {"watch_seconds": "-1"},
    "watch minus zero": {"watch_seconds": "-0"},
    "watch tiny": {"watch_seconds": "5e-5"},
}


@pytest.fixture(scope="module")
def reasons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The reason for which ingest refuses each row; empty for those that it takes."""
    folder = tmp_path_factory.mktemp("delivery")
    with (folder / "videos.csv").open("w", newline="") as file:
        file.write(
            "video_id,title,cover,primary_class,secondary_class,tags,published_at\nv1,,,a,b,,\n"
        )
    rows = [{**GOOD, **change} for change in CHANGES.values()]
    for number, row in enumerate(rows):  # one impression each
        row["event_id"] = f"{number}{row['event_id']}"[:129]
        row["clicked"] = "1"
    with (folder / "impressions.csv").open("w", newline="", encoding="utf-8") as file:
        names = [name for name in (*GOOD, "clicked") if name != "kind"]
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    settings = IngestSettings(max_rejected_share=1.0)
    staged = stage(Source("folder", folder), folder / "staged", settings)
    import pyarrow.parquet as pq

    refused: dict[int, str] = {}
    for table in ("impressions", "clicks"):
        for row in pq.read_table(staged.staged[f"{table}_rejected"]).to_pylist():
            if row["file"] == "impressions.csv":
                refused[row["row"]] = row["reason"]
    return {name: refused.get(number, "") for number, name in enumerate(CHANGES, start=1)}


@pytest.mark.parametrize("name", CHANGES)
def test_the_reason_is_that_of_ingest(name: str, reasons: dict[str, str]) -> None:
    try:
        check({**GOOD, **CHANGES[name]})
        reason = ""
    except RefusedError as error:
        reason = error.reason
    assert reason == reasons[name]


def test_bounds_are_those_of_ingest() -> None:
    assert micros(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)) == event_rules.FIRST_US
    assert (event_rules.MAX_INT32, event_rules.MAX_FLOAT32) == (MAX_INT32, MAX_FLOAT32)


OWN: dict[str, tuple[Any, str]] = {
    "no mapping": ("click", "no_event"),
    "misspelt": ({**GOOD, "watched_seconds": 3}, "unknown_field"),
    "no kind": ({**GOOD, "kind": None}, "bad_kind"),
    "other kind": ({**GOOD, "kind": "clicked"}, "bad_kind"),
    "unhashable kind": ({**GOOD, "kind": ["click"]}, "bad_kind"),
    "no event": ({**GOOD, "event_id": None}, "empty_id"),
    "number": ({**GOOD, "user_id": 7}, "no_text"),
    "surrogate": ({**GOOD, "user_id": "\ud800"}, "not_utf8"),
    "impression with a click": ({**GOOD, "kind": "impression"}, "contradicting_click"),
    "watch without seconds": ({**GOOD, "kind": "watch", "watch_seconds": None}, "bad_number"),
    "coarse": ({**GOOD, "event_timestamp": np.float32(1767261600)}, "bad_time"),
    "truth": ({**GOOD, "event_timestamp": True}, "bad_time"),
    "huge": ({**GOOD, "event_timestamp": 10**400}, "bad_time"),
    "not a number": ({**GOOD, "event_timestamp": float("nan")}, "bad_time"),
    "position list": ({**GOOD, "position": [1]}, "bad_position"),
    "watch huge": ({**GOOD, "watch_seconds": 10**400}, "bad_number"),
}


@pytest.mark.parametrize(("event", "reason"), OWN.values(), ids=OWN)
def test_what_only_an_event_can_have_wrong(event: object, reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        check(event)
    assert refused.value.reason == reason


def test_values_of_python_and_numpy_are_taken() -> None:
    event = check(
        {
            **GOOD,
            "kind": "watch",
            "event_timestamp": datetime(2026, 1, 1, 10),
            "clicked_at": np.int64(1767261605),
            "watch_seconds": np.float32(3.5),
            "position": np.int64(2),
        }
    )
    assert (event.kind, event.shown_us, event.own_us) == ("w", 1767261600000000, 1767261605000000)
    assert (event.watch, event.position) == ("3.5", "2")


NOW_US = 1_800_000_000_000_000
SECONDS = 1_767_261_600
MILLI, MICRO, NANO = (
    f", which looks like Unix {unit}: send seconds, the number divided by {divisor}"
    for unit, divisor in (("milliseconds", "1e3"), ("microseconds", "1e6"), ("nanoseconds", "1e9"))
)
UNITS: dict[str, tuple[Any, str, str]] = {
    "milliseconds": (SECONDS * 10**3, "bad_time", MILLI),
    "microseconds": (SECONDS * 10**6, "bad_time", MICRO),
    "nanoseconds": (SECONDS * 10**9, "bad_time", NANO),
    "with a fraction": (SECONDS * 1e3 + 0.5, "bad_time", MILLI),
    "as text": (f"{SECONDS}000", "bad_time", MILLI),
    "microseconds as text": (f"{SECONDS}000000", "bad_time", MICRO),
    "nanoseconds as text": (f"{SECONDS}000000000", "bad_time", NANO),
    "of numpy": (np.int64(SECONDS * 10**3), "bad_time", MILLI),
    "of the year 1972": (63_072_000_000, "future_time", MILLI),
    "seconds of the year 2100": (4_102_444_800, "future_time", ""),
    "text of the year 2100": ("2100-01-01", "future_time", ""),
    "milliseconds of the year 2100": (4_102_444_800_000, "bad_time", ""),
    "a word": ("yesterday", "bad_time", ""),
    "no number": (float("nan"), "bad_time", ""),
    "infinite": ("inf", "bad_time", ""),
    "before 1970": (-SECONDS * 10**3, "bad_time", ""),
    "huge": (10**400, "bad_time", ""),
}


@pytest.mark.parametrize(("value", "reason", "hint"), UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("name", ["event_timestamp", "clicked_at"])
def test_a_time_in_another_unit_is_refused_and_the_unit_is_named(
    name: str, value: Any, reason: str, hint: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        check({**GOOD, name: value}, NOW_US)
    assert refused.value.reason == reason
    assert refused.value.detail.startswith(f"expected {name} ")
    assert refused.value.detail.partition("found ")[2] == shown(value) + hint
