"""What an event has to say: the rules of `vidtopics ingest` for rows of a log, for one event.

An event has the field names of the ingest format, and `kind`. A click or a watch is the row of its
impression with what came after: so it names the same `event_id`, user, video and time. Times are
ISO 8601 (UTC where they have no offset), Unix seconds, or datetimes.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from numbers import Integral
from typing import Any, NamedTuple

from vidtopics.contracts import MAX_ID_BYTES
from vidtopics.layout.live import KINDS

FIELDS = (
    "kind",
    "event_id",
    "user_id",
    "video_id",
    "event_timestamp",
    "clicked_at",
    "watch_seconds",
    "position",
    "request_id",
)
FIRST_US = -2_208_988_800_000_000
"""The year 1900, as in `vidtopics ingest`."""
MAX_FLOAT32 = 3.4028234663852886e38
MAX_INT32 = 2**31 - 1
MAX_AHEAD = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNIX = re.compile(r"[+-]?\d{1,11}(\.\d*)?([eE][+-]?\d{1,2})?")
_ISO = re.compile(
    r"\d{4}-\d\d-\d\d([T ]([01]\d|2[0-4]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?"
    r"(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?)?"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
UNITS = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
"""Of times that aren't Unix seconds, and how many there are in one."""
FIRST_LIKELY_S = 31_536_000
"""The year 1971: what would lie before it in a unit isn't taken for that unit."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Event(NamedTuple):
    """A checked event: times in microseconds, `own_us` is the click's; empty texts: not said."""

    kind: str
    event_id: str
    user_id: str
    video_id: str
    shown_us: int
    own_us: int
    watch: str
    position: str
    request_id: str

    def user_fields(self) -> tuple[str | int, ...]:
        """An entry of the user's stream, name by name (:data:`vidtopics.layout.live.FIELDS`)."""
        kind, event, user, video, shown, own, watch, position, request = self
        names = ("k", kind, "e", event, "u", user, "v", video, "t", shown, "a", own)
        return (*names, "w", watch, "p", position, "r", request)

    def video_fields(self) -> tuple[str | int, ...]:
        """An entry of the video's stream."""
        fields = ("k", self.kind, "e", self.event_id, "v", self.video_id)
        return (*fields, "t", self.shown_us, "a", self.own_us)


