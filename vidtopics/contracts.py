"""What each table holds: one contract per Delta table, for producers and feature views alike.

A contract names a table's kind, key, columns, units and writer engine. Jobs are checked against it
when they publish; the feature views are made from it; nothing here needs more than the standard
library.

>>> VIDEO_TOPICS.key, VIDEO_TOPICS.kind, VIDEO_TOPICS.engine
(('video_id',), 'history', 'spark')
>>> [c.name for c in VIDEO_TOPICS.values]
['topic_ids', 'topic_weights', 'parent_topic_ids', 'topic_count', 'below_threshold', 'topic_epoch']
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

Type = Literal[
    "string",
    "int64",
    "int32",
    "float32",
    "float64",
    "bool",
    "timestamp",
    "date",
    "list<string>",
    "list<int64>",
    "list<float32>",
    "map<string,int64>",
    "map<string,float64>",
    "map<string,string>",
]
Wire = Literal["int8", "int16", "int32", "float16"]
Kind = Literal["history", "log", "snapshot"]
Engine = Literal["spark", "deltalake"]

TOPIC_SLOTS = 8  # paper, IV-D: topic features have 8 dimensions
MAX_ID_BYTES = 128
EVENT_TIME = "event_timestamp"
CREATED_TIME = "created_timestamp"
VALUE_HASH = "value_hash"
PARTITION_DATE = "partition_date"
COMMIT_VERSION = "commit_version"


@dataclass(frozen=True)
class Column:
    """One column: its name, type, width (lists), unit and meaning.

    `width` is a number, or the name of a setting that gives it (`tag_width`, `joint_width`,
    `topic_width`). `pad` fills unused slots of a fixed-width list. `optional` columns may be null
    in a row that is no tombstone. `wire` is the narrower type that an online store keeps; a value
    that doesn't fit is refused, never wrapped.
    """

    name: str
    type: Type
    doc: str
    width: int | str | None = None
    unit: str = ""
    pad: float | None = None
    optional: bool = False
    wire: Wire | None = None


@dataclass(frozen=True)
class View:
    """How a history table is served as a Feast feature view.

    `ttl` zero: a value holds until the next row.
    """

    entity: str
    ttl: timedelta = timedelta(0)
    vectors: bool = False


@dataclass(frozen=True)
class Table:
    """The contract of one Delta table.

    * `history`: append-only, key (`key`, event time, created time); a row is written where the
      value changed.
    * `log`: append-only events, unique by `key`.
    * `snapshot`: replaced as a whole by each run.

    `provenance` names columns that say how a value came about; they don't count as a change of
    value. `unit_norm` maps a vector column to the column that is zero (or false) where the vector
    may be zero; all other vectors of that column have length 1.

    `by_day`: a log that is partitioned by the UTC day of its events.
    """

    name: str
    kind: Kind
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    engine: Engine
    doc: str
    view: View | None = None
    provenance: tuple[str, ...] = ()
    unit_norm: Mapping[str, str | None] = field(default_factory=dict)
    by_day: bool = False

    @property
    def values(self) -> tuple[Column, ...]:
        """The columns that are features or facts: neither key nor time."""
        return tuple(c for c in self.columns if c.name not in self.key)

    @property
    def hashed(self) -> tuple[Column, ...]:
        """The columns whose change makes a new row in a history table."""
        return tuple(c for c in self.values if c.name not in self.provenance)

    @property
    def timed_columns(self) -> tuple[Column, ...]:
        """Key, values and both times: what rows are delivered with."""
        return (
            *self.columns,
            Column(EVENT_TIME, "timestamp", "from when the row holds"),
            Column(CREATED_TIME, "timestamp", "when the row became known"),
        )

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The columns of the Delta table, in its order: the above, and what publishing adds."""
        extra: tuple[Column, ...] = ()
        if self.kind == "history":
            extra = (Column(VALUE_HASH, "int64", "hash of the value columns; 0 marks a tombstone"),)
        if self.by_day:
            extra = (
                Column(PARTITION_DATE, "date", "the partition: no event of it is earlier"),
                Column(COMMIT_VERSION, "int64", "version of the table that brought the row"),
            )
        return self.timed_columns + extra

    def column(self, name: str) -> Column:
        """The column of that name; KeyError if there is none."""
        return next(c for c in self.all_columns if c.name == name)


VIDEO_ID = Column("video_id", "string", "the video, 1 to 128 UTF-8 bytes")
USER_ID = Column("user_id", "string", "the user, 1 to 128 UTF-8 bytes")
TOPIC_ID = Column("topic_id", "int64", "the topic; never reused once retired")

