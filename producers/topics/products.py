"""Which centre is nearest to each point: blocks of dot products, exact whatever they are made in.

Where the processor multiplies bfloat16 in units of its own, products are made in bfloat16 and every
centre that may be the nearest by its error bound is compared in float32: the answer is float32's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

CHUNK_ELEMENTS = 2**24
"""Elements of a block of similarities or points: 64 MB of float32 for any N."""
BFLOAT16_MARGIN = 2**-6
"""Centres this far below the best product may be nearer. Rounding both vectors moves a cosine by up
to 2^-8, rounding the product by 2^-9; twice that, and the rounding of the limit itself, 2^-9."""


@cache
def has_bfloat16_units() -> bool:
    """Whether the processor has AMX for bfloat16, five times float32's rate on the same core."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def product_type(device: str) -> str:
    """What :func:`nearest` multiplies in on this machine, for the record: its answer is the same.

    >>> product_type("cuda")
    'float32'
    """
    return "bfloat16" if device == "cpu" and has_bfloat16_units() else "float32"


def nearest(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's nearest centre, int64[N] (ties: the first), and the cosine to it, float32[N].

    Args:
        x: float32[N, D], length 1 or zero.
        centres: float32[K, D], length 1.
    """
    if product_type(x.device.type) == "bfloat16":
        rough_centres = centres.bfloat16()
        parts = [_settle(x[rows], centres, rough_centres) for rows in chunks(len(x), len(centres))]
    else:
        maxima = [(x[rows] @ centres.T).max(dim=1) for rows in chunks(len(x), len(centres))]
        parts = [(greatest.values, greatest.indices) for greatest in maxima]
    cosines, labels = zip(*parts, strict=True)
    return torch.cat(labels), torch.cat(cosines)


def chunks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows` such that that many rows of `columns` stay within CHUNK_ELEMENTS."""
    size = max(1, CHUNK_ELEMENTS // max(columns, 1))
    return (slice(first, min(first + size, rows)) for first in range(0, max(rows, 1), size))


def _settle(x: Tensor, centres: Tensor, rough_centres: Tensor) -> tuple[Tensor, Tensor]:
    """The greatest float32 cosine of each row and its column, by bfloat16 products first."""
    rough = x.bfloat16() @ rough_centres.T
    limit = (rough.max(dim=1, keepdim=True).values.float() - BFLOAT16_MARGIN).bfloat16()
    row, column = torch.nonzero(rough >= limit, as_tuple=True)
    cosine = torch.cat(
        [
            (x[row[pairs]] * centres[column[pairs]]).sum(dim=1)
            for pairs in chunks(len(row), 2 * x.shape[1])
        ]
    )
    best = x.new_full((len(x),), -torch.inf).scatter_reduce(0, row, cosine, "amax")
    is_best = cosine == best[row]
    first = row.new_full((len(x),), len(centres))
    return best, first.scatter_reduce(0, row[is_best], column[is_best], "amin")
