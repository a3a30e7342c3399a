"""Numba's compiler as typed decorators, all results cached on disk.

Numba notices a change in a kernel's own file only, so a kernel and the constants that it uses live
in one file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit, prange

__all__ = ["kernel", "parallel_kernel", "prange"]

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """`function` compiled for one thread."""
    return cast("Callable[P, R]", njit(cache=True)(function))


def parallel_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """`function` compiled with its `prange` loops spread over numba's threads."""
    return cast("Callable[P, R]", njit(cache=True, parallel=True)(function))
