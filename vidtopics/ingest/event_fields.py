"""What a source of events calls its fields, for those whose topics and files have other names.

A YAML file says it::

    fields: {event_id: id, user_id: user.id, video_id: item, event_timestamp: shown_ms}
    kind: type
    kinds: {view: impression, tap: click, scroll: null}
    time_unit: ms
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from vidtopics.errors import SettingsError, explain
from vidtopics.ingest.field_maps import FieldMap, Text, read_map
from vidtopics.online.event_rules import as_number

TIMES = ("event_timestamp", "clicked_at")
AFTER = ("clicked_at", "watch_seconds")
"""Of clicks and watches: their fields may be those of every message, as its time is."""
Name = Literal[
    "event_id",
    "user_id",
    "video_id",
    "event_timestamp",
    "clicked",
    "clicked_at",
    "watch_seconds",
    "position",
    "request_id",
]
"""Fields of an event, and `clicked` of a row of the ingest format."""
Kind = Literal["impression", "click", "watch"]
Message = Mapping[str, Any]


class EventFields(FieldMap):
    """How an event is made of a message with other names; what isn't named is left out.

    Without a `kind`, a message is a row of the ingest format: its impression, and its click.

    >>> fields = EventFields(fields={"user_id": "user.id"}, kind="type", kinds={"view": "click"})
    >>> fields.event({"type": "view", "user": {"id": "u1"}, "ip": "10.0.0.1"})
    {'user_id': 'u1', 'kind': 'click'}
    """

    fields: dict[Name, Text]
    """Ours to theirs; a dot goes into an object."""
    kind: Text | None = None
    """Their field that says what happened."""
    kinds: Annotated[dict[Text, Kind | None], Field(default_factory=dict)]
    """Their kinds to ours; null: such messages are left out. Others are refused."""
    every: Kind | None = None
    """The kind of all messages, where no field says it."""

    def event(self, message: object) -> object | None:
        """The event of a message; None where its kind is left out; as it is where it's no object.

        A number of a `time_unit` becomes Unix seconds.
        """
        if not isinstance(message, Mapping):
            return message
        event: dict[str, Any] = {name: _value(message, p) for name, p in self.fields.items()}
        for name in TIMES:
            if name in event and self.time_unit != "s":
                event[name] = _seconds(event[name], self.parts_of_a_second)
        if self.every is not None:
            return _of_kind(event, self.every)
        if self.kind is None:
            return event
        theirs = _value(message, self.kind)
        if not isinstance(theirs, str) or theirs not in self.kinds:
            return {**event, "kind": theirs}
        ours = self.kinds[theirs]
        return None if ours is None else _of_kind(event, ours)


def _of_kind(event: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """The event; an impression without what came after it."""
    left_out = AFTER if kind == "impression" else ()
    return {name: value for name, value in event.items() if name not in left_out} | {"kind": kind}


def _value(message: Message, path: str) -> Any:
    """The value of a field: of the whole name where there is one, else of an object's field."""
    if path in message:
        return message[path]
    first, _, rest = path.partition(".")
    inner = message.get(first)
    return _value(inner, rest) if rest and isinstance(inner, Mapping) else None


def _seconds(value: Any, parts: int) -> Any:
    """Unix seconds of a number; anything else as it is.

    >>> _seconds(1767261605500, 1_000), _seconds("2026-01-01T10:00:00Z", 1_000)
    (1767261605.5, '2026-01-01T10:00:00Z')
    """
    number = as_number(value) if isinstance(value, int | float | str) else None
    return value if number is None else number / parts


def read_fields(path: Path) -> EventFields:
    """The fields that a YAML file names.

    Raises:
        SettingsError: the file can't be read, or a key or value is wrong.
    """
    fields = read_map(path, EventFields, "docs/realtime.md")
    if (fields.kind is None) != (not fields.kinds) or (fields.kind and fields.every):
        raise SettingsError(
            explain(
                str(path),
                expected="`kind` with `kinds`, or `every`, or none of them",
                found=f"kind {fields.kind}, kinds {fields.kinds}, every {fields.every}",
                mend="name their field and what each of its values means, or the kind of all",
            )
        )
    return fields
