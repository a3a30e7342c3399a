"""Pairs of videos that differ by their covers alone and share a topic (the paper's Fig. 4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
MOST_VIDEOS = 400
"""Of a topic, the ones given first: all pairs of more take long and show no more."""


class Pair(NamedTuple):
    """Rows of two videos and the cosines of their covers, titles and tags."""

    first: int
    second: int
    image: float
    title: float
    tag: float


def unlike_covers(
    image: Vectors, title: Vectors, tag: Vectors, topic: NDArray[np.int64], *, count: int
) -> list[Pair]:
    """Of each topic the two videos most alike in title and tags and least in covers.

    Args:
        image: float32[N, W], rows of length 1; zero: no cover, such a video is in no pair.
        title: float32[N, V], likewise.
        tag: float32[N, d], likewise.
        topic: int64[N], each video's topic, -1 for none.
        count: pairs at most, those of the greatest contrast, of one topic each.

    >>> image = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    >>> same = np.ones((3, 1), np.float32)
    >>> unlike_covers(image, same, same, np.array([5, 5, 5]), count=1)
    [Pair(first=0, second=1, image=0.0, title=1.0, tag=1.0)]
    """
    complete = image.any(axis=1) & title.any(axis=1) & tag.any(axis=1)
    pairs = []
    for number in np.unique(topic[topic >= 0]):
        rows = np.flatnonzero(complete & (topic == number))[:MOST_VIDEOS]
        if len(rows) < 2:
            continue
        covers, titles, tags = (x[rows] @ x[rows].T for x in (image, title, tag))
        contrast = (titles + tags) / 2 - covers
        a, b = np.unravel_index(np.argmax(np.triu(contrast + 4, k=1)), contrast.shape)
        cosines = (float(x[a, b]) for x in (covers, titles, tags))
        pairs.append(Pair(int(rows[a]), int(rows[b]), *cosines))
    return sorted(pairs, key=lambda p: p.image - (p.title + p.tag) / 2)[:count]
