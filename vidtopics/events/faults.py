"""Entries that no script can apply: each is set aside, and the others of its stream go on.

A script fails where the live value that an entry changes is damaged (what is wrong with an entry
itself is an outcome, `malformed`). Without this the entry's bucket would stand still for ever. An
entry that is set aside lands in the log like any other, and counts from the next release on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.exceptions import ResponseError

OUTCOME = "failed"
"""How the counts by outcome name an entry that was set aside."""

# KEYS: the stream, `at` of the generation. ARGV: as-of time, and the cursor at which the entry
# after it failed; where somebody has moved it since nothing is done. Returns the entry's number.
SET_ASIDE = f"""
local at = redis.call('HMGET', KEYS[2], 'as_of', 'cursor')
if at[1] ~= ARGV[1] or (at[2] or '') ~= ARGV[2] then return '' end
local first = at[2] and '(' .. at[2] or '-'
local entries = redis.call('XRANGE', KEYS[1], first, '+', 'COUNT', 1)
if #entries == 0 then return '' end
redis.call('HSET', KEYS[2], 'cursor', entries[1][1])
redis.call('HINCRBY', KEYS[2], 'entries', 1)
redis.call('HINCRBY', KEYS[2], '{OUTCOME}', 1)
return entries[1][1]
"""


def is_fault(answer: object) -> bool:
    """Whether a script failed by what it was given, and not by the state of its server.

    >>> is_fault(ResponseError("user_script:12: bad argument #2 to 'unpack' (data too short)"))
    True
    >>> is_fault(ResponseError("MISCONF Errors writing to the AOF file, on @user_script:30"))
    False
    """
    if type(answer) is not ResponseError or "user_script" not in str(answer):
        return False
    code = str(answer).partition(" ")[0]
    return code == "WRONGTYPE" or not code.isupper()


def apply_around(
    run: Callable[[int], int], set_aside: Callable[[ResponseError], int], most: int
) -> int:
    """Apply about `most` entries, by calls of fewer and fewer until the one that fails is alone.

    Args:
        run: applies that many entries at most; how many it took, or a fault.
        set_aside: passes the one entry that failed; 1, or 0 where somebody else did.
        most: entries.

    >>> stream = ["a", "b", "pill", "c"]
    >>> def run(entries):
    ...     if "pill" in stream[:entries]:
    ...         raise ResponseError("user_script:1: pill")
    ...     taken = stream[:entries]
    ...     del stream[:entries]
    ...     return len(taken)
    >>> apply_around(run, lambda fault: bool(stream.pop(0)), 8)
    4
    """
    taken, entries = 0, most
    while taken < most:
        try:
            count = run(entries)
        except ResponseError as error:
            if not is_fault(error):
                raise
            if entries == 1:
                taken, entries = taken + set_aside(error), most
            else:
                entries //= 2
            continue
        taken += count
        if count < entries:
            break
    return taken


def passed(answer: Any) -> str:
    """The entry that :data:`SET_ASIDE` passed; empty: none."""
    if isinstance(answer, Exception):
        raise answer
    return bytes(answer).decode()
