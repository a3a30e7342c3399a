"""Joint blocks of videos that train, each by a model that has not seen it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from producers.content.dataset import make_targets
from producers.content.joint_model import JointModel
from producers.content.training import joint_representation, train_joint
from producers.topics.calibration import Fold
from producers.topics.evaluation import Level
from vidtopics.settings import ContentSettings

FOLDS = 2
Encodings = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]
"""Image and title encodings float32[N, W], and whether each is there, bool[N]."""


def train_on(
    encodings: Encodings,
    rows: NDArray[np.int64],
    names: Sequence[Sequence[Sequence[str]]],
    settings: ContentSettings,
    *,
    seed: int,
) -> JointModel:
    """Projections and MMoE of some of the videos.

    Args:
        encodings: of all videos.
        rows: int64[R], those that train.
        names: primary classes, secondary classes and tags of those, R lists each.
        settings: of the model and its training.
        seed: of the training.
    """
    targets = make_targets(
        *names, min_tag_videos=settings.min_tag_videos, max_tags=settings.max_tags
    )
    return train_joint(*encodings, targets, settings, seed=seed, rows=rows).model


def cross_fitted_folds(
    encodings: Encodings,
    names: tuple[Sequence[Sequence[str]], Sequence[Sequence[str]], Sequence[Sequence[str]]],
    tag: NDArray[np.float32],
    has_tag: NDArray[np.bool_],
    contents: Sequence[str],
    settings: ContentSettings,
    *,
    seed: int,
) -> list[Fold]:
    """Train projections and MMoE on each half of the videos and represent the other half.

    Tag vectors know no classes, so those of all videos that train serve both halves.

    Args:
        encodings: of videos that train, N rows.
        names: their primary classes, secondary classes and tags.
        tag: float32[N, d], e-bar of Eq. 4.
        has_tag: bool[N].
        contents: a hash of each video's cover and title: copies fall in one half.
        settings: of the model and its training.
        seed: of both trainings.

    Returns:
        The halves; none where one of them has no video.
    """
    fold = fold_of(contents)
    if len(np.unique(fold)) < FOLDS:
        return []
    levels: tuple[Level, ...] = ("primary", "secondary")
    classes = {level: first_codes(names[i]) for i, level in enumerate(levels)}
    folds = []
    for number in range(FOLDS):
        train, rows = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        of_train = tuple([column[row] for row in train.tolist()] for column in names)
        model = train_on(encodings, train, of_train, settings, seed=seed)
        image, title, has_image, has_title = encodings
        joint, blocks = joint_representation(
            model, image[rows], title[rows], has_image[rows], has_title[rows]
        )
        of_rows: Mapping[Level, NDArray[np.int64]] = {k: v[rows] for k, v in classes.items()}
        folds.append(Fold(tag[rows], joint, has_tag[rows], blocks > 0, of_rows))
    return folds


def fold_of(contents: Iterable[str]) -> NDArray[np.int64]:
    """0 to FOLDS - 1 for each content, by a hash of it alone.

    >>> fold_of(["a", "d", "a"]).tolist()
    [1, 0, 1]
    """
    digests = (
        hashlib.blake2b(c.encode(), digest_size=8, person=b"fold").digest() for c in contents
    )
    return np.array([int.from_bytes(d, "big") % FOLDS for d in digests], np.int64)


def first_codes(names: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """A number for the first name of each video, -1 where it has none.

    >>> first_codes([["b", "a"], [], ["a"], ["b"]]).tolist()
    [1, -1, 0, 1]
    """
    code = {
        name: i for i, name in enumerate(sorted({of_video[0] for of_video in names if of_video}))
    }
    return np.array([code[of_video[0]] if of_video else -1 for of_video in names], np.int64)
