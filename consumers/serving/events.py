"""`POST /events`: what users did, into the streams of the live release (docs/realtime.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from consumers.serving import arrow_events
from consumers.serving.reading import ARROW
from consumers.serving.service import Service
from vidtopics.errors import InputError, explain
from vidtopics.online.events import Sent

JSON, LINES = "application/json", "application/x-ndjson"
MAX_DETAIL = 200
"""Characters of what a parser says of a body."""


async def send(service: Service, media_type: str, body: bytes) -> Sent:
    """Send the events of a body; it ends when Redis has them, so that the caller may forget them.

    Raises:
        InputError: the body isn't what its media type says, or has more than `serving.max_events`.
        NotAcknowledgedError: Redis didn't take all of them within the deadline.
        DeadlineError: the same, and Redis doesn't answer.
        OpenError: it didn't answer the requests before, so it isn't asked.
    """
    deadline, most = service.deadline(), service.settings.max_events

    def check(count: int) -> None:
        service.check_limit("body, events", count, most, "max_events")

    def read_and_send() -> Sent:
        return service.events.send(events_of(media_type, body, check), until=deadline.at)

    return await service.bounded(deadline, service.sending, service.send_breaker, read_and_send)


def events_of(media_type: str, body: bytes, check: Callable[[int], None]) -> list[Any]:
    r"""The events of a body: one JSON object or a list of them, JSON lines, or rows of Arrow.

    What isn't an event is given as it is: the client refuses it with its number and the reason.

    Args:
        media_type: as the header has it.
        body: as it was sent.
        check: takes the number of events, and raises if that is too many.

    Raises:
        InputError: the body isn't what its media type says, or that is another.

    >>> events_of("application/x-ndjson", b'{"kind": "click"}\n\n{"kind":\n', lambda count: None)
    [{'kind': 'click'}, '{"kind":']
    >>> events_of("application/json; charset=utf-8", b'{"kind": "click"}', lambda count: None)
    [{'kind': 'click'}]
    """
    kind = media_type.partition(";")[0].strip().lower()
    readers = {JSON: _of_json, LINES: _of_lines, ARROW: arrow_events.rows_of}
    if kind not in readers:
        raise InputError(
            explain(
                "the header Content-Type",
                expected=" or ".join(readers),
                found=ascii(kind) if kind else "none",
                mend="send events as one of them",
            )
        )
    try:
        return readers[kind](body, check)
    except arrow_events.BROKEN as error:
        raise InputError(
            explain(
                "body",
                expected=f"events as {kind}",
                found=str(error)[:MAX_DETAIL] or type(error).__name__,
                mend="correct it; what was sent before counts once if it is sent again",
            )
        ) from error


def _of_json(body: bytes, check: Callable[[int], None]) -> list[Any]:
    tree = json.loads(body)
    events = tree if isinstance(tree, list) else [tree]
    check(len(events))
    return events


def _of_lines(body: bytes, check: Callable[[int], None]) -> list[Any]:
    lines = [line for line in body.decode().split("\n") if line.strip()]  # U+2028 is text
    check(len(lines))
    return [_of_line(line) for line in lines]


def _of_line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return line
