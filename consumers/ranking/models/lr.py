"""Logistic regression on ids and numbers (Richardson et al., 2007)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from consumers.ranking.models.layers import Fields, Numbers
from consumers.ranking.models.model import Model, Pieces, Sizes, Widths

if TYPE_CHECKING:
    from consumers.ranking.examples import Batch


class LR(Model):
    """log-odds = b + w . numbers + a weight per user, video and, with the pieces, topic and parent.

    Mean weights stand for the clicked and for the skipped videos of the history; a video weighs the
    same there as a candidate up to a factor of each place.

    Shapes: numbers `(B, N)`, fields one wide each `(B, E)`, out `(B,)`.

    Example:
        >>> names = "match", "clicked_tier_0"
        >>> sizes = Sizes(3, 5, 2, 2, numbers=4, topic_numbers=names, cover=128)
        >>> model = LR(sizes, Pieces(ids=True, match=True), Widths())
        >>> model.numbers.width, model.fields.width  # + match; 2 ids, 2 histories, 3 of topics
        (5, 7)
    """

    def __init__(self, sizes: Sizes, pieces: Pieces, widths: Widths) -> None:
        super().__init__(sizes, pieces, widths)
        self.numbers = Numbers(sizes, pieces)
        self.fields = Fields(sizes, pieces, replace(widths, embedding=1, topic=1), scale=0)
        self.places = nn.Parameter(torch.ones(self.fields.width))
        self.linear = nn.Linear(self.numbers.width, 1)
        nn.init.zeros_(self.linear.weight)

    def forward(self, batch: Batch) -> Tensor:
        """Log-odds, `(B,)`."""
        odds: Tensor = self.linear(self.numbers(batch))[:, 0] + self.fields(batch) @ self.places
        return odds
