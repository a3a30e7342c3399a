"""Parts that models share: hashed embedding tables, bags of them, numbers to one scale, fields."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from consumers.ranking.models.model import TIERS, Pieces, Sizes, Widths

if TYPE_CHECKING:
    from consumers.ranking.examples import Batch

HASH = 0x9E3779B97F4A7C15 - 2**64
"""2^64 over the golden ratio, as a signed number: Knuth's multiplicative hash."""
TOPIC_ROWS = 8_192
"""Of a table of topics at most, so that a batch's weights of all of them fit in memory."""
LIMIT = 5.0
"""Standard deviations at which a number is cut."""


class Bag(torch.autograd.Function):
    """Weighted sums of table rows, `(R, D), (B, H), (B, H) -> (B, D)`.

    A product with a sparse matrix: on a CPU a fifth of the time of `embedding_bag` with its way
    back (docs/adr/0042).
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        """The sums."""
        count, places = rows.shape
        data, columns = weights.detach().numpy().reshape(-1), rows.numpy().reshape(-1)
        ends = np.arange(0, count * places + 1, places)
        ctx.bags = sparse.csr_array((data, columns, ends), shape=(count, len(table)))
        return torch.from_numpy(ctx.bags @ table.detach().numpy())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The table's gradient."""
        return torch.from_numpy(ctx.bags.T @ gradients[0].numpy()), None, None


class Table(nn.Module):
    """Embeddings of codes; code 0 stands for all that are unknown.

    More codes than `limit` share rows by a hash, so that memory and a step of Adam are bounded
    whatever the catalogue's size.

    >>> table = Table(1_000_000, 4, limit=100)
    >>> table.weight.shape, table.rows_of(torch.tensor([0, 1, 999_999])).tolist()
    (torch.Size([100, 4]), [0, 14, 99])
    """

    def __init__(self, codes: int, width: int, *, limit: int, scale: float = 0.05) -> None:
        super().__init__()
        self.is_hashed = codes > limit
        self.weight = nn.Parameter(torch.randn(min(codes, limit), width) * scale)

    def rows_of(self, codes: Tensor) -> Tensor:
        """The table's row of each code, of any shape."""
        if not self.is_hashed:
            return codes
        hashed = ((codes * HASH) >> 20) % (len(self.weight) - 1) + 1
        return torch.where(codes == 0, codes, hashed)

    def forward(self, codes: Tensor) -> Tensor:
        """`(...) -> (..., D)`."""
        if _trains_on_cpu(codes):
            flat = self.pool(codes.reshape(-1, 1), torch.ones(codes.numel(), 1))
            return flat.reshape(*codes.shape, -1)
        return functional.embedding(self.rows_of(codes), self.weight)

    def pool(self, codes: Tensor, weights: Tensor) -> Tensor:
        """Weighted sums, `(B, H), (B, H) -> (B, D)`."""
        rows = self.rows_of(codes)
        if _trains_on_cpu(codes):
            return cast("Tensor", Bag.apply(self.weight, rows, weights))
        if torch.onnx.is_in_onnx_export():  # a bag would be a loop over the rows there
            return (functional.embedding(rows, self.weight) * weights[..., None]).sum(1)
        return functional.embedding_bag(rows, self.weight, per_sample_weights=weights, mode="sum")


def _trains_on_cpu(codes: Tensor) -> bool:
    """Where :class:`Bag` is faster; without its way back, torch's own operations are."""
    return codes.device.type == "cpu" and torch.is_grad_enabled()


