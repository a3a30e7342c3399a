"""What a topic model version holds: plain arrays and Arrow tables, and a manifest about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Version:
    """The manifest of a version.

    Attributes:
        as_of_us: what it was trained from holds as of this time.
        created_us: from when it counts as known; of a backfill the as-of time and its delay.
        trained_us: when it was trained, by the clock.
        previous: the version that it went on from; 0: none.
        key: equal where training would give the same; inputs, code, settings and `previous`.
        encoder: identity of the encoders whose outputs the joint model reads.
        comparable: equal where two versions' representations, and so topic IDs, are comparable.
        settings: the sections that it was trained with (`content`, `tags`, `topics`), and the seed.
        epoch: topic IDs are comparable within one epoch.
        next_topic_id: above every topic ID that this version and those before ever gave.
        shape: how the joint model is built.
        numbers: block weights and thresholds.
        evaluation: figures of the training (losses, topics per video, calibration).
        left_out: what it could not learn, and why.
        number: 1, 2, 3, ...; given when it is saved, as is `files`.
        files: SHA-256 of each file, by its path in the version's folder.
    """

    as_of_us: int
    created_us: int
    trained_us: int
    live: bool
    previous: int
    key: str
    encoder: str
    comparable: str
    settings: Mapping[str, Any]
    epoch: int
    next_topic_id: int
    shape: Mapping[str, Any]
    numbers: Mapping[str, float]
    evaluation: Mapping[str, Any]
    left_out: Sequence[str] = ()
    number: int = 0
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def weights(self) -> str:
        """Hash of the joint model's tensors: what made a representation."""
        return self.files[JOINT]


@dataclass(frozen=True, eq=False)
class TopicModel:
    """A version with its contents.

    Attributes:
        version: its manifest.
        joint: the joint model's tensors by name.
        arrays: further arrays by name; `tag_mean` float32[d].
        tags: the tag space, rows of the table `tag_embedding` as of the training.
        topics: rows of the table `topics`, those retired by this training among them.
    """

    version: Version
    joint: Arrays
    arrays: Arrays
    tags: pa.Table
    topics: pa.Table


JOINT, ARRAYS, TAGS, TOPICS = (
    "joint.safetensors",
    "arrays.safetensors",
    "tags.arrow",
    "topics.arrow",
)
"""The files of a version; `encoders/` beside them where the encoders were trained too."""
