"""First centres of spherical K-means: k-means|| on a sample, then greedy k-means++ on what it drew.

Greedy k-means++ over all points reads them once for every centre. Here the points are read a few
times, in matrix products, and one centre after the other is chosen from a table of products.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from producers.topics.products import nearest

SAMPLE_PER_CLUSTER = 8
"""Points that seeding sees for each cluster: with 25 steps on 16 points a cluster it costs 6%."""
DIRECT = 8_192
"""Up to so many points are all candidates: their table of products takes 268 MB."""
ROUNDS = 5


def first_centres(
    points: NDArray[np.floating],
    rows: NDArray[np.int64],
    clusters: int,
    known: Tensor,
    rng: np.random.Generator,
) -> Tensor:
    """Returns float32[K, D]: `known` first, then points that lie far from them and each other.

    Args:
        points: float32 or float16 [N, D], may be a memory map.
        rows: int64, the rows of `points` that may be drawn.
        clusters: K.
        known: float32[K0, D], on the device where torch computes.
        rng: of the sample and of all draws.
    """
    missing = clusters - len(known)
    if missing <= 0:
        return known[:clusters]
    x = read_rows(points, draw_sample(rows, clusters, rng), known.device)
    gap = np.ones(len(x), np.float32)
    if len(known):
        gap = np.maximum(1 - nearest(x, known)[1].cpu().numpy(), 0)
    weights = np.ones(len(x))
    if len(x) > DIRECT:
        chosen, weights = oversample(x, missing, gap, rng)
        x, gap = x[torch.as_tensor(chosen, device=x.device)], gap[chosen]
    draws = 2 + int(np.log(clusters))
    chosen = plus_plus(x, missing, gap, weights, rng, draws=draws)
    return torch.cat([known, x[torch.as_tensor(chosen, device=x.device)]])


def draw_sample(
    rows: NDArray[np.int64], clusters: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The rows that seeding reads, ascending: all of them where they are few."""
    size = max(SAMPLE_PER_CLUSTER * clusters, DIRECT)
    return rows if len(rows) <= size else np.sort(rng.choice(rows, size, replace=False))


def oversample(
    x: Tensor, centres: int, gap: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """k-means|| (Bahmani et al. 2012, Alg. 2): 2.5 candidates a centre, in five rounds.

    A round draws half as many points as there are centres, in proportion to `gap`, 1 - cosine to
    the nearest centre or candidate.

    Returns:
        Rows of `x` int64[M] and the points whose nearest candidate each is, float64[M].
    """
    gap = gap.copy()
    chosen, owner = np.empty(0, np.int64), np.full(len(x), -1)
    for _ in range(ROUNDS):
        arrivals = rng.exponential(size=len(x)) / np.where(gap > 0, gap, np.nan)
        size = min(-(-centres // 2), int((gap > 0).sum()))
        drawn = np.argsort(arrivals, kind="stable")[:size]  # nan last
        if not size:
            break
        label, cosine = (
            t.cpu().numpy() for t in nearest(x, x[torch.as_tensor(drawn, device=x.device)])
        )
        closer = 1 - cosine < gap
        closer[drawn] = True
        owner[closer] = len(chosen) + label[closer]
        gap = np.where(closer, np.maximum(1 - cosine, 0), gap)
        gap[drawn] = 0
        chosen = np.concatenate([chosen, drawn])
    short = max(centres - len(chosen), 0)
    # Fewer different points than centres: the others' clusters stay empty.
    chosen = np.concatenate([chosen, np.arange(short)])
    return chosen, np.bincount(owner[owner >= 0], minlength=len(chosen)).astype(np.float64)


def plus_plus(
    x: Tensor,
    centres: int,
    gap: NDArray[np.float32],
    weights: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    draws: int,
) -> NDArray[np.int64]:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007) on the sphere: rows of `x`, int64[K].

    The squared distance of unit vectors is 2 (1 - cosine), so a point is drawn in proportion to its
    weight and 1 - cosine to the nearest centre; of some draws the one that leaves the least
    weighted sum is taken; scikit-learn draws 2 + ln K.

    Args:
        x: float32[M, D], length 1; M^2 products are held.
        centres: K.
        gap: float32[M], 1 - cosine to the nearest centre there is already; 1 without one.
        weights: float64[M].
        rng: random numbers.
        draws: for each centre.
    """
    gaps = (1 - x @ x.T).cpu().numpy()
    chosen = np.empty(centres, np.int64)
    for place in range(centres):
        cumulative = np.cumsum(weights * np.maximum(gap, 0))
        at = np.searchsorted(cumulative, rng.random(draws) * cumulative[-1], side="right")
        drawn = np.minimum(at, len(x) - 1)
        left = np.minimum(gap, gaps[drawn])
        best = int(np.argmin(left @ weights))
        gap, chosen[place] = left[best], drawn[best]
    return chosen


def read_rows(
    points: NDArray[np.floating], rows: NDArray[np.int64] | slice, device: torch.device | str
) -> Tensor:
    """Rows of `points` as float32 on the device; half precision is brought to length 1 again."""
    x = torch.from_numpy(np.array(points[rows])).to(device)
    return torch.nn.functional.normalize(x.float(), dim=1) if x.dtype == torch.float16 else x
