"""`POST /events`: what users did, into the streams of the live release (docs/realtime.md)."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pyarrow as pa

from consumers.serving.reading import ARROW
from consumers.serving.service import Service, within
from vidtopics.errors import InputError, explain
from vidtopics.online.events import Sent

JSON, LINES = "application/json", "application/x-ndjson"


async def send(service: Service, media_type: str, body: bytes) -> Sent:
    """Send the events of a body; it ends when Redis has them, so that the caller may forget them.

    Raises:
        InputError: the body isn't what its media type says.
        NotAcknowledgedError: Redis didn't take all of them within the deadline.
        DeadlineError: the same, and Redis doesn't answer.
    """
    events = events_of(media_type, body)
    deadline = service.deadline()
    try:
        return await within(deadline.left(), service.reading, partial(service.events.send, events))
    except TimeoutError:
        raise deadline.late() from None


def events_of(media_type: str, body: bytes) -> list[Any]:
    r"""The events of a body: one JSON object or a list of them, JSON lines, or rows of Arrow.

    What isn't an event is given as it is: the client refuses it with its number and the reason.

    Raises:
        InputError: the body isn't what its media type says, or that is another.

    >>> events_of("application/x-ndjson", b'{"kind": "click"}\n\n{"kind":\n')
    [{'kind': 'click'}, '{"kind":']
    >>> events_of("application/json; charset=utf-8", b'{"kind": "click"}')
    [{'kind': 'click'}]
    """
    kind = media_type.partition(";")[0].strip().lower()
    readers = {JSON: _of_json, LINES: _of_lines, ARROW: _of_arrow}
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
        return readers[kind](body)
    except (ValueError, RecursionError, OSError, pa.ArrowException) as error:
        raise InputError(
            explain(
                "body",
                expected=f"events as {kind}",
                found=str(error) or type(error).__name__,
                mend="correct it; what was sent before counts once if it is sent again",
            )
        ) from error


def _of_json(body: bytes) -> list[Any]:
    tree = json.loads(body)
    return tree if isinstance(tree, list) else [tree]


def _of_lines(body: bytes) -> list[Any]:
    return [_of_line(line) for line in body.decode().splitlines() if line.strip()]


def _of_line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return line


def _of_arrow(body: bytes) -> list[Any]:
    with pa.ipc.open_stream(body) as stream:
        rows: list[Any] = stream.read_all().to_pylist()
    return rows
