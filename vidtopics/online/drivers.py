"""Run a generator that exchanges messages with a server: by calls, or by awaiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

Message = TypeVar("Message")
Answer = TypeVar("Answer")
Result = TypeVar("Result")
Exchange = Generator[Message, Answer, Result]
"""Yields messages, is sent the answer to each, returns the result."""


def drive(
    exchange: Generator[Message, Any, Result], transport: Callable[[Message], object]
) -> Result:
    """The result of `exchange`; `transport` answers its messages, its errors are thrown there.

    >>> def double_sum():
    ...     return 2 * ((yield "first") + (yield "second"))
    >>> drive(double_sum(), {"first": 1, "second": 2}.get)
    6
    """
    try:
        message = next(exchange)
        while True:
            try:
                answer = transport(message)
            except BaseException as error:
                message = exchange.throw(error)
            else:
                message = exchange.send(answer)
    except StopIteration as end:
        result: Result = end.value
        return result


async def drive_async(
    exchange: Generator[Message, Any, Result], transport: Callable[[Message], Awaitable[object]]
) -> Result:
    """As :func:`drive`; `transport` is awaited."""
    try:
        message = next(exchange)
        while True:
            try:
                answer = await transport(message)
            except BaseException as error:  # a cancellation too
                message = exchange.throw(error)
            else:
                message = exchange.send(answer)
    except StopIteration as end:
        result: Result = end.value
        return result