class RefusedError(ValueError):
    """An event breaks a rule: the documented reason, and what was expected and found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def check(event: object, now_us: int | None = None, max_ahead: timedelta = MAX_AHEAD) -> Event:
    """The event of a mapping from field names to values; RefusedError where it breaks a rule.

    >>> check({"kind": "click", "event_id": "e1", "user_id": "u1", "video_id": "v1",
    ...        "event_timestamp": "2026-01-01T10:00:00Z", "clicked_at": 1767261605.5}).own_us
    1767261605500000
    >>> check({"kind": "view", "event_id": "e1"})
    Traceback (most recent call last):
    ...
    vidtopics.online.event_rules.RefusedError: bad_kind: expected kind impression, click or watch,
    found 'view'
    """
    if not isinstance(event, Mapping):
        raise RefusedError("no_event", f"expected an object, found {type(event).__name__}")
    unknown = [name for name in event if name not in FIELDS]
    if unknown:
        expected = ", ".join(FIELDS)
        raise RefusedError("unknown_field", f"expected {expected}, found {shown(unknown[0])}")
    kind = event.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        expected = "kind impression, click or watch"
        raise RefusedError("bad_kind", f"expected {expected}, found {shown(kind)}")
    names = ("event_id", "user_id", "video_id")
    event_id, user_id, video_id = (_identifier(event, name) for name in names)
    request = _identifier(event, "request_id", optional=True)
    latest_us = (time.time_ns() // 1000 if now_us is None else now_us) + max_ahead // _MICROSECOND
    shown_us = _time(event, "event_timestamp", latest_us)
    position = _position(event)
    own_us, watch = _after(event, kind, shown_us, latest_us)
    ids = (event_id, user_id, video_id)
    return Event(KINDS[kind], *ids, shown_us, own_us, watch, position, request)


def _after(event: Mapping[str, Any], kind: str, shown_us: int, latest_us: int) -> tuple[int, str]:
    """When it happened, and for how long the video was watched."""
    if kind == "impression":
        for name in ("clicked_at", "watch_seconds"):
            if not _is_missing(event.get(name)):
                detail = f"expected no {name} of an impression, found {shown(event[name])}"
                raise RefusedError("contradicting_click", detail)
        return shown_us, ""
    own_us = _time(event, "clicked_at", latest_us, default=shown_us)
    if own_us < shown_us:
        detail = (
            f"expected clicked_at no earlier than event_timestamp, found "
            f"{shown(event['clicked_at'])} before {shown(event['event_timestamp'])}"
        )
        raise RefusedError("click_before_impression", detail)
    return own_us, _watch(event, required=kind == "watch")


def _identifier(event: Mapping[str, Any], name: str, *, optional: bool = False) -> str:
    value = event.get(name)
    if _is_missing(value):
        if optional:
            return ""
        raise RefusedError("empty_id", f"expected {_id_rule(name)}, found none")
    if not isinstance(value, str):
        raise RefusedError("no_text", f"expected {name} as text, found {shown(value)}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise RefusedError("not_utf8", f"expected {name} in UTF-8, found {shown(value)}") from None
    if size > MAX_ID_BYTES:
        raise RefusedError("long_id", f"expected {_id_rule(name)}, found {size} bytes")
    if _CONTROL.search(value):
        raise RefusedError("control_character", f"expected {_id_rule(name)}, found {shown(value)}")
    return value


def _id_rule(name: str) -> str:
    return f"{name} of 1 to {MAX_ID_BYTES} bytes without control characters"


def _time(
    event: Mapping[str, Any], name: str, latest_us: int, *, default: int | None = None
) -> int:
    value = event.get(name)
    if _is_missing(value) and default is not None:
        return default
    us = _microseconds(value)
    if us is None:
        detail = f"expected {name} in ISO 8601 or Unix seconds, found {shown(value)}"
        raise RefusedError("bad_time", detail + _unit_hint(value, latest_us))
    if us < FIRST_US:
        raise RefusedError(
            "early_time", f"expected {name} from the year 1900 on, found {shown(value)}"
        )
    if us > latest_us:
        detail = f"expected {name} before now and online.max_ahead, found {shown(value)}"
        raise RefusedError("future_time", detail + _unit_hint(value, latest_us))
    return us


def _unit_hint(value: object, latest_us: int) -> str:
    """That a number looks like a time in another unit; nothing where it doesn't.

    It is said, never applied: which unit it is only its sender can know.

    >>> _unit_hint("1767261600000", 1_800_000_000_000_000)
    ', which looks like Unix milliseconds: send seconds, the number divided by 1e3'
    >>> _unit_hint(1767261600, 1_800_000_000_000_000), _unit_hint("soon", 0)
    ('', '')
    """
    number = as_number(value) or 0.0
    for unit, per_second in UNITS.items():
        if FIRST_LIKELY_S <= number / per_second <= latest_us / 1e6:
            divisor = f"{per_second:.0e}".replace("+0", "")
            return f", which looks like Unix {unit}: send seconds, the number divided by {divisor}"
    return ""


def _microseconds(value: object) -> int | None:
    """Microseconds since 1970, or None where it is no time."""
    if isinstance(value, str):
        return _microseconds_of_text(value)
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (aware - _EPOCH) // _MICROSECOND
    if isinstance(value, bool):
        return None
    if isinstance(value, Integral):
        return _of_seconds(int(value))
    # Not of numpy's float32, whose neighbours are two minutes apart.
    return _of_seconds(value) if isinstance(value, float) else None


def _microseconds_of_text(text: str) -> int | None:
    if _UNIX.fullmatch(text):
        return _of_seconds(float(text))
    if not _ISO.fullmatch(text):
        return None
    try:
        return _microseconds(datetime.fromisoformat(text))
    except ValueError:  # no such day
        return None


def _of_seconds(seconds: float) -> int | None:
    return round(seconds * 1e6) if abs(seconds) < 1e11 else None


def _position(event: Mapping[str, Any]) -> str:
    value = event.get("position")
    if _is_missing(value):
        return ""
    number = as_number(value)
    if number is None or not 1 <= number <= MAX_INT32 or number != math.floor(number):
        detail = f"expected a whole number position from 1 to {MAX_INT32}, found {shown(value)}"
        raise RefusedError("bad_position", detail)
    return str(int(number))


def _watch(event: Mapping[str, Any], *, required: bool) -> str:
    value = event.get("watch_seconds")
    if _is_missing(value):
        if required:
            raise RefusedError("bad_number", "expected watch_seconds of a watch, found none")
        return ""
    number = as_number(value)
    if number is None or not math.isfinite(number) or abs(number) > MAX_FLOAT32:
        reason = "bad_number" if number is None else "not_finite"
        detail = f"expected finite watch_seconds, found {shown(value)}"
        raise RefusedError(reason, detail)
    if number < 0:
        detail = f"expected watch_seconds of 0 or more, found {shown(value)}"
        raise RefusedError("negative_watch", detail)
    return repr(abs(number))  # -0.0 is 0.0


def as_number(value: object) -> float | None:
    """The number of a value as ingest reads it; None where it is none.

    >>> as_number("0.50"), as_number(True)
    (0.5, None)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        named = value.lower().lstrip("+-")
        return float(value) if _NUMBER.fullmatch(value) or named in _NAMED else None
    try:
        return float(value)  # type: ignore[arg-type]  # also numpy's numbers
    except (TypeError, ValueError, OverflowError):
        return None


_NAMED = ("nan", "inf", "infinity")


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and value == "")


def shown(value: object, most: int = 80) -> str:
    """A value as Python prints it, cut; only its kind where it can't be printed.

    >>> shown({b"a": 1})
    "{b'a': 1}"
    """
    try:
        return ascii(value)[:most]
    except Exception:
        return f"a {type(value).__name__} that can't be printed"
