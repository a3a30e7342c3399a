"""Classes and tags -> the binary vectors y^1, y^2, y^3 of Eq. 2, and which videos never train."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

TASKS = ("primary", "secondary", "tags")
"""The N = 3 tasks, coarse to fine."""

Classes = tuple[tuple[str, ...], ...]
"""Per task the names of its classes: names[k][j] is class j of task k."""


@dataclass(frozen=True, eq=False)
class Targets:
    """y^k of all videos, sparse as a video has few of 12,000 tags.

    * `classes`: per task the class names.
    * `labels`: per task float32 `(videos, M^k)`, 1 where the video belongs to the class.
    """

    classes: Classes
    labels: tuple[csr_array, ...]


def make_targets(
    primary: Sequence[Collection[str]],
    secondary: Sequence[Collection[str]],
    tags: Sequence[Collection[str]],
    *,
    min_tag_videos: int,
    max_tags: int,
) -> Targets:
    """Vocabularies and labels of the videos that train; held-out videos add neither.

    Args:
        primary: class names per video, maybe none; a repeated name counts once.
        secondary: likewise.
        tags: likewise.
        min_tag_videos: a tag on fewer videos is no class.
        max_tags: the tags on most videos are kept (paper, IV-A: 12,000).

    >>> targets = make_targets([["music"], ["sport"]], [["jazz"], []], [["sax", "live"], ["live"]],
    ...                        min_tag_videos=2, max_tags=10)
    >>> targets.classes
    (('music', 'sport'), ('jazz',), ('live',))
    >>> [y.toarray().tolist() for y in targets.labels]
    [[[1.0, 0.0], [0.0, 1.0]], [[1.0], [0.0]], [[1.0], [1.0]]]
    """
    classes = (
        vocabulary(primary),
        vocabulary(secondary),
        vocabulary(tags, min_videos=min_tag_videos)[:max_tags],
    )
    labels = tuple(
        multi_hot(names, known)
        for names, known in zip((primary, secondary, tags), classes, strict=True)
    )
    return Targets(classes, labels)


def vocabulary(names: Iterable[Collection[str]], *, min_videos: int = 1) -> tuple[str, ...]:
    """Names by falling number of videos, ties in the order of their code points.

    >>> vocabulary([["b", "b"], ["c", "a"], ["c"]])
    ('c', 'a', 'b')
    """
    videos = Counter(name for of_video in names for name in set(of_video))
    frequent = (name for name, count in videos.items() if count >= min_videos)
    return tuple(sorted(frequent, key=lambda name: (-videos[name], name)))


def multi_hot(names: Sequence[Collection[str]], known: Sequence[str]) -> csr_array:
    """`(videos, len(known))` float32 of 0 and 1; names that aren't known are left out.

    >>> multi_hot([["a"], ["b", "a", "a"], ["x"]], ["a", "b"]).toarray().tolist()
    [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    """
    column = {name: j for j, name in enumerate(known)}
    rows = [sorted({column[name] for name in of_video if name in column}) for of_video in names]
    starts = np.cumsum([0, *(len(row) for row in rows)])
    columns = np.fromiter((j for row in rows for j in row), np.int64, count=starts[-1])
    return csr_array(
        (np.ones(len(columns), np.float32), columns, starts), shape=(len(rows), len(known))
    )


def holdout(video_ids: Iterable[str], share: float) -> NDArray[np.bool_]:
    """True for the videos that never train: their hash is in the first `share` of all hashes.

    A video's answer depends on its id alone, so it stays out in every later run, whatever is added.

    >>> ids = [f"v{i}" for i in range(10_000)]
    >>> held_out = holdout(ids, 0.1)
    >>> round(float(held_out.mean()), 2), bool((holdout(ids, 0.2) >= held_out).all())
    (0.1, True)
    """
    hashes = (
        hashlib.blake2b(video.encode(), digest_size=8, person=b"holdout").digest()
        for video in video_ids
    )
    return np.array([int.from_bytes(h, "big") < share * 2**64 for h in hashes], dtype=np.bool_)
