"""Features of videos and users; `tests/feast/test_feature_repo.py` holds each to its contract."""

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Array, Bool, Float32, Int64, String

from feature_repo.entities import user, video
from feature_repo.sources import (
    user_recent_clicks_source,
    user_recent_skips_source,
    user_statistics_source,
    user_topics_source,
    video_joint_representation_source,
    video_statistics_source,
    video_tag_embedding_source,
    video_topics_source,
)

# A field's tags tell the online store more than its type: `width` of a list (a number of slots, or
# `vector`: as wide as the rows are), `pad` of unused slots, `wire`: the narrower type of numbers.

video_tag_embedding = FeatureView(
    name="video_tag_embedding",
    description="mean of a video's tag vectors (Eq. 4)",
    entities=[video],
    source=video_tag_embedding_source,
    ttl=timedelta(0),
    online=True,
    schema=[
        Field(name="video_id", dtype=String),
        Field(
            name="tag_embedding",
            dtype=Array(Float32),
            description="mean of tag vectors, length 1; zero without tags",
            tags={"width": "vector"},
            vector_index=True,
            vector_search_metric="cosine",
        ),
        Field(
            name="tag_count",
            dtype=Int64,
            description="tags with a vector; 0 marks a zero vector",
        ),
    ],
)

video_joint_representation = FeatureView(
    name="video_joint_representation",
    description="z: cover and title as they enter the MMoE's experts (Eq. 1)",
    entities=[video],
    source=video_joint_representation_source,
    ttl=timedelta(0),
    online=True,
    schema=[
        Field(name="video_id", dtype=String),
        Field(
            name="joint_embedding",
            dtype=Array(Float32),
            description="z, length 1; zero without cover and title",
            tags={"width": "vector"},
            vector_index=True,
            vector_search_metric="cosine",
        ),
        Field(
            name="content_blocks",
            dtype=Int64,
            description="bit 0: has a cover, bit 1: has a title; 0 marks a zero vector",
        ),
        Field(
            name="encoder_version",
            dtype=String,
            description="hash of the weights that made it",
        ),
    ],
)

video_topics = FeatureView(
    name="video_topics",
    description="the 8-slot topic ID feature",
    entities=[video],
    source=video_topics_source,
    ttl=timedelta(0),
    online=True,
    schema=[
        Field(name="video_id", dtype=String),
        Field(
            name="topic_ids",
            dtype=Array(Int64),
            description="topics by falling weight",
            tags={"wire": "int32", "pad": "-1", "width": "8"},
        ),
        Field(
            name="topic_weights",
            dtype=Array(Float32),
            description="cosine to each topic's centroid",
            tags={"pad": "0", "width": "8"},
        ),
        Field(
            name="parent_topic_ids",
            dtype=Array(Int64),
            description="the group of each topic, slot by slot",
            tags={"wire": "int32", "pad": "-1", "width": "8"},
        ),
        Field(
            name="topic_count",
            dtype=Int64,
            description="slots in use",
            tags={"wire": "int8"},
        ),
        Field(
            name="below_threshold",
            dtype=Bool,
            description="true: no centroid within the threshold, the nearest is given",
        ),
        Field(
            name="topic_epoch",
            dtype=Int64,
            description="IDs are comparable within one epoch",
            tags={"wire": "int32"},
        ),
    ],
)

video_statistics = FeatureView(
    name="video_statistics",
    description="exposures and clicks before the as-of time",
    entities=[video],
    source=video_statistics_source,
    ttl=timedelta(0),
    online=True,
    schema=[
        Field(name="video_id", dtype=String),
        Field(
            name="video_exposures",
            dtype=Int64,
            description="impressions strictly before the as-of time",
        ),
        Field(
            name="video_clicks",
            dtype=Int64,
            description="clicks strictly before the as-of time",
        ),
        Field(
            name="video_decayed_exposures",
            dtype=Float32,
            description="those impressions, each halved per `statistics.half_life` until "
            "video_decayed_at",
        ),
        Field(
            name="video_decayed_clicks",
            dtype=Float32,
            description="clicks, likewise",
        ),
        Field(
            name="video_decayed_at",
            dtype=Int64,
            description="the video's last event, in microseconds since 1970; null, as the decayed "
            "counts are: never shown",
        ),
    ],
)

