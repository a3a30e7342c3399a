"""Deep Interest Network (Zhou et al., 2018) over clicked and skipped impressions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from consumers.ranking.models.layers import Fields, Numbers, layers, overlap
from consumers.ranking.models.model import Model, Pieces, Sizes, Widths

if TYPE_CHECKING:
    from consumers.ranking.examples import Batch


ATTENDED = 50
"""Newest places of a history that are attended to: all of them would double a step's time."""


class Attention(nn.Module):
    """How much each earlier impression counts for the candidate, `(B, H)` in [0, 1].

    a_h = sigmoid(MLP([e_h, e_h * e_c, clicked_h, age_h]) + u . overlap_h): as in the paper no
    softmax, so that the sum says how much of the history is alike. overlap: by topics and by
    parents (`layers.overlap`), with the piece `attention`; u starts at 1.
    """

    def __init__(self, width: int, hidden: int, *, sizes: Sizes, by_topics: bool) -> None:
        super().__init__()
        self.sizes = sizes
        self.score = layers([2 * width + 2, hidden, 1])
        self.bias = nn.Parameter(torch.ones(2)) if by_topics else None

    def forward(self, batch: Batch, past: Tensor, candidate: Tensor) -> Tensor:
        """`past` (B, H, D), `candidate` (B, D) -> `(B, H)`, 0 where there is no impression."""
        places = past.shape[1]
        clicked, ages = batch.history_clicked[:, :places], batch.history_ages[:, :places]
        place = torch.stack([clicked.to(past.dtype), ages / 5], -1)
        logits = self.score(torch.cat([past, past * candidate[:, None], place], -1))[..., 0]
        if self.bias is not None:
            logits = logits + self.bias[0] * overlap(batch, self.sizes.topics, places)
            by_parents = overlap(batch, self.sizes.parents, places, parents=True)
            logits = logits + self.bias[1] * by_parents
        return torch.sigmoid(logits) * batch.history_mask[:, :places]


class DIN(Model):
    """log-odds = MLP([fields, numbers, attended clicks, attended skips, and how much of each]).

    The attended parts are sum_h a_h e_h over clicked and over skipped impressions, over H, with
    e_h the video's embedding of the fields' table, and sum_h a_h of each.

    Shapes: history `(B, H, D)` with H at most 50, attention `(B, H)`, attended `(B, 2 D + 2)`,
    out `(B,)`.

    Example:
        >>> sizes = Sizes(3, 5, 2, 2, numbers=4, topic_numbers=(), cover=128)
        >>> model = DIN(sizes, Pieces(), Widths(embedding=2, hidden=(8,)))
        >>> model.deep[0].in_features  # fields 4 * 2, numbers 4, attended 2 * 2 + 2
        18
    """

    shares_history = False  # attends to each place anew for each candidate

    def __init__(self, sizes: Sizes, pieces: Pieces, widths: Widths) -> None:
        super().__init__(sizes, pieces, widths)
        self.numbers = Numbers(sizes, pieces)
        self.fields = Fields(sizes, pieces, widths)
        embedding = widths.embedding if pieces.base else 0
        self.attention = Attention(
            embedding, widths.hidden[-1], sizes=sizes, by_topics=pieces.attention
        )
        attended = 2 * embedding + 2
        width = self.fields.width + self.numbers.width + attended
        self.deep = layers([width, *widths.hidden, 1])

    def forward(self, batch: Batch) -> Tensor:
        """Log-odds, `(B,)`."""
        past, candidate = self._embeddings(batch)
        places = max(past.shape[1], 1)
        attention = self.attention(batch, past, candidate) / places
        clicked = batch.history_clicked[:, :places].to(past.dtype)
        by_kind = torch.stack([attention * clicked, attention * (1 - clicked)], 1)  # (B, 2, H)
        attended = torch.bmm(by_kind, past).flatten(1)
        parts = [self.fields(batch), self.numbers(batch), attended, by_kind.sum(2)]
        odds: Tensor = self.deep(torch.cat(parts, 1))
        return odds[:, 0]

    def _embeddings(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of the history `(B, H, D)` and of the candidate `(B, D)`; D is 0 without `base`."""
        history = batch.history_videos[:, :ATTENDED]
        if self.fields.video is None:
            return batch.history_ages.new_zeros(*history.shape, 0), batch.numbers[:, :0]
        return self.fields.video(history), self.fields.video(batch.video)
