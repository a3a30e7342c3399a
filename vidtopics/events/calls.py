"""Calls of scripts, some in a message."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from vidtopics.online.connections import Connection

TOGETHER = 4
"""Calls in a message: Redis answers all of one before it turns to other clients."""
Call = tuple[str, Sequence[Any]]
"""A script, and what follows its name in EVAL: the number of keys, keys, arguments."""


def call_each(connection: Connection, calls: Sequence[Call]) -> list[Any]:
    """The answer to each call; an error among them is returned, not raised.

    Raises:
        redis.exceptions.RedisError: a server can't be reached.
    """
    answers: list[Any] = []
    for start in range(0, len(calls), TOGETHER):
        with connection.pipeline(transaction=False) as pipe:
            for script, arguments in calls[start : start + TOGETHER]:
                pipe.execute_command("EVALSHA", _digest(script), *arguments)
            answers += pipe.execute(raise_on_error=False)
    return [
        # A server that was started since doesn't know the script.
        _eval(connection, call) if isinstance(answer, NoScriptError) else answer
        for call, answer in zip(calls, answers, strict=True)
    ]


def _eval(connection: Any, call: Call) -> Any:
    try:
        return connection.execute_command("EVAL", call[0], *call[1])
    except ResponseError as error:
        return error


@cache
def _digest(script: str) -> str:
    """How Redis names a script."""
    return sha1(script.encode(), usedforsecurity=False).hexdigest()
