"""Greatest cosines of many points to many centres: products in low precision, settled in double.

A block of products in float32, or bfloat16 where the processor multiplies that at several times the
rate, says which centres may be the nearest. Those few, all within the products' error bound of the
best, are summed in double precision: the answer is that of double precision throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from producers.topics.settling import settle_few
from vidtopics.errors import ContractError, explain

if TYPE_CHECKING:
    from torch import Tensor

CHUNK_ELEMENTS = 2**24
"""Elements of a block of similarities or points: 64 MB of float32 for any N."""
FLOAT32_ROUNDOFF = 2.0**-24
BFLOAT16_MARGIN = 2.0**-6
"""Rounding both vectors moves a cosine by up to 2^-8, rounding the product by 2^-9; and so for each
of the two that are compared."""


@cache
def has_bfloat16_units() -> bool:
    """Whether the processor multiplies bfloat16 itself, by AMX or AVX-512."""
    import torch

    features = torch.cpu.get_capabilities()
    return bool(features.get("amx_bf16") or features.get("avx512_bf16"))


def product_type(device: str) -> str:
    """What products are made in on this machine, for the record: the answer is the same.

    >>> product_type("cuda")
    'float32'
    """
    return "bfloat16" if device == "cpu" and has_bfloat16_units() else "float32"


class Products:
    """Centres, prepared for the products of one pass over the points.

    Args:
        centres: float32[K, D], on the device where torch computes; an array where numpy does, which
            spares a small pass torch's start (2.8 s of CPU). Lengths near 1.
    """

    def __init__(self, centres: Tensor | NDArray[np.float32]) -> None:
        self.centres = centres if isinstance(centres, np.ndarray) else centres.cpu().numpy()
        self.norms = np.sqrt(np.einsum("kd,kd->k", self.centres, self.centres, dtype=np.float64))
        self.is_half, self.transposed = self._transposed(centres)
        # A float32 product of D terms is off by D roundings (Higham 2002, section 3.1).
        exact = (2 * self.centres.shape[1] + 32) * FLOAT32_ROUNDOFF
        self.margin = np.float32(exact + (BFLOAT16_MARGIN if self.is_half else 0))

    def _transposed(self, centres: Tensor | NDArray[np.float32]) -> tuple[bool, Any]:
        """Whether products are made in bfloat16, and the centres [D, K] for them, of length 1."""
        if isinstance(centres, np.ndarray):
            return False, (centres / self.norms.astype(np.float32)[:, None]).T
        import torch

        scaled = centres / torch.from_numpy(self.norms).float().to(centres.device)[:, None]
        is_half = product_type(centres.device.type) == "bfloat16"
        return is_half, (scaled.bfloat16() if is_half else scaled).T

    def greatest(
        self, x: Tensor | NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The greatest cosines of each row, float32[N, count] by falling value, and their centres.

        Sums are made in double precision, each in one order, and rounded to single: a row has the
        same bytes in any batch, on any number of threads, and whether torch or numpy multiplies.
        Equal ones go to the earlier centre. With fewer centres than `count`, the rest is centre 0
        with cosine -inf.

        Args:
            x: float32[N, D], length 1 or zero, where the centres are.
            count: values of a row.
        """
        rank = np.zeros((len(x), count), np.int64)
        cosine = np.full((len(x), count), -np.inf, np.float32)
        for rows in chunks(len(x), len(self.centres)):
            block, bits = self._multiply(x[rows])
            open_rows = np.arange(len(block))
            if isinstance(x, np.ndarray):
                products = bits.view(np.float32)
                settled = settle_few(
                    block, self.centres, self.norms, products, self.margin, rank[rows], cosine[rows]
                )
                open_rows = np.flatnonzero(~settled)
            if len(open_rows):
                self._settle(block, bits, open_rows, rank[rows], cosine[rows])
        return rank, cosine

    def _settle(
        self,
        block: NDArray[np.float32],
        bits: NDArray[np.int16] | NDArray[np.int32],
        rows: NDArray[np.intp],
        rank: NDArray[np.int64],
        cosine: NDArray[np.float32],
    ) -> None:
        """Settle some rows of a block by the kernel, which takes a second of CPU to load."""
        from producers.topics.settling_kernel import settle

        if len(rows) == len(block):
            settle(block, self.centres, self.norms, bits, self.margin, rank, cosine)
            return
        part = rank[rows], cosine[rows]
        settle(block[rows], self.centres, self.norms, bits[rows], self.margin, *part)
        rank[rows], cosine[rows] = part

    def _multiply(
        self, x: Tensor | NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int16] | NDArray[np.int32]]:
        """Rows [n, D] as an array, and the bits of their products, [n, K]."""
        if isinstance(x, np.ndarray):
            by_numpy: NDArray[np.float32] = x @ self.transposed
            return x, by_numpy.view(np.int32)
        import torch

        rough = torch.mm(x.bfloat16() if self.is_half else x, self.transposed)
        bits = rough.view(torch.int16 if self.is_half else torch.int32)
        return x.cpu().numpy(), bits.cpu().numpy()


def nearest(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's nearest centre, int64[N] (ties: the first), and the cosine to it, float32[N].

    Args:
        x: float32[N, D], length 1 or zero.
        centres: float32[K, D], length 1.
    """
    import torch

    if x.device.type != "cpu":  # nothing leaves the GPU; ties are float32's
        maxima = [(x[rows] @ centres.T).max(dim=1) for rows in chunks(len(x), len(centres))]
        return torch.cat([m.indices for m in maxima]), torch.cat([m.values for m in maxima])
    rank, cosine = Products(centres).greatest(x, 1)
    return torch.from_numpy(rank[:, 0]), torch.from_numpy(cosine[:, 0])


def chunks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows` such that that many rows of `columns` stay within CHUNK_ELEMENTS."""
    size = max(1, CHUNK_ELEMENTS // max(columns, 1))
    return (slice(first, min(first + size, rows)) for first in range(0, max(rows, 1), size))


def check_points(points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """bool[N]: true for length 1, false for zero vectors; ContractError for any other length."""
    length = np.empty(len(points))
    for rows in chunks(len(points), points.shape[1]):
        block = np.asarray(points[rows])
        length[rows] = np.sqrt(np.einsum("nd,nd->n", block, block, dtype=np.float64))
    wrong = ~((np.abs(length - 1) < 1e-3) | (length == 0))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ContractError(
            explain(
                f"topic representation, row {at}",
                expected="length 1, or 0 where both blocks are missing",
                found=f"{length[at]:g}",
                mend="make it with TopicSpace.represent",
            )
        )
    present: NDArray[np.bool_] = length > 0
    return present
