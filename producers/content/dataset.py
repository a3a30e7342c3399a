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

VALIDATION_VIDEOS = 1_000
"""More would cost a check more time than they make its mean surer."""

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


def holdout(contents: Iterable[str], share: float) -> NDArray[np.bool_]:
    """True for what never trains: its hash is in the first `share` of all hashes.

    The answer for a content depends on its hash alone, so it stays out in every later run, whatever
    is added, and all videos with one cover and title are on one side.

    Args:
        contents: each video's content hash.
        share: of all contents.

    >>> contents = [f"c{i}" for i in range(10_000)]
    >>> held_out = holdout(contents, 0.1)
    >>> round(float(held_out.mean()), 2), bool((holdout(contents, 0.2) >= held_out).all())
    (0.1, True)
    """
    return _places(contents, b"holdout") < share * 2**64


def validation_part(contents: Iterable[str], share: float) -> NDArray[np.bool_]:
    """True for the learning videos that fine-tuning is judged on, and doesn't learn from.

    Those whose hash is in the first `share`, of another hash than :func:`holdout`'s, and of them
    the first :data:`VALIDATION_VIDEOS` (more where videos share a content).

    >>> part = validation_part([f"c{i}" for i in range(40_000)], 0.05)
    >>> int(part.sum()), int(validation_part(["a"] * 3, 1.0).sum())
    (1000, 3)
    """
    places = _places(contents, b"validation")
    last = np.sort(places)[:VALIDATION_VIDEOS][-1:]
    return (places < share * 2**64) & (places <= last)


def _places(contents: Iterable[str], purpose: bytes) -> NDArray[np.uint64]:
    """A hash of each, 0 to 2^64 - 1."""
    hashes = (
        hashlib.blake2b(content.encode(), digest_size=8, person=purpose).digest()
        for content in contents
    )
    return np.array([int.from_bytes(h, "big") for h in hashes], dtype=np.uint64)
