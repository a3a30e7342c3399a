"""A row that is replayed as events is clicked, or not, as the same row that is ingested."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from small_delivery import IMPRESSIONS, Deliver

from vidtopics.ingest.replay import events_of_row
from vidtopics.online.event_rules import RefusedError, check

TEXTS = (
    *("0", "1", "0.0", "0.00", "1.00", "1e0", "-0", "+1", "true", "TRUE", "True", "false"),
    *("FALSE", "no", "yes", "2", "-1", "0.5", "nan", "inf", "None", "t", "0x1", ""),
)
ROW = {"event_id": "e", "user_id": "u", "video_id": "v", "event_timestamp": "2026-01-01T10:00:00Z"}


def kinds(clicked: object, **more: Any) -> list[str] | str:
    """The kinds of the events of a row, or the reason for which one is refused."""
    events = events_of_row({**ROW, "clicked": clicked, **more})
    try:
        return [check(event).kind for event in events]
    except RefusedError as error:
        return error.reason


def test_clicked_is_read_as_ingest_reads_it(deliver: Deliver) -> None:
    rows = (f"u1,v1,2026-02-01T10:00:{i:02}Z,{text}\n" for i, text in enumerate(TEXTS))
    staged = deliver(impressions=IMPRESSIONS + "".join(rows))
    refused = {row - 1 for row, _ in staged.rejected("clicks")}
    clicked = {time.second for time in _times(staged.tables["clicks"])}
    for number, text in enumerate(TEXTS):
        expected = ["i", "c"] if number in clicked else ["i"]
        assert kinds(text) == ("unknown_field" if number in refused else expected), text


def _times(rows: list[dict[str, Any]]) -> list[datetime]:
    return [row["event_timestamp"] for row in rows]


@pytest.mark.parametrize("value", [True, 1, 1.0, np.int8(1), np.True_, Decimal("1.0")])
def test_values_of_parquet_and_json(value: object) -> None:
    assert kinds(value) == ["i", "c"]


def test_a_time_of_a_click_that_was_none_is_refused_as_ingest_refuses_it() -> None:
    assert kinds(0, clicked_at="2026-01-01T10:00:05Z") == "contradicting_click"
    assert kinds(0, clicked_at="", watch_seconds="") == ["i"]
    assert kinds(None) == "unknown_field"
