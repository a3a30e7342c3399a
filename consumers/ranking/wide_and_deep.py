"""Wide&Deep (Cheng et al., 2016) on ids, history, statistics and topics (paper, III-B2, IV-D)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from consumers.ranking.bags import Matrix
from consumers.ranking.examples import NUMBERS, Examples


class _Bags(torch.autograd.Function):
    """`bags @ table` for sparse bags.

    EmbeddingBag takes five times as long on a CPU, most of it in the way back.
    """

    @staticmethod
    def forward(ctx: Any, bags: Matrix, table: Tensor) -> Tensor:
        ctx.bags = bags
        return torch.from_numpy(bags @ table.detach().numpy())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, torch.from_numpy(ctx.bags.T @ gradients[0].numpy())


class WideAndDeep(nn.Module):
    """Click-through rate of impressions.

    * deep: embeddings of user and video, the mean embedding of the history's videos (of the same
      table), numbers; with topics the weighted mean embedding of the candidate's and of the
      history's; two hidden layers.
    * wide: a weight per user, per video and per number; with topics a weight per topic of the
      candidate, and one per topic for the match (candidate's times history's weight of a topic).

    Args:
        users: in the vocabulary.
        videos: in the vocabulary.
        topics: in the vocabulary; 0: a model without topics.
        width: of the embeddings of users and videos.
        topic_width: of a topic's embedding (paper, IV-D: 8).
        hidden: widths of the hidden layers.

    Example:
        >>> model = WideAndDeep(users=3, videos=5, topics=2, width=4, topic_width=2, hidden=(8,))
        >>> model.deep[0].in_features  # user, video, history 3 * 4; 4 numbers; topics 2 * 2
        20
    """

    def __init__(
        self,
        *,
        users: int,
        videos: int,
        topics: int,
        width: int,
        topic_width: int,
        hidden: Sequence[int],
    ) -> None:
        super().__init__()
        self.topics = topics
        self.user, self.video = _table(users + 1, width), _table(videos + 1, width)
        self.wide_user, self.wide_video = _zeros(users + 1), _zeros(videos + 1)
        self.wide_numbers = nn.Linear(NUMBERS, 1)
        if topics:
            self.topic = _table(topics, topic_width)
            self.wide_topic, self.wide_match = _zeros(topics), _zeros(topics)
        widths = [3 * width + NUMBERS + (2 * topic_width if topics else 0), *hidden]
        layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
        self.deep = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, batch: Examples) -> Tensor:
        """Log-odds of a click, `(N,)`."""
        user, video, numbers = (
            torch.from_numpy(batch.user),
            torch.from_numpy(batch.video),
            torch.from_numpy(batch.numbers),
        )
        history = _bags(batch.clicks[batch.history], self.video)
        deep = [self.user[user], self.video[video], history, numbers]
        wide = self.wide_numbers(numbers) + self.wide_user[user] + self.wide_video[video]
        if self.topics:
            taste = batch.tastes[batch.history]
            deep += [_bags(batch.topics, self.topic), _bags(taste, self.topic)]
            wide = (
                wide
                + _bags(batch.topics, self.wide_topic)
                + _bags(Matrix(batch.topics * taste), self.wide_match)
            )
        return cast("Tensor", wide + self.deep(torch.cat(deep, 1)))[:, 0]


def probabilities(
    model: WideAndDeep, examples: Examples, *, rows: int = 16_384
) -> NDArray[np.float32]:
    """float32[N], click-through rates as the model predicts them, `rows` at a time."""
    model.eval()
    scores = np.empty(len(examples), np.float32)
    with torch.inference_mode():
        for start in range(0, len(examples), rows):
            chosen = np.arange(start, min(start + rows, len(examples)))
            scores[chosen] = torch.sigmoid(model(examples.take(chosen))).numpy()
    return scores


def _bags(bags: Matrix, table: Tensor) -> Tensor:
    return cast("Tensor", _Bags.apply(bags, table))


def _table(rows: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, width) * 0.05)


def _zeros(rows: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(rows, 1))
