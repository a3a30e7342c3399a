"""What a training depends on: whether it would give a version again, and whether it goes on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from producers.content.weights import encoder_identity
from vidtopics.contracts import VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.jobs.content_training import joint_space
from vidtopics.jobs.job import Run, removals_due
from vidtopics.settings import Settings, digest
from vidtopics.source import source_hash
from vidtopics.topic_models import TopicModel, Version

CODE = (
    "vidtopics.jobs.training",
    "vidtopics.jobs.training_key",
    "vidtopics.jobs.tag_learning",
    "vidtopics.jobs.topic_rows",
    "vidtopics.jobs.content_training",
    "vidtopics.jobs.fine_tuning",
    "vidtopics.jobs.topic_blocks",
    "vidtopics.jobs.topic_learning",
    "vidtopics.jobs.space_calibration",
    "vidtopics.jobs.inputs",
    "vidtopics.jobs.encodings",
    "producers.content",
    "producers.tags",
    "producers.topics",
    "producers.unit_length",
)
"""Modules whose source a version depends on."""
INPUTS = (VIDEO_CATALOG, VIDEO_TAGS)
LIMITS = {"least_cosine", "most_below_threshold", "most_new_tags", "most_age"}
"""Settings of `topics` that say when a training is needed, and change nothing of what it gives."""


class Size(NamedTuple):
    """What a space is learned from: videos that train, and tags given to them."""

    videos: int
    tags: int


def learning_size(tags: pa.LargeListArray, trains: NDArray[np.bool_]) -> Size:
    """The size of a catalogue: tags list<string>[N], and which videos train, bool[N]."""
    given = pc.sum(pc.list_value_length(tags.filter(pa.array(trains)))).as_py()
    return Size(int(trains.sum()), given or 0)


def size_of(version: Version) -> Size:
    """What a version's space was learned from; no tags where it doesn't say."""
    numbers = version.numbers
    return Size(int(numbers["space_videos"]), int(numbers.get("space_tags", 0)))


def growth_of(version: Version, size: Size) -> float:
    """The greater of how many times the videos and the tags a catalogue has, of the version's."""
    return max(now / max(then, 1) for now, then in zip(size, size_of(version), strict=True))


def keeps_space(settings: Settings, previous: TopicModel | None, size: Size) -> bool:
    """Whether a training leaves joint model and known tags' vectors as they are in a version.

    `size`: what it would be learned from now.
    """
    if previous is None or previous.version.comparable != comparable(settings):
        return False
    return growth_of(previous.version, size) < settings.topics.relearn_growth


def comparable(settings: Settings) -> str:
    """Equal where topic IDs of two versions can be compared: same representations, same weights."""
    return digest(
        joint_space(settings.content),
        settings.topics.tag_weight,
        settings.topics.joint_weight,
        settings.topics.centre_tags,
        settings.tags.dimensions,
    )


def training_key(run: Run, previous: int) -> str:
    """Equal where a training would give the same version."""
    inputs: dict[str, int] = {}
    for table in INPUTS:
        inputs |= run.tables.input_versions(
            [table], as_of_us=run.as_of_us, known_by_us=run.known_by(table)
        )
    settings = run.settings
    return digest(
        inputs,
        previous,
        removals_due(run) if run.live else run.as_of_us,
        settings.content,
        settings.tags,
        settings.topics.model_dump(mode="json", exclude=LIMITS),
        settings.ingest.max_image_pixels,
        settings.seed,
        encoder_identity(settings.content),
        source_hash(*CODE),
    )


def is_current(run: Run, version: Version) -> bool:
    """Whether a training as of the run would give the version again."""
    same_time = version.live if run.live else version.as_of_us == run.as_of_us
    return same_time and version.key == training_key(run, version.previous)
