"""Deep & Cross Network v2 (Wang et al., 2021), in parallel with a deep part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from consumers.ranking.models.layers import Fields, Numbers, layers
from consumers.ranking.models.model import Model, Pieces, Sizes, Widths

if TYPE_CHECKING:
    from consumers.ranking.examples import Batch


class Cross(nn.Module):
    """x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, full matrices (Eq. 1 there), `(B, D) -> (B, D)`.

    >>> cross = Cross(2, 1)
    >>> _ = nn.init.eye_(cross.steps[0].weight), nn.init.zeros_(cross.steps[0].bias)
    >>> cross(torch.tensor([[2.0, 3.0]])).tolist()  # 2 * 2 + 2, 3 * 3 + 3
    [[6.0, 12.0]]
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, first: Tensor) -> Tensor:
        """`(B, D)`."""
        state = first
        for step in self.steps:
            state = first * step(state) + state
        return state


class DCN(Model):
    """log-odds = w . [cross(x_0), deep(x_0)], x_0 = [fields, numbers].

    Shapes: x_0 `(B, D)`, deep `(B, last hidden)`, out `(B,)`.

    Example:
        >>> sizes = Sizes(3, 5, 2, 2, numbers=4, topic_numbers=(), cover=128)
        >>> model = DCN(sizes, Pieces(), Widths(embedding=2, hidden=(8,), crosses=3))
        >>> len(model.cross.steps), model.out.in_features  # 4 * 2 + 4 of the cross, 8 of the deep
        (3, 20)
    """

    def __init__(self, sizes: Sizes, pieces: Pieces, widths: Widths) -> None:
        super().__init__(sizes, pieces, widths)
        self.numbers = Numbers(sizes, pieces)
        self.fields = Fields(sizes, pieces, widths)
        width = self.fields.width + self.numbers.width
        self.cross = Cross(width, widths.crosses)
        self.deep = layers([width, *widths.hidden])
        self.out = nn.Linear(width + widths.hidden[-1], 1)

    def forward(self, batch: Batch) -> Tensor:
        """Log-odds, `(B,)`."""
        first = torch.cat([self.fields(batch), self.numbers(batch)], 1)
        both = torch.cat([self.cross(first), torch.relu(self.deep(first))], 1)
        odds: Tensor = self.out(both)
        return odds[:, 0]
