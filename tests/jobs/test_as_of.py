"""`--as-of`: which times are refused, and that nothing has started by then."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vidtopics.cli import common
from vidtopics.errors import SettingsError
from vidtopics.jobs import session
from vidtopics.jobs.as_of import parse_past_time
from vidtopics.times import micros

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FUTURE = "--as-of: expected a time before now, 2026-03-01T12:00:00+00:00, found"
TOO_NEAR = "--as-of: expected a time at least schedule.delay (1:00:00) before now"
NO_TIME = "--as-of: expected an ISO 8601 time of the years 1 to 9999, found"

REFUSED = {
    "next century": ("2099-01-01", FUTURE),
    "a second from now": ("2026-03-01T12:00:01Z", FUTURE),
    "later in another zone": ("2026-03-01T07:00:01-05:00", FUTURE),
    "the last year": ("9999-12-31", FUTURE),
    "now": ("2026-03-01T12:00:00Z", TOO_NEAR),
    "within the delay": ("2026-03-01T11:00:01Z", TOO_NEAR),
    "no text": ("", NO_TIME),
    "a blank": (" ", NO_TIME),
    "a word": ("yesterday", NO_TIME),
    "Unix seconds": ("1767225600", NO_TIME),
    "no such day": ("2026-02-29", NO_TIME),
    "year 0": ("0000-12-31", NO_TIME),
    "before year 1 by its zone": ("0001-01-01T00:00:00+14:00", NO_TIME),
    "after year 9999 by its zone": ("9999-12-31T23:59:59-14:00", NO_TIME),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_time_that_no_backfill_can_have_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)) as error:
        parse_past_time(text, HOUR, NOW)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    ("text", "time"),
    {
        "just outside the delay": ("2026-03-01T11:00:00Z", datetime(2026, 3, 1, 11, tzinfo=UTC)),
        "a day": ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
        "no zone is UTC": ("2026-02-28T05:06:07", datetime(2026, 2, 28, 5, 6, 7, tzinfo=UTC)),
        "another zone": ("2026-02-28T05:30:00+05:30", datetime(2026, 2, 28, tzinfo=UTC)),
        "year 1": ("0001-01-01", datetime(1, 1, 1, tzinfo=UTC)),
    }.values(),
)
def test_a_past_time_is_exact(text: str, time: datetime) -> None:
    assert parse_past_time(text, HOUR, NOW) == micros(time)


def test_without_a_delay_any_time_up_to_now_is_past() -> None:
    assert parse_past_time(NOW.isoformat(), timedelta(0), NOW) == micros(NOW)


@pytest.mark.parametrize("text", ["2099-01-01", "", "soon"])
def test_the_command_ends_before_spark_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    monkeypatch.setattr(session, "session", lambda *_, **__: pytest.fail("Spark was started"))
    (tmp_path / "tables").mkdir()
    assert common.run(["run", "--home", str(tmp_path), "--as-of", text]) == common.FAILED
    assert capsys.readouterr().err.startswith("Error --as-of: expected ")
    assert [path.name for path in tmp_path.rglob("*")] == ["tables"]
