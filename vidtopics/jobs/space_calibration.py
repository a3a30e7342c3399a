"""The space of topic representations, learned in an epoch's first training and then frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from producers.topics.calibration import Calibration, calibrate_space
from producers.topics.cross_fitting import cross_fitted_folds
from producers.topics.space import TopicSpace, mean_tag_block
from vidtopics.jobs.encodings import Encodings, take
from vidtopics.settings import Settings

if TYPE_CHECKING:
    from vidtopics.jobs.topic_blocks import TagBlocks

MOST_TRAINING_VIDEOS = 30_000
"""Of a calibration: with more, each half's 200 iterations see no video twice."""
AS_SET = "weights as set: tag block {tag:g}, joint block {joint:g}"
FINE_TUNED = "equal weights: fine-tuned encoders have seen every video that trains"


def learn_calibration(
    settings: Settings,
    videos: pa.Table,
    tags: pa.LargeListArray,
    encodings: Encodings,
    blocks: TagBlocks,
    trains: NDArray[np.bool_],
) -> Calibration:
    """The tag blocks' mean over videos that train, and both weights as set or as calibrated.

    Args:
        settings: the sections topics and content, and the seed.
        videos: content_hash, primary_classes and secondary_classes of N videos.
        tags: list<string>[N].
        encodings: of the same videos.
        blocks: likewise.
        trains: bool[N]; false: held out, the video takes no part.
    """
    topics = settings.topics
    rows = np.flatnonzero(trains)
    mean = np.zeros(blocks.tag.shape[1], np.float32)
    if topics.centre_tags:
        mean = mean_tag_block(blocks.tag[rows], blocks.has_tag[rows])
    if topics.tag_weight is not None:
        reason = AS_SET.format(tag=topics.tag_weight, joint=topics.joint_weight)
        return Calibration(TopicSpace(mean, topics.tag_weight, topics.joint_weight), (), reason)
    if settings.content.train_encoders:
        return Calibration(TopicSpace(mean), (), FINE_TUNED)
    if len(rows) > MOST_TRAINING_VIDEOS:
        rng = np.random.default_rng(settings.seed)
        rows = np.sort(rng.choice(rows, MOST_TRAINING_VIDEOS, replace=False))
    chosen = pa.array(rows)
    columns = (videos["primary_classes"], videos["secondary_classes"], tags)
    primary, secondary, names = (column.take(chosen).to_pylist() for column in columns)
    folds = cross_fitted_folds(
        take(encodings, rows),
        (primary, secondary, names),
        blocks.tag[rows],
        blocks.has_tag[rows],
        videos["content_hash"].take(chosen).to_pylist(),
        settings.content,
        seed=settings.seed,
    )
    return calibrate_space(folds, mean, seed=settings.seed)
