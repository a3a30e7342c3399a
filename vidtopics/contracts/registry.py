"""All tables, views and services by name."""

from __future__ import annotations

from collections.abc import Mapping

from vidtopics.contracts.inputs import CLICKS, IMPRESSIONS, VIDEO_CATALOG, VIDEO_TAGS, rejected
from vidtopics.contracts.logbooks import DEAD_EVENTS, LOADS, RELEASES
from vidtopics.contracts.table import USER_ID, VIDEO_ID, Column, Table
from vidtopics.contracts.topics import (
    TAG_COOCCURRENCE,
    TAG_EMBEDDING,
    TOPICS,
    VIDEO_CONTENT_ENCODING,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAG_EMBEDDING,
    VIDEO_TOPICS,
)
from vidtopics.contracts.users import (
    TOPIC_QUEUES,
    USER_RECENT_CLICKS,
    USER_RECENT_SKIPS,
    USER_STATISTICS,
    USER_TOPIC_COUNTS,
    USER_TOPICS,
    VIDEO_COUNTS,
    VIDEO_STATISTICS,
)

INPUTS = (VIDEO_CATALOG, VIDEO_TAGS, IMPRESSIONS, CLICKS)

DERIVED = (
    VIDEO_CONTENT_ENCODING,
    TAG_COOCCURRENCE,
    TAG_EMBEDDING,
    VIDEO_TAG_EMBEDDING,
    VIDEO_JOINT_REPRESENTATION,
    TOPICS,
    VIDEO_TOPICS,
    VIDEO_COUNTS,
    VIDEO_STATISTICS,
    USER_STATISTICS,
    USER_TOPIC_COUNTS,
    USER_TOPICS,
    USER_RECENT_CLICKS,
    USER_RECENT_SKIPS,
    TOPIC_QUEUES,
)

LOGBOOKS = (RELEASES, LOADS, DEAD_EVENTS)
"""What was released, loaded and refused of events; no release names their versions."""
TABLES: Mapping[str, Table] = {
    t.name: t for t in (*INPUTS, *(rejected(t) for t in INPUTS), *DERIVED, *LOGBOOKS)
}
ENTITIES: Mapping[str, Column] = {"video": VIDEO_ID, "user": USER_ID}
VIEWS: Mapping[str, Table] = {t.name: t for t in DERIVED if t.view}

_RANKING_V2 = (
    VIDEO_TOPICS,
    VIDEO_STATISTICS,
    USER_STATISTICS,
    USER_TOPICS,
    USER_RECENT_CLICKS,
    USER_RECENT_SKIPS,
)

SERVICES: Mapping[str, tuple[Table, ...]] = {
    "recall_v1": (VIDEO_TOPICS,),
    "ranking_v1": (VIDEO_TOPICS, VIDEO_STATISTICS),
    "training_v1": (VIDEO_TOPICS, VIDEO_STATISTICS),
    "ranking_v2": _RANKING_V2,
    "training_v2": _RANKING_V2,
}
"""Which views each consumer reads together; training is exactly ranking."""
