"""Several processes that train one model: each takes a part of every batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vidtopics.errors import SettingsError, explain


@dataclass(frozen=True)
class Processes:
    """How many there are, and which this one is."""

    count: int = 1
    rank: int = 0

    @staticmethod
    def of_group(batch_size: int) -> Processes:
        """Those of torch.distributed; one where it isn't initialised.

        Raises:
            SettingsError: a batch is too small to have a video for each.
        """
        if not torch.distributed.is_available() or not torch.distributed.is_initialized():
            return Processes()
        count = torch.distributed.get_world_size()
        if batch_size < count:
            raise SettingsError(
                explain(
                    "content.processes",
                    expected=f"at most content.batch_size, {batch_size}",
                    found=str(count),
                    mend="lower content.processes or raise content.batch_size",
                )
            )
        return Processes(count, torch.distributed.get_rank())

    def part(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of a batch.

        >>> [Processes(2, rank).part(np.arange(5)).tolist() for rank in (0, 1)]
        [[0, 2, 4], [1, 3]]
        """
        return rows[self.rank :: self.count]

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over all processes; itself where there is one."""
        if self.count == 1:
            return model
        # BERT's pooler has no part in the loss; statistics of batch normalisation stay as they are.
        return DistributedDataParallel(model, find_unused_parameters=True, broadcast_buffers=False)

    @contextmanager
    def summed_gradients(self, network: nn.Module, *, now: bool) -> Iterator[None]:
        """Around a forward and backward pass: whether the processes' gradients meet in it."""
        if isinstance(network, DistributedDataParallel) and not now:
            with network.no_sync():
                yield
        else:
            yield

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in each of them."""
        if self.count > 1:
            torch.distributed.all_reduce(values)
        return values
