"""What topics add to a model: a head of the model's own kind beside the model without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from consumers.ranking.models.model import Model

if TYPE_CHECKING:
    from consumers.ranking.examples import Batch


class Residual(Model):
    """log-odds = base(batch) + head(batch).

    The base reads nothing of topics and is trained first. The head has the base's architecture,
    reads the topics' pieces alone, starts at 0 and is trained on what the base leaves over (a step
    of gradient boosting; Friedman, 2001), for as many epochs as help on validation rows, none
    included: topics that say nothing change nothing (docs/adr/0045).

    Shapes: out `(B,)`.
    """

    def __init__(self, base: Model, head: Model) -> None:
        super().__init__(base.sizes, replace(head.pieces, base=True), base.widths)
        self.base, self.head = base, head
        self.shares_history = base.shares_history

    def forward(self, batch: Batch) -> Tensor:
        """Log-odds, `(B,)`."""
        odds: Tensor = self.base(batch) + self.head(batch)
        return odds
