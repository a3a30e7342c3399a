"""Errors as the answers and the log have them."""

from __future__ import annotations

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
