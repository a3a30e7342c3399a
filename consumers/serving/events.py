"""`POST /events`: what users did, into the streams of the live release (docs/realtime.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from consumers.serving import arrow_events
from consumers.serving.media_types import ARROW, JSON, LINES, media_type_of
from consumers.serving.service import Service
from vidtopics.errors import InputError, explain
from vidtopics.online.events import Refusal, Sent

MAX_DETAIL = 200
"""Characters of what a parser says of a body."""


async def send(service: Service, media_type: str, body: bytes) -> Sent:
    """Send the events of a body; it ends when Redis has them, so that the caller may forget them.

    Raises:
        MediaTypeError: the header names no media type of events.
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
        MediaTypeError: the header names another media type, or none.
        InputError: the body isn't what its media type says.

    >>> events_of("application/x-ndjson", b'{"kind": "click"}\n\n{"kind":\n', lambda count: None)
    [{'kind': 'click'}, '{"kind":']
    >>> events_of("application/json; charset=utf-8", b'{"kind": "click"}', lambda count: None)
    [{'kind': 'click'}]
    """
    readers = {JSON: _of_json, LINES: _of_lines, ARROW: arrow_events.rows_of}
    kind = media_type_of(media_type, readers)
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


def none_taken(refused: Sequence[Refusal]) -> str:
    """In words, that no event of a body was taken; the first refusal stands for all.

    >>> none_taken([Refusal(0, "bad_kind", "expected kind impression, found 'view'")])
    "body, events: expected one at least that keeps the rules, found 1 of 1 refused; number 0:
    bad_kind, expected kind impression, found 'view'. Mend: correct them as `refused` says, and
    send them again."
    """
    first, count = refused[0], len(refused)
    return explain(
        "body, events",
        expected="one at least that keeps the rules",
        found=f"{count} of {count} refused; number {first.number}: {first.reason}, {first.detail}",
        mend="correct them as `refused` says, and send them again",
    )


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
