"""Representations of videos and tags, and their topics."""

from __future__ import annotations

from vidtopics.contracts.table import TOPIC_ID, TOPIC_SLOTS, VIDEO_ID, Column, Table, View

VIDEO_CONTENT_ENCODING = Table(
    "video_content_encoding",
    "log",
    ("content_hash", "encoder"),
    engine="deltalake",
    doc="outputs of the frozen encoders, computed once per content",
    columns=(
        Column("content_hash", "string", "hash of cover bytes and title"),
        Column("encoder", "string", "both encoders' names and weights hashes"),
        Column("image_encoding", "list<float32>", "f_C(x_I), pooled", width="image_width"),
        Column("title_encoding", "list<float32>", "f_T(x_W), pooled", width="title_width"),
        Column("has_image", "bool", "false: no readable cover, the block is zero"),
        Column("has_title", "bool", "false: no title, the block is zero"),
    ),
)

TAG_COOCCURRENCE = Table(
    "tag_cooccurrence",
    "snapshot",
    ("tag_a", "tag_b"),
    engine="spark",
    doc="the tag graph, each edge once (tag_a < tag_b)",
    columns=(
        Column("tag_a", "string", "a tag"),
        Column("tag_b", "string", "another, later in byte order"),
        Column("videos", "int64", "videos with both tags: x_e", unit="videos"),
        Column("probability", "float64", "x_e over the sum of all edges (Eq. 3)"),
    ),
)

TAG_EMBEDDING = Table(
    "tag_embedding",
    "history",
    ("tag",),
    engine="deltalake",
    doc="skip-gram vectors of tags over walks on the tag graph (III-A2)",
    columns=(
        Column("tag", "string", "the tag"),
        Column("tag_vector", "list<float32>", "e_j, as skip-gram gives it", width="tag_width"),
        Column(
            "video_count",
            "int64",
            "videos that carried the tag when its vector was made",
            unit="videos",
        ),
        Column(
            "component", "int64", "connected component of the tag graph, numbered by falling size"
        ),
    ),
)

VIDEO_TAG_EMBEDDING = Table(
    "video_tag_embedding",
    "history",
    ("video_id",),
    engine="spark",
    view=View("video", vectors=True),
    doc="mean of a video's tag vectors (Eq. 4)",
    columns=(
        VIDEO_ID,
        Column(
            "tag_embedding",
            "list<float32>",
            "mean of tag vectors, length 1; zero without tags",
            width="tag_width",
        ),
        Column("tag_count", "int64", "tags with a vector; 0 marks a zero vector", unit="tags"),
    ),
    unit_norm={"tag_embedding": "tag_count"},
)

VIDEO_JOINT_REPRESENTATION = Table(
    "video_joint_representation",
    "history",
    ("video_id",),
    engine="deltalake",
    view=View("video", vectors=True),
    doc="z: cover and title as they enter the MMoE's experts (Eq. 1)",
    columns=(
        VIDEO_ID,
        Column(
            "joint_embedding",
            "list<float32>",
            "z, length 1; zero without cover and title",
            width="joint_width",
        ),
        Column(
            "content_blocks",
            "int64",
            "bit 0: has a cover, bit 1: has a title; 0 marks a zero vector",
        ),
        Column("encoder_version", "string", "hash of the weights that made it"),
    ),
    provenance=("encoder_version",),
    unit_norm={"joint_embedding": "content_blocks"},
)

TOPICS = Table(
    "topics",
    "history",
    ("topic_id",),
    engine="deltalake",
    doc="cluster centres of topic representations (III-A3)",
    columns=(
        TOPIC_ID,
        Column(
            "centroid", "list<float32>", "centre of a = [tag, joint], length 1", width="topic_width"
        ),
        Column("size", "int64", "videos whose nearest centre it was at training", unit="videos"),
        Column("label_terms", "list<string>", "terms that set the topic apart, best first"),
        Column("topic_epoch", "int64", "IDs are comparable within one epoch"),
        Column("born", "timestamp", "as-of date of its first training"),
        Column(
            "retired", "timestamp", "as-of date of the training that found it empty", optional=True
        ),
        Column("split_from", "int64", "the topic that it was a part of; 0: none", optional=True),
        Column("parent_topic_id", "int64", "the group of topics that it is in", optional=True),
        Column(
            "parent_label_terms", "list<string>", "terms that set that group apart", optional=True
        ),
    ),
    unit_norm={"centroid": None},
)

VIDEO_TOPICS = Table(
    "video_topics",
    "history",
    ("video_id",),
    engine="spark",
    view=View("video"),
    doc="the 8-slot topic ID feature",
    columns=(
        VIDEO_ID,
        Column(
            "topic_ids",
            "list<int64>",
            "topics by falling weight",
            width=TOPIC_SLOTS,
            pad=-1,
            wire="int32",
        ),
        Column(
            "topic_weights",
            "list<float32>",
            "cosine to each topic's centroid",
            width=TOPIC_SLOTS,
            pad=0,
        ),
        Column(
            "parent_topic_ids",
            "list<int64>",
            "the group of each topic, slot by slot",
            width=TOPIC_SLOTS,
            pad=-1,
            wire="int32",
        ),
        Column("topic_count", "int64", "slots in use", unit="topics", wire="int8"),
        Column(
            "below_threshold",
            "bool",
            "true: no centroid within the threshold, the nearest is given",
        ),
        Column("topic_epoch", "int64", "IDs are comparable within one epoch", wire="int32"),
    ),
)
