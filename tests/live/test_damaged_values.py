"""A user's live value whose bytes are damaged: whatever they are, the rows can be made."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_rows_with_events import PRIOR, RULES, earlier, part_of, rows, video_rows

from consumers.live import LivePart
from consumers.live.folding import Folding
from vidtopics.layout.live import CLICKED, HEAD, NO_FLOOR, RECORD, SHOWN, UserValue
from vidtopics.times import moment

T_US = 1_768_435_500_000_000


def record(kind: int, us: int, video: bytes, event: bytes) -> bytes:
    return RECORD.pack(kind, us, -1.0, 1, len(video), len(event)) + video + event


def head(records: int) -> bytes:
    return HEAD.pack(records, 1, NO_FLOOR, 5, records)


SHOWN_V1 = record(SHOWN, T_US, b"v1", b"e1")
WHOLE = head(2) + SHOWN_V1 + record(CLICKED, T_US + 5, b"v2", b"e2")
DAMAGED = {
    "nothing": b"",
    "no head": b"short",
    "a record cut off": WHOLE[:-1],
    "a record too few": head(2) + SHOWN_V1,
    "a record too many": head(0) + SHOWN_V1,
    "a video that is no text": head(1) + record(SHOWN, T_US, b"\xff1", b"e1"),
    "an event that is no text": head(1) + record(SHOWN, T_US, b"v1", b"\xc3"),
    "a time after all years": head(1) + record(SHOWN, 2**62, b"v1", b"e1"),
    "a time before all years": head(1) + record(SHOWN, -(2**62), b"v1", b"e1"),
}


def all_rows(part: LivePart) -> tuple[dict[str, object], dict[str, object]]:
    """The user's rows of a release, and with the events."""
    lists = {view: rows(view, [False]) for view in ("user_recent_clicks", "user_recent_skips")}
    before = earlier(True) | lists
    named = part.events("user_topics").videos
    folding = Folding(part, RULES, 1, PRIOR, video_rows(named) if named else None)
    return {**before}, {**folding.folded(before)}


@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED)
def test_rows_of_a_damaged_value_are_the_release_s(raw: bytes) -> None:
    part = part_of(raw)
    before, after = all_rows(part)
    assert after == before
    assert part.is_damaged
    none = {"since_us": part.since_us[1], "exposures": 0, "clicks": 0, "damaged": True}
    assert part.report() == none
    replayed = LivePart.from_json(json.loads(json.dumps(part.to_json())))
    assert (replayed, replayed.is_damaged) == (part, True)


def test_rows_of_a_whole_value_are_not() -> None:
    part = part_of(WHOLE)
    before, after = all_rows(part)
    assert not part.is_damaged
    assert all(after[view] is not before[view] for view in before)
    assert (part.report()["exposures"], part.report()["damaged"]) == (2, False)


def test_one_damaged_value_of_several_generations_leaves_none() -> None:
    """Else counts would be of one time and lists of another."""
    releases = {"user_statistics": 1, "user_topics": 1, "user_recent_clicks": 2}
    values = {1: UserValue(WHOLE), 2: UserValue(b"short")}
    part = LivePart(releases, {1: T_US, 2: T_US}, values)
    assert part.is_damaged
    assert [part.state(view).clicks for view in releases] == [0, 0, 0]
    assert part.events("user_topics").videos == []


@given(
    place=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.integers(0, len(WHOLE))
)
@settings(max_examples=300, derandomize=True)
@example(place=HEAD.size - 2, byte=0, cut=HEAD.size)  # counts without a record
def test_no_byte_that_is_another_fails_a_request(place: int, byte: int, cut: int) -> None:
    raw = (WHOLE[:place] + bytes([byte]) + WHOLE[place + 1 :])[:cut]
    part = part_of(raw)
    before, after = all_rows(part)
    assert after.keys() == before.keys()
    state = UserValue(raw).state
    assert all(moment(click.us) and click.video.decode() for click in state.recent_clicks())
    assert part.is_damaged or part.state("user_topics") == state
