"""Times as the tables hold them: microseconds since 1970, UTC, exact."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(time: datetime) -> int:
    """Microseconds since 1970 of an aware datetime, exact.

    >>> micros(datetime(2026, 1, 1, tzinfo=UTC))
    1767225600000000
    """
    since = time - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def aware(time: datetime) -> datetime:
    """The time itself, or as UTC where it has no zone.

    >>> aware(datetime(2026, 1, 1)) == datetime(2026, 1, 1, tzinfo=UTC)
    True
    """
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def moment(us: int) -> str:
    """Microseconds since 1970 as ISO 8601.

    >>> moment(1767225600000000)
    '2026-01-01T00:00:00+00:00'
    """
    return (EPOCH + timedelta(microseconds=us)).isoformat()
