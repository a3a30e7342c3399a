"""Topic features of one epoch: IDs of two epochs must not meet (`docs/tables.md`, video_topics)."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.online import Features, Status

OTHER_EPOCH = "topics of another epoch"
CAUSES = {
    Status.NOT_FOUND: "not found",
    Status.NULL: "removed",
    Status.OUTSIDE_MAX_AGE: "too old",
    Status.UNREADABLE: "unreadable",
}


def of_epoch(topics: Features, epoch: int) -> Features:
    """The same rows; those of another epoch are UNREADABLE and hold each column's padding."""
    foreign = _foreign(topics, epoch)
    if not foreign.any():
        return topics
    columns = {name: values.copy() for name, values in topics.columns.items()}
    for name, values in columns.items():
        values[foreign] = VIDEO_TOPICS.column(name).pad or 0
    status = np.where(foreign, np.uint8(Status.UNREADABLE), topics.status)
    return replace(
        topics,
        status=status,
        columns=columns,
        null={n: rows | foreign for n, rows in topics.null.items()},
    )


def first_rows(features: Features, count: int) -> Features:
    """The first rows."""
    return replace(
        features,
        status=features.status[:count],
        event_us=features.event_us[:count],
        created_us=features.created_us[:count],
        columns={name: values[:count] for name, values in features.columns.items()},
        null={name: rows[:count] for name, rows in features.null.items()},
    )


def left_out(topics: Features, epoch: int) -> dict[str, int]:
    """Rows without features of that epoch, by cause; causes without rows are not named."""
    rows = {cause: topics.status == status for status, cause in CAUSES.items()}
    rows[OTHER_EPOCH] = _foreign(topics, epoch)
    return {cause: int(members.sum()) for cause, members in rows.items() if members.any()}


def _foreign(topics: Features, epoch: int) -> NDArray[np.bool_]:
    foreign: NDArray[np.bool_] = topics.present & (_epochs(topics) != epoch)
    return foreign


def _epochs(topics: Features) -> NDArray[np.int64]:
    return cast("NDArray[np.int64]", topics["topic_epoch"])
