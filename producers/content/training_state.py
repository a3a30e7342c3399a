"""What fine-tuning is after some iterations: all that a resumed run needs to end the same.

Its random draws need no state: each iteration seeds them from the run's seed, its own number and
the process's rank (:func:`fine_tuning.fine_tune`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

MODEL, BEST, OPTIMIZER = "model.", "best.", "optimizer."


@dataclass(frozen=True, eq=False)
class TrainingState:
    """After `step` iterations.

    * `tensors`: of the model, of the best model so far where one is kept, and of Adam. They are the
      live ones: write them before training goes on.
    * `losses`: float32 `(step, N)`, Eq. 2 per task and iteration.
    * `checks`: validation loss by iteration.
    """

    step: int
    tensors: Mapping[str, Tensor]
    losses: NDArray[np.float32]
    checks: Mapping[int, float]


@dataclass(frozen=True)
class Checkpoint:
    """How fine-tuning hands out its state, and what it goes on from.

    * `every`: iterations between two states.
    * `save`: called with each, in the first process alone.
    * `last`: the state to go on from; None: from the start.
    """

    every: int
    save: Callable[[TrainingState], None]
    last: TrainingState | None = None


def pack_tensors(
    model: nn.Module, best: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """All three under one set of names."""
    adam = {
        f"{OPTIMIZER}{i}.{name}": x
        for i, of_parameter in optimizer.state_dict()["state"].items()
        for name, x in of_parameter.items()
    }
    states = ((MODEL, model.state_dict()), (BEST, best))
    return {f"{prefix}{name}": x for prefix, state in states for name, x in state.items()} | adam


def unpack_tensors(
    tensors: Mapping[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Puts the tensors back into model and optimizer; returns the best model's.

    >>> layer, other = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> adam = torch.optim.Adam(layer.parameters())
    >>> layer(torch.ones(1, 2)).sum().backward()
    >>> adam.step()
    >>> state = pack_tensors(layer, {}, adam)
    >>> unpack_tensors(state, other, torch.optim.Adam(other.parameters()))
    {}
    >>> torch.equal(layer.weight, other.weight)
    True
    """
    model.load_state_dict(_of(MODEL, tensors))
    state: dict[int, dict[str, Tensor]] = {}
    for name, x in _of(OPTIMIZER, tensors).items():
        i, _, key = name.partition(".")
        state.setdefault(int(i), {})[key] = x
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return _of(BEST, tensors)


def _of(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): x for k, x in tensors.items() if k.startswith(prefix)}
