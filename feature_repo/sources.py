"""The Delta tables behind the views; their paths lie below `offline_store.root`."""

from feast import FileSource
from feast.data_format import DeltaFormat

video_tag_embedding_source = FileSource(
    name="video_tag_embedding",
    path="video_tag_embedding",
    file_format=DeltaFormat(),
    timestamp_field="event_timestamp",
    created_timestamp_column="created_timestamp",
    description="mean of a video's tag vectors (Eq. 4)",
)

video_joint_representation_source = FileSource(
    name="video_joint_representation",
    path="video_joint_representation",
    file_format=DeltaFormat(),
    timestamp_field="event_timestamp",
    created_timestamp_column="created_timestamp",
    description="z: cover and title as they enter the MMoE's experts (Eq. 1)",
)

video_topics_source = FileSource(
    name="video_topics",
    path="video_topics",
    file_format=DeltaFormat(),
    timestamp_field="event_timestamp",
    created_timestamp_column="created_timestamp",
    description="the 8-slot topic ID feature",
)

video_statistics_source = FileSource(
    name="video_statistics",
    path="video_statistics",
    file_format=DeltaFormat(),
    timestamp_field="event_timestamp",
    created_timestamp_column="created_timestamp",
    description="exposures and clicks before the as-of time",
)

user_statistics_source = FileSource(
    name="user_statistics",
    path="user_statistics",
    file_format=DeltaFormat(),
    timestamp_field="event_timestamp",
    created_timestamp_column="created_timestamp",
    description="how much each user was shown and clicked, and how much was to be expected",
)

user_topics_source = FileSource(
    name="user_topics",
    path="user_topics",
    file_format=DeltaFormat(),
    timestamp_field="event_timestamp",
    created_timestamp_column="created_timestamp",
    description="the topics and parent topics that each user met most of late",
)

user_recent_skips_source = FileSource(
    name="user_recent_skips",
    path="user_recent_skips",
    file_format=DeltaFormat(),
    timestamp_field="event_timestamp",
    created_timestamp_column="created_timestamp",
    description="each user's latest impressions that no click is known of",
)

user_recent_clicks_source = FileSource(
    name="user_recent_clicks",
    path="user_recent_clicks",
    file_format=DeltaFormat(),
    timestamp_field="event_timestamp",
    created_timestamp_column="created_timestamp",
    description="each user's latest clicked videos, as recall reads them",
)
