"""The space of topic representations, a = [tag, joint], frozen with a topic model (III-A3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from producers.unit_length import lengths, to_unit_length
from vidtopics.errors import ContractError, explain

CHUNK_ROWS = 8_192
NEGLIGIBLE = 1e-4
"""A tag block this near to the mean has no direction but that of rounding."""


@dataclass(frozen=True, eq=False)
class TopicSpace:
    """How two blocks become one vector; the same for every video for as long as a model is used.

    Attributes:
        tag_mean: float32[d], what all tag blocks have in common; zero: nothing is subtracted.
        tag_weight: weight of the tag block, at least 0; the ratio of the two alone counts.
        joint_weight: weight of the joint block, at least 0.
    """

    tag_mean: NDArray[np.float32]
    tag_weight: float = 1.0
    joint_weight: float = 1.0

    def represent(
        self,
        tag: NDArray[np.float32],
        joint: NDArray[np.float32],
        has_tag: NDArray[np.bool_],
        has_joint: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Join tag embedding and joint representation so that they count by their weights alone.

        Each block is brought to length 1 (the tag block again after its mean is subtracted),
        weighted, joined, and the whole brought to length 1. The paper's one L2 normalisation of the
        whole can't make blocks of different lengths "contribute the same amount"; normalising each
        does. A missing block is zero and the other one fills the length. With equal weights the
        cosine of two whole videos is the mean of their tag cosine and their joint cosine.

        Args:
            tag: float32[N, d], e-bar of Eq. 4.
            joint: float32[N, D], z of Eq. 1.
            has_tag: bool[N]; false: the video has no tag with a vector, its block counts as zero.
            has_joint: bool[N]; false: it has neither cover nor title.

        Returns:
            a, float32[N, d + D] of length 1, zero where no block is left. A row's bytes don't
            depend on the other rows.

        Raises:
            ContractError: a block whose flag is set is zero or not finite.

        >>> tag = np.array([[5, 0], [0, 0]], np.float32)
        >>> joint = np.array([[0, 0.1], [0, 7]], np.float32)
        >>> flags = np.array([True, False]), np.array([True, True])
        >>> plain = TopicSpace(np.zeros(2, np.float32))
        >>> plain.represent(tag, joint, *flags).astype(float).round(4).tolist()
        [[0.7071, 0.0, 0.0, 0.7071], [0.0, 0.0, 0.0, 1.0]]
        >>> centred = TopicSpace(np.array([0.5, 0.5], np.float32))
        >>> centred.represent(tag, joint, *flags).astype(float).round(4).tolist()
        [[0.5, -0.5, 0.0, 0.7071], [0.0, 0.0, 0.0, 1.0]]
        """
        width = tag.shape[1]
        scale = max(self.tag_weight, self.joint_weight) or 1.0  # squares of 1e200 overflow
        a = np.empty((len(tag), width + joint.shape[1]), np.float32)
        for start in range(0, len(a), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            tag_block = self._centre(_unit_block(tag[rows], has_tag[rows], "tag", start))
            joint_block = _unit_block(joint[rows], has_joint[rows], "joint", start)
            blocks = [
                tag_block * (self.tag_weight / scale),
                joint_block * (self.joint_weight / scale),
            ]
            a[rows] = to_unit_length(np.concatenate(blocks, axis=1))
        return a

    def _centre(self, unit_tag: NDArray[np.float64]) -> NDArray[np.float64]:
        """Unit tag blocks less their mean, at length 1; zero for missing or negligible ones."""
        if not self.tag_mean.any():
            return unit_tag
        present = lengths(unit_tag)[:, None] > 0
        centred = np.where(present, unit_tag - self.tag_mean, 0.0)
        return to_unit_length(np.where(lengths(centred)[:, None] > NEGLIGIBLE, centred, 0.0))


def mean_tag_block(tag: NDArray[np.float32], has_tag: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The mean of the unit tag blocks of videos that have one, float32[d].

    Zero where no video has one, and where all point the same way, as nothing would be left of them.

    >>> tag = np.array([[2, 0], [0, 3], [0, 0]], np.float32)
    >>> mean_tag_block(tag, np.array([True, True, False])).tolist()
    [0.5, 0.5]
    >>> mean_tag_block(tag[[0, 0]], np.array([True, True])).tolist()
    [0.0, 0.0]
    """
    total = np.zeros(tag.shape[1])
    for start in range(0, len(tag), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        total += _unit_block(tag[rows], has_tag[rows], "tag", start).sum(axis=0)
    mean = (total / max(int(has_tag.sum()), 1)).astype(np.float32)
    return np.zeros_like(mean) if np.linalg.norm(mean) > 1 - NEGLIGIBLE else mean


def _unit_block(
    rows: NDArray[np.float32], has: NDArray[np.bool_], name: str, start: int
) -> NDArray[np.float64]:
    """Rows at length 1, zero where the flag is not set; `start` is the first row's number."""
    length = lengths(rows)
    wrong = has & ~((length > 0) & np.isfinite(length))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ContractError(
            explain(
                f"{name} block, row {start + at}",
                expected="a finite vector that is not zero, as its flag is set",
                found=f"length {length[at]:g}",
                mend="clear the flag of videos without this block",
            )
        )
    return to_unit_length(np.where(has[:, None], rows, 0.0))
