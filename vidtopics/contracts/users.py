"""What videos and users have seen of each other, and the queues that recall reads."""

from __future__ import annotations

from vidtopics.contracts.table import USER_ID, VIDEO_ID, Column, Table, View

_COUNTS = (
    VIDEO_ID,
    Column(
        "video_exposures",
        "int64",
        "impressions strictly before the as-of time",
        unit="impressions",
    ),
    Column("video_clicks", "int64", "clicks strictly before the as-of time", unit="clicks"),
    Column(
        "video_decayed_exposures",
        "float32",
        "those impressions, each halved per `statistics.half_life` until video_decayed_at",
        unit="impressions",
        optional=True,
    ),
    Column("video_decayed_clicks", "float32", "clicks, likewise", unit="clicks", optional=True),
    Column(
        "video_decayed_at",
        "int64",
        "the video's last event, in microseconds since 1970; null, as the decayed counts are: "
        "never shown",
        unit="us",
        optional=True,
    ),
)

VIDEO_COUNTS = Table(
    "video_counts",
    "history",
    ("video_id",),
    engine="spark",
    doc="exposures and clicks of every video in the log, also of removed ones",
    columns=_COUNTS,
)

VIDEO_STATISTICS = Table(
    "video_statistics",
    "history",
    ("video_id",),
    engine="spark",
    view=View("video"),
    doc="exposures and clicks before the as-of time",
    columns=_COUNTS,
)

USER_STATISTICS = Table(
    "user_statistics",
    "history",
    ("user_id",),
    engine="spark",
    view=View("user"),
    doc="how much each user was shown and clicked, and how much was to be expected",
    columns=(
        USER_ID,
        Column("user_exposures", "int64", "impressions before the as-of time", unit="impressions"),
        Column("user_clicks", "int64", "clicks before the as-of time", unit="clicks"),
        Column(
            "user_expected_clicks",
            "float32",
            "sum over those impressions of the video's smoothed click-through rate at the start "
            "of the impression's day",
            unit="clicks",
        ),
        Column(
            "user_decayed_exposures",
            "float32",
            "impressions, each halved per `users.half_life` until user_decayed_at",
            unit="impressions",
        ),
        Column("user_decayed_clicks", "float32", "clicks, likewise", unit="clicks"),
        Column("user_decayed_expected", "float32", "expected clicks, likewise", unit="clicks"),
        Column(
            "user_decayed_at",
            "int64",
            "the user's last event, in microseconds since 1970",
            unit="us",
        ),
    ),
)

USER_TOPIC_COUNTS = Table(
    "user_topic_counts",
    "history",
    ("user_id",),
    engine="spark",
    doc="every topic that each user met: what `user_topics` is chosen from",
    columns=(
        USER_ID,
        Column("met_topic_ids", "list<int64>", "topics of the videos that were shown, ascending"),
        Column(
            "met_exposures",
            "list<float32>",
            "impressions; one counts in each of its video's topics with that topic's share of the "
            "weights",
            unit="impressions",
        ),
        Column("met_clicks", "list<float32>", "clicks, likewise", unit="clicks"),
        Column("met_expected", "list<float32>", "expected clicks, likewise", unit="clicks"),
        Column(
            "met_decayed",
            "list<float32>",
            "met_exposures, each halved per `users.half_life` until met_decayed_at",
            unit="impressions",
        ),
        Column(
            "met_decayed_at",
            "int64",
            "the user's last event with a topic, in microseconds since 1970",
            unit="us",
        ),
        Column("met_epoch", "int64", "IDs are comparable within one epoch"),
    ),
)

USER_TOPICS = Table(
    "user_topics",
    "history",
    ("user_id",),
    engine="spark",
    view=View("user"),
    doc="the topics and parent topics that each user met most of late",
    columns=(
        USER_ID,
        Column(
            "user_topic_ids",
            "list<int64>",
            "topics by falling decayed exposures; `users.topics` (64) at most",
            wire="int32",
        ),
        Column(
            "user_topic_exposures",
            "list<float32>",
            "impressions in each topic, by its share of the video's weights",
            unit="impressions",
        ),
        Column("user_topic_clicks", "list<float32>", "clicks, likewise", unit="clicks"),
        Column("user_topic_expected", "list<float32>", "expected clicks, likewise", unit="clicks"),
        Column(
            "user_parent_ids",
            "list<int64>",
            "parent topics by falling decayed exposures; `users.parents` (16) at most",
            wire="int32",
        ),
        Column(
            "user_parent_exposures",
            "list<float32>",
            "sums over all topics of a parent that the user met",
            unit="impressions",
        ),
        Column("user_parent_clicks", "list<float32>", "likewise", unit="clicks"),
        Column("user_parent_expected", "list<float32>", "likewise", unit="clicks"),
        Column("user_topic_epoch", "int64", "IDs are comparable within one epoch", wire="int32"),
    ),
)

USER_RECENT_CLICKS = Table(
    "user_recent_clicks",
    "history",
    ("user_id",),
    engine="spark",
    view=View("user"),
    doc="each user's latest clicked videos, as recall reads them",
    columns=(
        USER_ID,
        Column(
            "recent_video_ids",
            "list<string>",
            "clicked videos, newest first, each once at its last click; N_1 (128) at most",
        ),
        Column(
            "recent_times", "list<int64>", "those clicks, in microseconds since 1970", unit="us"
        ),
        Column(
            "recent_watch_seconds", "list<float32>", "watch time; -1: none was delivered", unit="s"
        ),
    ),
)

USER_RECENT_SKIPS = Table(
    "user_recent_skips",
    "history",
    ("user_id",),
    engine="spark",
    view=View("user"),
    doc="each user's latest impressions that no click is known of",
    columns=(
        USER_ID,
        Column(
            "skipped_video_ids",
            "list<string>",
            "the video of each impression, newest first; N_1 (128) at most",
        ),
        Column(
            "skipped_times",
            "list<int64>",
            "when it was shown, in microseconds since 1970",
            unit="us",
        ),
        Column(
            "skipped_positions",
            "list<int64>",
            "rank in the refresh, first is 1; -1: none was delivered",
            wire="int32",
        ),
    ),
)

TOPIC, PARENT, CATALOGUE = "topic", "parent", "catalogue"
"""Levels of queues: of a topic, of a parent topic, of all videos."""

TOPIC_QUEUES = Table(
    "topic_queues",
    "snapshot",
    ("queue_level", "topic_id", "video_id"),
    engine="spark",
    doc="the candidates of each topic, parent topic and of the catalogue, in order (III-B1)",
    columns=(
        Column("queue_level", "string", "topic, parent or catalogue: what the queue is of"),
        Column("topic_id", "int64", "the topic; the parent topic; 0 for the catalogue"),
        VIDEO_ID,
        Column("queue_position", "int64", "1 is the first; fresh videos stand behind the others"),
        Column("queue_ctr", "float64", "the smoothed click-through rate"),
        Column("queue_exposures", "int64", "impressions before the as-of time", unit="impressions"),
        Column(
            "queue_clicks",
            "float32",
            "clicks before it, each halved per `statistics.half_life`",
            unit="clicks",
        ),
        Column("fresh", "bool", "true: young, with exposures below tau_1; requests draw from them"),
        Column("topic_epoch", "int64", "IDs are comparable within one epoch"),
    ),
)