VIDEO_CATALOG = Table(
    "video_catalog",
    "history",
    ("video_id",),
    engine="deltalake",
    doc="every video as its source describes it",
    columns=(
        VIDEO_ID,
        Column("title", "string", "the title; empty if there is none"),
        Column("cover", "string", "absolute path of the cover image; empty if there is none"),
        Column("primary_classes", "list<string>", "coarse classes (paper: 50)"),
        Column("secondary_classes", "list<string>", "fine classes (paper: 367)"),
        Column("published_at", "timestamp", "when the video was published"),
        Column("removed_at", "timestamp", "when it was taken down", optional=True),
        Column("content_hash", "string", "hash of cover bytes and title: what the encoders see"),
    ),
)

VIDEO_TAGS = Table(
    "video_tags",
    "history",
    ("video_id", "tag"),
    engine="deltalake",
    doc="which tags each video has",
    columns=(
        VIDEO_ID,
        Column("tag", "string", "the tag, folded: spellings of one tag are equal"),
        Column("spelling", "string", "the tag as it was first delivered, for display"),
        Column("source", "string", "catalogue: listed with the video; tags: from the tags file"),
    ),
    provenance=("spelling",),
)

IMPRESSIONS = Table(
    "impressions",
    "log",
    ("event_id",),
    engine="deltalake",
    by_day=True,
    doc="videos shown to users",
    columns=(
        Column("event_id", "string", "the impression"),
        USER_ID,
        VIDEO_ID,
        Column(
            "request_id", "string", "the refresh that the impression was part of", optional=True
        ),
        Column("position", "int32", "rank in the refresh, first is 1", optional=True),
    ),
)

CLICKS = Table(
    "clicks",
    "log",
    ("event_id",),
    engine="deltalake",
    by_day=True,
    doc="clicks, each on one impression; the event time is the click's",
    columns=(
        Column("event_id", "string", "the impression that was clicked"),
        USER_ID,
        VIDEO_ID,
        Column("watch_seconds", "float32", "watch time", unit="s", optional=True),
    ),
)

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

RELEASES = Table(
    "releases",
    "log",
    ("release_id", "state"),
    engine="deltalake",
    doc="which versions of the tables belong together, and what became of each release",
    columns=(
        Column("release_id", "int64", "1, 2, 3, ..."),
        Column("state", "string", "candidate, released, rejected or rolled_back"),
        Column("as_of", "timestamp", "the run's as-of time"),
        Column("versions", "map<string,int64>", "Delta version of every table"),
        Column(
            "topic_epoch", "int64", "epoch of topics and video_topics; 0 before the first topics"
        ),
        Column("settings_hash", "string", "hash of the run's settings"),
        Column("quality", "map<string,float64>", "figures of the run's jobs, where they changed"),
        Column("figures", "map<string,float64>", "what the gates measured"),
        Column("verdicts", "map<string,string>", "what the gates said: ok, warn, block, allowed"),
        Column("by", "string", "who did it: user and host"),
        Column("why", "string", "the reason, where somebody gave one; empty otherwise"),
    ),
)

LOADS = Table(
    "loads",
    "log",
    ("release_id", "store", "load", "live_from"),
    engine="deltalake",
    doc="when each release went live in each online store",
    columns=(
        Column("release_id", "int64", "the release"),
        Column("store", "string", "address without password, and prefix"),
        Column("load", "int64", "number of the load under that prefix"),
        Column("live_from", "timestamp", "from when readers of the store see the release"),
    ),
)


def rejected(table: Table) -> Table:
    """The contract of a table's refused input rows (`<table>_rejected`).

    >>> rejected(IMPRESSIONS).name
    'impressions_rejected'
    """
    return Table(
        f"{table.name}_rejected",
        "log",
        ("file_hash", "row", "reason"),
        engine="deltalake",
        doc=f"rows refused on their way into {table.name}",
        columns=(
            Column("file_hash", "string", "hash of the file that was delivered"),
            Column(
                "row", "int64", "row in the file, the first after the header is 1; 0 means the file"
            ),
            Column("reason", "string", "why it was refused, one of the documented reasons"),
            Column("file", "string", "name of the file"),
            Column("detail", "string", "column, what was expected and what was found"),
        ),
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
LOGBOOKS = (RELEASES, LOADS)
"""What was released and loaded; no release names their versions."""
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
