"""Wide & Deep (Cheng et al., 2016), the paper's ranking model (III-B2, IV-D)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from consumers.ranking.models.emlp import EMLP
from consumers.ranking.models.lr import LR
from consumers.ranking.models.model import Model, Pieces, Sizes, Widths

if TYPE_CHECKING:
    from consumers.ranking.examples import Batch


class WideAndDeep(Model):
    """log-odds = LR(batch) + EMLP(batch), trained together.

    The wide part remembers single ids and is linear in the numbers; the deep part sees all inputs
    and generalises. Each has weights of its own. Shapes: out `(B,)`.

    Example:
        >>> sizes = Sizes(3, 5, 2, 2, numbers=4, topic_numbers=(), cover=128)
        >>> model = WideAndDeep(sizes, Pieces(), Widths(embedding=2, hidden=(8,)))
        >>> model.wide.linear.in_features, model.deep.deep[0].in_features
        (4, 12)
    """

    def __init__(self, sizes: Sizes, pieces: Pieces, widths: Widths) -> None:
        super().__init__(sizes, pieces, widths)
        self.wide = LR(sizes, pieces, widths)
        self.deep = EMLP(sizes, pieces, widths)

    def forward(self, batch: Batch) -> Tensor:
        """Log-odds, `(B,)`."""
        odds: Tensor = self.wide(batch) + self.deep(batch)
        return odds

    def zero_output(self) -> None:
        """Zeroes the last layers of both parts."""
        self.wide.zero_output()
        self.deep.zero_output()
