"""Calls of libraries that print."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def quietly(call: Callable[[], Result]) -> Result:
    """What the call gives; what it prints is dropped.

    >>> quietly(lambda: print("moving ...") or 3)
    3
    """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return call()
