"""The topic representation of a video, a = [tag, joint] (paper, III-A3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.unit_length import lengths, to_unit_length
from vidtopics.errors import ContractError, explain


class Representation(NamedTuple):
    """float32[N, d_tag + d_joint] of length 1, and bool[N]: false for zero rows."""

    a: NDArray[np.float32]
    present: NDArray[np.bool_]


def topic_representation(
    tag: NDArray[np.float32],
    joint: NDArray[np.float32],
    *,
    has_tag: NDArray[np.bool_],
    has_joint: NDArray[np.bool_],
    tag_weight: float = 1.0,
    joint_weight: float = 1.0,
) -> Representation:
    """Join tag embedding and joint representation so that both count by their weights alone.

    Each block is brought to length 1, weighted, joined, and the whole brought to length 1. The
    paper's one L2 normalisation of the whole can't make blocks of different lengths "contribute the
    same amount"; normalising each does. A missing block is zero and the other one fills the length.
    With equal weights the cosine of two whole videos is the mean of their tag cosine and their
    joint cosine.

    Args:
        tag: float32[N, d_tag], e-bar of Eq. 4.
        joint: float32[N, d_joint], z of Eq. 1.
        has_tag: bool[N]; false: the video has no tag with a vector, its block counts as zero.
        has_joint: bool[N]; false: it has neither cover nor title.
        tag_weight: weight of the tag block, at least 0; the ratio of the two alone counts.
        joint_weight: weight of the joint block, at least 0.

    Raises:
        ContractError: a block that is said to be there is zero or not finite.

    >>> tag = np.array([[5, 0], [0, 0]], np.float32)
    >>> joint = np.array([[0, 0.1], [0, 7]], np.float32)
    >>> has_tag, has_joint = np.array([True, False]), np.array([True, True])
    >>> rows = topic_representation(tag, joint, has_tag=has_tag, has_joint=has_joint).a
    >>> rows.astype(float).round(4).tolist()
    [[0.7071, 0.0, 0.0, 0.7071], [0.0, 0.0, 0.0, 1.0]]
    """
    scale = max(tag_weight, joint_weight) or 1.0  # squares of 1e200 overflow
    blocks = [
        _unit_block(tag, has_tag, "tag") * (tag_weight / scale),
        _unit_block(joint, has_joint, "joint") * (joint_weight / scale),
    ]
    a = np.concatenate(blocks, axis=1)
    return Representation(to_unit_length(a).astype(np.float32), lengths(a) > 0)


def _unit_block(
    rows: NDArray[np.float32], has: NDArray[np.bool_], name: str
) -> NDArray[np.float64]:
    length = lengths(rows)
    wrong = has & ~((length > 0) & np.isfinite(length))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ContractError(
            explain(
                f"{name} block, row {at}",
                expected="a finite vector that is not zero, as its flag says it is there",
                found=f"length {length[at]:g}",
                mend="clear the flag of videos without this block",
            )
        )
    return to_unit_length(np.where(has[:, None], rows, 0.0))
