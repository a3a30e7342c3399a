"""Multi-gate mixture of experts over the joint representation (Eq. 1) and its loss (Eq. 2).

Ma et al., *Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts*,
KDD 2018.

Shapes: B videos, D width of z, H experts, E width of an expert, N tasks, M^k classes of task k.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize


class MMoE(nn.Module):
    """h^k(sum_i g^k(z)_i f_i(z)) for each task k, before the softmax that makes it p^k.

    An expert f_i is Linear + ReLU, a gate g^k Linear + softmax, a tower h^k Linear + ReLU + Linear.

    Args:
        width: D.
        classes: M^k of each task.
        experts: H.
        expert_width: E.
        tower_width: width between a tower's two layers.

    >>> mmoe = MMoE(width=6, classes=(2, 5), experts=3, expert_width=4, tower_width=4)
    >>> [tuple(logits.shape) for logits in mmoe(torch.zeros(7, 6))]
    [(7, 2), (7, 5)]
    """

    def __init__(
        self,
        *,
        width: int,
        classes: Sequence[int],
        experts: int,
        expert_width: int,
        tower_width: int,
    ) -> None:
        super().__init__()
        # All f_i as one matrix product, H times faster than a loop; row i * E + e is output e of
        # expert i.
        self.experts = nn.Linear(width, experts * expert_width)
        self.gates = nn.ModuleList(nn.Linear(width, experts) for _ in classes)
        with warnings.catch_warnings():  # a task may have no class
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            self.towers = nn.ModuleList(
                nn.Sequential(
                    nn.Linear(expert_width, tower_width), nn.ReLU(), nn.Linear(tower_width, m)
                )
                for m in classes
            )
        self.expert_width = expert_width

    def forward(self, z: Tensor) -> list[Tensor]:
        """`(B, D)` -> per task the logits `(B, M^k)` of p^k."""
        experts = self.expert_outputs(z)  # (B, H, E)
        gates = self.gate_weights(z)  # (N, B, H)
        mixed = torch.einsum("nbh,bhe->nbe", gates, experts)  # f^k(z)
        return [tower(f) for tower, f in zip(self.towers, mixed, strict=True)]

    def expert_outputs(self, z: Tensor) -> Tensor:
        """f_i(z): `(B, D)` -> `(B, H, E)`."""
        outputs = self.experts(z).relu()
        return outputs.unflatten(1, (-1, self.expert_width))  # type: ignore[no-any-return]

    def gate_weights(self, z: Tensor) -> Tensor:
        """g^k(z)_i, positive and of sum 1 over i: `(B, D)` -> `(N, B, H)`."""
        return torch.stack([gate(z) for gate in self.gates]).softmax(-1)


def cross_entropy(
    logits: Sequence[Tensor], targets: Sequence[Tensor], *, normalize_targets: bool
) -> Tensor:
    """Eq. 2 per task, averaged over the batch; the loss L is the sum of the result.

    Args:
        logits: per task `(B, M^k)`, before the softmax.
        targets: per task `(B, M^k)`, the binary vectors y^k.
        normalize_targets: divide each y^k by its sum, so that many tags count as much as a
            single tag; False: Eq. 2 as printed. A video without a label adds 0 to that task.

    Returns:
        `(N,)`: - mean_b sum_j y_bj^k log p_bj^k.

    >>> even = torch.zeros(1, 4)                       # p = 1/4 for each of four classes
    >>> y = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    >>> [round(cross_entropy([even], [y], normalize_targets=n).item(), 3) for n in (True, False)]
    [1.386, 2.773]
    """
    losses = []
    for x, y in zip(logits, targets, strict=True):
        target = normalize(y, p=1.0, dim=1) if normalize_targets else y
        losses.append(-(target * log_softmax(x, dim=1)).sum(1).mean())
    return torch.stack(losses)