class Standard(nn.Module):
    """Numbers less their mean over their standard deviation, cut at 5; those of training rows.

    >>> standard = Standard(2)
    >>> standard.set_scale(np.array([[1.0, 7.0], [3.0, 7.0]], np.float32))
    >>> standard(torch.tensor([[3.0, 7.0], [99.0, 8.0]])).tolist()
    [[1.0, 0.0], [5.0, 1.0]]
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def set_scale(self, numbers: NDArray[np.float32]) -> None:
        """Takes mean and deviation of float32[N, F]; a constant column has deviation 1."""
        deviation = numbers.std(0, dtype=np.float64)
        mean = numbers.mean(0, dtype=np.float64)
        self.mean.copy_(torch.from_numpy(mean))
        self.deviation.copy_(torch.from_numpy(np.where(deviation > 1e-6, deviation, 1)))

    def forward(self, numbers: Tensor) -> Tensor:
        """`(B, F) -> (B, F)`."""
        scaled: Tensor = (numbers - self.mean) / self.deviation
        return scaled.clamp(-LIMIT, LIMIT)


class Numbers(nn.Module):
    """All numbers that the pieces let in, to one scale, `(B, N)`; `width` is N."""

    def __init__(self, sizes: Sizes, pieces: Pieces) -> None:
        super().__init__()
        self.pieces = pieces
        is_tier = [TIERS in name for name in sizes.topic_numbers]
        columns = [i for i, tier in enumerate(is_tier) if (pieces.tiers if tier else pieces.match)]
        self.columns: Tensor
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.int64), persistent=False)
        own, cover = sizes.numbers * pieces.base, sizes.cover * pieces.cover
        self.width = own + len(columns) + cover
        self.standard = Standard(self.width)

    def set_scale(self, batch: Batch) -> None:
        """Takes the scale from a batch of training rows."""
        self.standard.set_scale(self._joined(batch).numpy())

    def forward(self, batch: Batch) -> Tensor:
        """`(B, N)`."""
        return cast("Tensor", self.standard(self._joined(batch)))

    def _joined(self, batch: Batch) -> Tensor:
        parts = [batch.numbers if self.pieces.base else batch.numbers[:, :0]]
        if len(self.columns):
            parts.append(batch.topic_numbers[:, self.columns])
        if self.pieces.cover:
            parts.append(batch.cover)
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


class Fields(nn.Module):
    """The embedded fields of a batch side by side, `(B, E)`; `width` is E.

    With `base` user, video, mean of the clicked and of the skipped videos of the history (one table
    for all videos); with `ids` the weighted mean of the candidate's topics and of the clicked
    videos' topics (one table), and their product, with `parents` the same of parents.
    """

    def __init__(self, sizes: Sizes, pieces: Pieces, widths: Widths, scale: float = 0.05) -> None:
        super().__init__()

        def table(codes: int, width: int, limit: int = widths.rows) -> Table:
            return Table(codes, width, limit=limit, scale=scale)

        self.user, self.video = (
            table(codes, widths.embedding) if pieces.base else None
            for codes in (sizes.users, sizes.videos)
        )
        self.topic, self.parent = (
            table(codes, widths.topic, TOPIC_ROWS) if is_read else None
            for codes, is_read in ((sizes.topics, pieces.ids), (sizes.parents, pieces.parents))
        )
        levels = [level for level in (self.topic, self.parent) if level is not None]
        self.width = 4 * widths.embedding * pieces.base + 3 * widths.topic * len(levels)

    def forward(self, batch: Batch) -> Tensor:
        """`(B, E)`."""
        clicked = share(batch.history_mask & batch.history_clicked)
        skipped = share(batch.history_mask & ~batch.history_clicked)
        fields = [batch.numbers[:, :0]]
        if self.user is not None and self.video is not None:
            fields += [
                self.user(batch.user),
                self.video(batch.video),
                batch.of_rows(self.video.pool(batch.history_videos, clicked)),
                batch.of_rows(self.video.pool(batch.history_videos, skipped)),
            ]
        levels = (
            (self.topic, batch.topics, batch.history_topics),
            (self.parent, batch.parents, batch.history_parents),
        )
        for level, candidate, history in levels:
            if level is not None:
                own, rows = slot_shares(candidate, batch.topic_weights), level.rows_of(history)
                past = mixture(rows, batch.history_weights, clicked, len(level.weight))
                topics, liked = level.pool(candidate, own), batch.of_rows(past @ level.weight)
                fields += [topics, liked, topics * liked]
        return torch.cat(fields, 1)


def share(mask: Tensor) -> Tensor:
    """Each true place at one over their number, `(B, H) -> (B, H)`.

    >>> share(torch.tensor([[True, False, True], [False, False, False]])).tolist()
    [[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]
    """
    weights = mask.to(torch.float32)
    return weights / weights.sum(1, keepdim=True).clamp(min=1)


def slot_shares(codes: Tensor, weights: Tensor) -> Tensor:
    """Weights of the slots that have a code over their sum, `(..., 8), (..., 8) -> (..., 8)`.

    >>> slot_shares(torch.tensor([[2, 5, 0]]), torch.tensor([[0.6, 0.2, 0.9]])).tolist()
    [[0.75, 0.25, 0.0]]
    """
    known = weights * (codes > 0)
    return known / known.sum(-1, keepdim=True).clamp(min=1e-6)


def mixture(rows: Tensor, weights: Tensor, places: Tensor, count: int) -> Tensor:
    """Share of each topic in a history, `(B, H, 8), (B, H, 8), (B, H) -> (B, count)`.

    sum_h p_h s_hk over the slots k that hold the topic, s the slots' weights over their sum, p the
    places' weights; slots of row 0 hold none.

    >>> rows, weights = torch.tensor([[[2, 1], [2, 0]]]), torch.tensor([[[0.6, 0.2], [0.5, 0.9]]])
    >>> mixture(rows, weights, torch.tensor([[0.5, 0.5]]), 3).tolist()
    [[0.0, 0.125, 0.875]]
    """
    if rows.device.type == "cpu" and not torch.onnx.is_in_onnx_export():
        out = np.zeros((len(rows), count), np.float32)
        _add_slots(rows.numpy(), weights.numpy(), places.numpy(), out)
        return torch.from_numpy(out)
    shares = slot_shares(rows, weights) * places[:, :, None]
    out_of = weights.new_zeros(rows.shape[0], count)  # `len` is a constant to a tracer
    return out_of.scatter_add_(1, rows.flatten(1), shares.flatten(1))


@numba.njit(cache=True, nogil=True)
def _add_slots(
    rows: NDArray[np.int64],
    weights: NDArray[np.float32],
    places: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """The sums of :func:`mixture`: a pass over the slots instead of six over tensors of them."""
    for n in range(rows.shape[0]):
        for h in range(rows.shape[1]):
            if places[n, h] == 0:
                continue
            total = np.float32(0)
            for k in range(rows.shape[2]):
                if rows[n, h, k] > 0:
                    total += weights[n, h, k]
            if total > 0:
                scale = places[n, h] / total
                for k in range(rows.shape[2]):
                    if rows[n, h, k] > 0:
                        out[n, rows[n, h, k]] += weights[n, h, k] * scale


def overlap(batch: Batch, codes: int, places: int, *, parents: bool = False) -> Tensor:
    """How alike the newest videos of a history are to the candidate, `(B, places)` in [0, 1].

    By topics, or by parents.

    sum_k sum_j a_k b_j [topic_k = topic_j], a and b each slots' weights over their sum: 1 where
    both have one and the same topic alone.
    """
    candidate, history = (
        (batch.parents, batch.history_parents) if parents else (batch.topics, batch.history_topics)
    )
    own = slot_shares(candidate, batch.topic_weights)
    own_mixture = own.new_zeros(own.shape[0], codes).scatter_add_(1, candidate, own)
    history = history[:, :places]
    past = slot_shares(history, batch.history_weights[:, :places])
    return (own_mixture.gather(1, history.flatten(1)).view_as(past) * past).sum(-1)


def layers(widths: Sequence[int]) -> nn.Sequential:
    """Linear and ReLU of each width; the last has none behind it.

    >>> layers([3, 8, 1])
    Sequential(
      (0): Linear(in_features=3, out_features=8, bias=True)
      (1): ReLU()
      (2): Linear(in_features=8, out_features=1, bias=True)
    )
    """
    modules = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*modules[:-1])
