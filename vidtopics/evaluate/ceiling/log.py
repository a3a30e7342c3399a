"""A simulated world's log in order of user and time, and sums over a user's earlier rows of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidtopics.simulation.jit import kernel
from vidtopics.simulation.loop import Batch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Log:
    """N impressions in order of user and time; `day` is that on which the session began."""

    user: Ints
    video: Ints
    position: Ints
    day: Ints
    shown_at: Ints
    clicked: NDArray[np.bool_]
    clicked_at: Ints


def read_log(batches: Iterable[Batch]) -> Log:
    """The log of what :func:`vidtopics.simulation.loop.simulate` gives."""
    parts: list[tuple[NDArray[np.generic], ...]] = []
    for batch in batches:
        did, k = batch.responses, batch.slates.shape[1]
        parts.append(
            (
                np.repeat(batch.users, k),
                batch.slates.ravel().astype(np.int64),
                np.tile(np.arange(k), len(batch.users)),
                np.full(batch.slates.size, batch.day),
                did.shown_at.ravel(),
                did.clicked.ravel() == 1,
                did.clicked_at.ravel(),
            )
        )
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.lexsort((columns[4], columns[0]))
    return Log(*(column[order] for column in columns))


@kernel
def _running_sums(keys: Ints, values: Floats, out: Floats) -> None:
    for i in range(1, len(keys)):
        if keys[i] == keys[i - 1]:
            out[i] = out[i - 1] + values[i - 1]


def earlier(keys: Ints, values: Floats) -> Floats:
    """Sums of `values` [N, F] over the rows before each with its key; rows are in order of time.

    >>> earlier(np.array([3, 5, 3, 3]), np.array([[1.0], [2.0], [4.0], [8.0]])).ravel().tolist()
    [0.0, 0.0, 1.0, 5.0]
    """
    # Added up key by key: differences of one long sum would carry other keys' rounding.
    order = np.argsort(keys, kind="stable")
    sums, out = np.zeros(values.shape), np.empty(values.shape)
    _running_sums(keys[order], values[order], sums)
    out[order] = sums
    return out


@kernel
def _kernel_sums(user: Ints, code: Ints, values: Floats, weights: Floats, out: Floats) -> None:
    state = np.zeros((weights.shape[0], values.shape[1]))
    met, n = np.empty(weights.shape[0], dtype=np.int64), 0
    is_met = np.zeros(weights.shape[0], dtype=np.bool_)
    for i in range(len(user)):
        if i and user[i] != user[i - 1]:
            for j in range(n):
                state[met[j]] = 0.0
                is_met[met[j]] = False
            n = 0
        for j in range(n):
            for f in range(values.shape[1]):
                out[i, f] += weights[code[i], met[j]] * state[met[j], f]
        if not is_met[code[i]]:
            is_met[code[i]], met[n] = True, code[i]
            n += 1
        for f in range(values.shape[1]):
            state[code[i], f] += values[i, f]


def kernel_sums(user: Ints, code: Ints, values: Floats, weights: Floats) -> Floats:
    """Sums of weights[code, earlier code] times `values` [N, F] over the user's earlier rows.

    Rows are in order of user and time; `weights` [C, C].

    >>> values, near = np.array([[1.0], [2.0], [4.0]]), np.array([[1.0, 0.5], [0.5, 1.0]])
    >>> kernel_sums(np.array([7, 7, 8]), np.array([0, 1, 1]), values, near).ravel().tolist()
    [0.0, 0.5, 0.0]
    """
    out = np.zeros(values.shape)
    _kernel_sums(user, code, values, weights, out)
    return out
