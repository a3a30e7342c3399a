"""Embedding and a multilayer perceptron, the paper's EMLP (III-B2; Zhang et al., 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from consumers.ranking.models.layers import Fields, Numbers, layers
from consumers.ranking.models.model import Model, Pieces, Sizes, Widths

if TYPE_CHECKING:
    from consumers.ranking.examples import Batch


class EMLP(Model):
    """log-odds = MLP([fields, numbers]).

    Shapes: fields `(B, E)`, numbers `(B, N)`, hidden ReLU layers, out `(B,)`.

    Example:
        >>> sizes = Sizes(3, 5, 2, 2, numbers=4, topic_numbers=(), cover=128)
        >>> model = EMLP(sizes, Pieces(cover=True), Widths(embedding=16, hidden=(8,)))
        >>> model.deep[0].in_features  # user, video, clicks, skips 4 * 16; numbers 4 + 128
        196
    """

    def __init__(self, sizes: Sizes, pieces: Pieces, widths: Widths) -> None:
        super().__init__(sizes, pieces, widths)
        self.numbers = Numbers(sizes, pieces)
        self.fields = Fields(sizes, pieces, widths)
        self.deep = layers([self.fields.width + self.numbers.width, *widths.hidden, 1])

    def forward(self, batch: Batch) -> Tensor:
        """Log-odds, `(B,)`."""
        odds: Tensor = self.deep(torch.cat([self.fields(batch), self.numbers(batch)], 1))
        return odds[:, 0]
