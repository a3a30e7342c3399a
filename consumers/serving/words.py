"""Errors as the answers and the log have them."""

from __future__ import annotations

import traceback
from pathlib import Path

from redis.exceptions import RedisError

from vidtopics.errors import VidtopicsError, explain
from vidtopics.faults import fault_message


def in_words(error: Exception) -> str:
    """What a person is told: the message of an error of ours, or what is wrong with Redis.

    >>> in_words(RedisError("no answer"))
    'Redis: expected a server that answers, found no answer. Mend: see that it runs and can be
    reached.'
    """
    if isinstance(error, VidtopicsError):
        return str(error)
    if isinstance(error, RedisError):
        return explain(
            "Redis",
            expected="a server that answers",
            found=str(error) or type(error).__name__,
            mend="see that it runs and can be reached",
        )
    return fault_message(error) or f"{type(error).__name__}: {error}"


def place_of(error: Exception) -> str:
    """An error's type and line: its text could have ids in it.

    >>> try:
    ...     {}["u1"]
    ... except KeyError as error:
    ...     print(place_of(error).partition(" of ")[0])
    KeyError at line 2
    """
    return f"{type(error).__name__} at {places_of(error)[-1]}"


def places_of(error: Exception) -> list[str]:
    """A traceback without the error's text and the lines themselves, the outermost call first."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"line {frame.lineno} of {Path(frame.filename).name}" for frame in frames]
