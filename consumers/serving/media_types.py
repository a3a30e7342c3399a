"""The header Content-Type: which bodies a route takes."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import Request

from vidtopics.errors import InputError, explain

JSON, LINES = "application/json", "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"


class MediaTypeError(InputError):
    """The header Content-Type is missing, or names what the route doesn't take."""


def media_type_of(header: str, expected: Collection[str]) -> str:
    """The media type that a header names, in lower case and without parameters.

    Args:
        header: the value of Content-Type; empty: the request has none.
        expected: media types that the route takes.

    Raises:
        MediaTypeError: it is none of them.

    >>> media_type_of("Application/JSON; charset=utf-8", [JSON])
    'application/json'
    >>> media_type_of("", [JSON])
    Traceback (most recent call last):
    ...
    consumers.serving.media_types.MediaTypeError: the header Content-Type: expected
    application/json, found none. Mend: send it with the body (curl -H 'Content-Type:
    application/json').
    """
    media_type = header.partition(";")[0].strip().lower()
    if media_type in expected:
        return media_type
    raise MediaTypeError(
        explain(
            "the header Content-Type",
            expected=" or ".join(expected),
            found=ascii(media_type) if media_type else "none",
            mend=f"send it with the body (curl -H 'Content-Type: {next(iter(expected))}')",
        )
    )


async def require_json(request: Request) -> None:
    """Of a route whose body is JSON: MediaTypeError where the header says otherwise."""
    media_type_of(request.headers.get("content-type", ""), [JSON])