user_statistics = FeatureView(
    name="user_statistics",
    description="how much each user was shown and clicked, and how much was to be expected",
    entities=[user],
    source=user_statistics_source,
    ttl=timedelta(0),
    online=True,
    schema=[
        Field(name="user_id", dtype=String),
        Field(
            name="user_exposures",
            dtype=Int64,
            description="impressions before the as-of time",
        ),
        Field(
            name="user_clicks",
            dtype=Int64,
            description="clicks before the as-of time",
        ),
        Field(
            name="user_expected_clicks",
            dtype=Float32,
            description="sum over those impressions of the video's smoothed click-through rate at "
            "the start of the impression's day",
        ),
        Field(
            name="user_decayed_exposures",
            dtype=Float32,
            description="impressions, each halved per `users.half_life` until user_decayed_at",
        ),
        Field(
            name="user_decayed_clicks",
            dtype=Float32,
            description="clicks, likewise",
        ),
        Field(
            name="user_decayed_expected",
            dtype=Float32,
            description="expected clicks, likewise",
        ),
        Field(
            name="user_decayed_at",
            dtype=Int64,
            description="the user's last event, in microseconds since 1970",
        ),
    ],
)

user_topics = FeatureView(
    name="user_topics",
    description="the topics and parent topics that each user met most of late",
    entities=[user],
    source=user_topics_source,
    ttl=timedelta(0),
    online=True,
    schema=[
        Field(name="user_id", dtype=String),
        Field(
            name="user_topic_ids",
            dtype=Array(Int64),
            description="topics by falling decayed exposures; `users.topics` (64) at most",
            tags={"wire": "int32"},
        ),
        Field(
            name="user_topic_exposures",
            dtype=Array(Float32),
            description="impressions in each topic, by its share of the video's weights",
        ),
        Field(
            name="user_topic_clicks",
            dtype=Array(Float32),
            description="clicks, likewise",
        ),
        Field(
            name="user_topic_expected",
            dtype=Array(Float32),
            description="expected clicks, likewise",
        ),
        Field(
            name="user_parent_ids",
            dtype=Array(Int64),
            description="parent topics by falling decayed exposures; `users.parents` (16) at most",
            tags={"wire": "int32"},
        ),
        Field(
            name="user_parent_exposures",
            dtype=Array(Float32),
            description="sums over all topics of a parent that the user met",
        ),
        Field(
            name="user_parent_clicks",
            dtype=Array(Float32),
            description="likewise",
        ),
        Field(
            name="user_parent_expected",
            dtype=Array(Float32),
            description="likewise",
        ),
        Field(
            name="user_topic_epoch",
            dtype=Int64,
            description="IDs are comparable within one epoch",
            tags={"wire": "int32"},
        ),
    ],
)

user_recent_skips = FeatureView(
    name="user_recent_skips",
    description="each user's latest impressions that no click is known of",
    entities=[user],
    source=user_recent_skips_source,
    ttl=timedelta(0),
    online=True,
    schema=[
        Field(name="user_id", dtype=String),
        Field(
            name="skipped_video_ids",
            dtype=Array(String),
            description="the video of each impression, newest first; N_1 (128) at most",
        ),
        Field(
            name="skipped_times",
            dtype=Array(Int64),
            description="when it was shown, in microseconds since 1970",
        ),
        Field(
            name="skipped_positions",
            dtype=Array(Int64),
            description="rank in the refresh, first is 1; -1: none was delivered",
            tags={"wire": "int32"},
        ),
    ],
)

user_recent_clicks = FeatureView(
    name="user_recent_clicks",
    description="each user's latest clicked videos, as recall reads them",
    entities=[user],
    source=user_recent_clicks_source,
    ttl=timedelta(0),
    online=True,
    schema=[
        Field(name="user_id", dtype=String),
        Field(
            name="recent_video_ids",
            dtype=Array(String),
            description="clicked videos, newest first, each once at its last click; N_1 (128) "
            "at most",
        ),
        Field(
            name="recent_times",
            dtype=Array(Int64),
            description="those clicks, in microseconds since 1970",
        ),
        Field(
            name="recent_watch_seconds",
            dtype=Array(Float32),
            description="watch time; -1: none was delivered",
        ),
    ],
)
