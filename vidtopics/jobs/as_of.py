"""`--as-of`: from text to microseconds, refused where it is no time or not over yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vidtopics.errors import SettingsError, explain
from vidtopics.times import aware, micros


def parse_past_time(text: str, delay: timedelta, now: datetime | None = None) -> int:
    """Microseconds of `--as-of`, whose rows are known `delay` later.

    Raises:
        SettingsError: `text` is no ISO 8601 time, or time and delay are not over yet.
    """
    as_of_us, now = parse_time(text), now or datetime.now(UTC)
    if as_of_us > micros(now):
        raise SettingsError(
            explain(
                "--as-of",
                expected=f"a time before now, {now.isoformat(timespec='seconds')}",
                found=repr(text),
                mend="choose an earlier time, or leave --as-of out for a run as of now",
            )
        )
    if as_of_us + delay // timedelta(microseconds=1) > micros(now):
        raise SettingsError(
            explain(
                "--as-of",
                expected=f"a time at least schedule.delay ({delay}) before now, "
                f"{now.isoformat(timespec='seconds')}, as a backfill's rows are known that later",
                found=repr(text),
                mend="choose an earlier time, or leave --as-of out for a run as of now",
            )
        )
    return as_of_us


def parse_time(text: str) -> int:
    """Microseconds of an ISO 8601 time; UTC where it has no offset.

    Raises:
        SettingsError: it is none, or lies outside the years 1 to 9999 in UTC.

    >>> parse_time("1970-01-01T00:00:01") == parse_time("1970-01-01T01:00:01+01:00") == 1_000_000
    True
    """
    try:
        return micros(aware(datetime.fromisoformat(text)).astimezone(UTC))
    except (ValueError, OverflowError):
        raise SettingsError(
            explain(
                "--as-of",
                expected="an ISO 8601 time of the years 1 to 9999",
                found=repr(text),
                mend="write 2026-11-23T16:45:00Z",
            )
        ) from None
