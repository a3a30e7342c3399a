"""What each table holds: one contract per Delta table, for producers and feature views alike.

A contract names a table's kind, key, columns, units and writer engine. Jobs are checked against it
when they publish; the feature views are made from it; nothing here needs more than the standard
library.

>>> VIDEO_TOPICS.key, VIDEO_TOPICS.kind, VIDEO_TOPICS.engine
(('video_id',), 'history', 'spark')
>>> [c.name for c in VIDEO_TOPICS.values]
['topic_ids', 'topic_weights', 'parent_topic_ids', 'topic_count', 'below_threshold', 'topic_epoch']
"""

from vidtopics.contracts.inputs import CLICKS, IMPRESSIONS, VIDEO_CATALOG, VIDEO_TAGS, rejected
from vidtopics.contracts.logbooks import DEAD_EVENTS, LOADS, RELEASES
from vidtopics.contracts.registry import (
    DERIVED,
    ENTITIES,
    INPUTS,
    LOGBOOKS,
    SERVICES,
    TABLES,
    VIEWS,
)
from vidtopics.contracts.table import (
    COMMIT_VERSION,
    CREATED_TIME,
    EVENT_TIME,
    MAX_ID_BYTES,
    PARTITION_DATE,
    PERSONAL,
    TOPIC_ID,
    TOPIC_SLOTS,
    USER_ID,
    VALUE_HASH,
    VIDEO_ID,
    Column,
    Engine,
    Kind,
    Table,
    Type,
    View,
    Wire,
)
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
    CATALOGUE,
    PARENT,
    TOPIC,
    TOPIC_QUEUES,
    USER_RECENT_CLICKS,
    USER_RECENT_SKIPS,
    USER_STATISTICS,
    USER_TOPIC_COUNTS,
    USER_TOPICS,
    VIDEO_COUNTS,
    VIDEO_STATISTICS,
)

__all__ = [
    "CATALOGUE",
    "CLICKS",
    "COMMIT_VERSION",
    "CREATED_TIME",
    "DEAD_EVENTS",
    "DERIVED",
    "ENTITIES",
    "EVENT_TIME",
    "IMPRESSIONS",
    "INPUTS",
    "LOADS",
    "LOGBOOKS",
    "MAX_ID_BYTES",
    "PARENT",
    "PARTITION_DATE",
    "PERSONAL",
    "RELEASES",
    "SERVICES",
    "TABLES",
    "TAG_COOCCURRENCE",
    "TAG_EMBEDDING",
    "TOPIC",
    "TOPICS",
    "TOPIC_ID",
    "TOPIC_QUEUES",
    "TOPIC_SLOTS",
    "USER_ID",
    "USER_RECENT_CLICKS",
    "USER_RECENT_SKIPS",
    "USER_STATISTICS",
    "USER_TOPICS",
    "USER_TOPIC_COUNTS",
    "VALUE_HASH",
    "VIDEO_CATALOG",
    "VIDEO_CONTENT_ENCODING",
    "VIDEO_COUNTS",
    "VIDEO_ID",
    "VIDEO_JOINT_REPRESENTATION",
    "VIDEO_STATISTICS",
    "VIDEO_TAGS",
    "VIDEO_TAG_EMBEDDING",
    "VIDEO_TOPICS",
    "VIEWS",
    "Column",
    "Engine",
    "Kind",
    "Table",
    "Type",
    "View",
    "Wire",
    "rejected",
]
