"""The topics that were planted in a world, as if a home had learned exactly these."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.ranking.problems import Source
from consumers.training.inputs import ViewRows
from vidtopics.contracts import TOPIC_SLOTS, VIDEO_TOPICS
from vidtopics.simulation.identifiers import numbered
from vidtopics.simulation.world import World
from vidtopics.tables.schemas import arrow_schema

EPOCH = 1


def planted_topics(world: World) -> tuple[pa.Table, int]:
    """Rows of the view `video_topics`, one for each video, and their epoch.

    A video has the one topic that it was made for; the parent is that topic's primary class.
    """
    topics = world.items.topic
    rows = pa.table(
        {
            "topic_ids": _slots(topics, -1),
            "topic_weights": _slots(np.ones(len(topics), np.float32), 0),
            "parent_topic_ids": _slots(world.classes.primary[topics], -1),
            "topic_count": np.ones(len(topics), np.int64),
            "below_threshold": np.zeros(len(topics), bool),
            "topic_epoch": np.full(len(topics), EPOCH),
        }
    )
    return rows.cast(arrow_schema(VIDEO_TOPICS, VIDEO_TOPICS.values)), EPOCH


def planted_source(source: Source, world: World) -> Source:
    """A home's rows with the planted topics, known from the first, instead of learned ones."""
    values, epoch = planted_topics(world)
    count = len(values)
    videos = _always(pa.table({"video_id": numbered("v", np.arange(count), count)}), values)
    centres = world.classes.centres.astype(np.float32)
    topics = _always(
        pa.table({"topic_id": np.arange(len(centres))}),
        pa.table(
            {
                "centroid": pa.array(list(centres)),
                "parent_topic_id": world.classes.primary,
                "topic_epoch": np.full(len(centres), epoch),
            }
        ),
    )
    views = {**source.inputs.views, VIDEO_TOPICS.name: videos}
    return replace(
        source.with_inputs(replace(source.inputs, views=views, topics=topics)),
        epoch=epoch,
    )


def _always(keys: pa.Table, values: pa.Table) -> ViewRows:
    zero = np.zeros(len(keys), np.int64)
    return ViewRows(keys, zero, zero, values)


def _slots(first: NDArray[Any], pad: float) -> pa.Array:
    """Lists of eight: a value, and padding."""
    slots = np.full((len(first), TOPIC_SLOTS), pad, first.dtype)
    slots[:, 0] = first
    return pa.FixedSizeListArray.from_arrays(pa.array(slots.ravel()), TOPIC_SLOTS)
