"""A small home with two releases of all views of `ranking_v2`, made without Spark.

The log has impressions at 100, 110, ..., 12,090 microseconds. Release 1 says that each video was
shown 5 times and each user 3 times; release 2, committed at 50, says 9 and 7.
"""

import pyarrow as pa
from ranking_worlds import COUNTS, EPOCH, inputs
from test_ranking_home import SETTINGS, publish_topics, published

from benchmarks.homes import publish, release_tables
from consumers.training.inputs import USER_VIEWS
from vidtopics.cli import homes
from vidtopics.contracts import (
    CLICKS,
    IMPRESSIONS,
    USER_RECENT_CLICKS,
    USER_RECENT_SKIPS,
    USER_STATISTICS,
    USER_TOPICS,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
)
from vidtopics.tables import Tables
from vidtopics.tables.schemas import TIMESTAMP, arrow_schema

ROWS = 1_200
_IDS = ["event_id", "user_id", "video_id", "request_id", "position"]


def make_home(folder):
    tables, log = Tables(folder), inputs()
    tables.home.mkdir()
    homes.keep(tables.home, SETTINGS)
    published(tables, IMPRESSIONS, log.impressions.slice(0, ROWS))
    published(tables, CLICKS, log.clicks.join(log.impressions.select(_IDS), "event_id"))
    publish_topics(tables)
    release(tables, 10, 5, 3)
    release(tables, 50, 9, 7)
    return tables


def rows_of(view, ids, at, **features):
    """A row for each id, committed at a time; a feature that isn't named is empty or 0."""
    columns = {view.key[0]: ids, "value_hash": [1] * len(ids)}
    columns |= dict.fromkeys(("event_timestamp", "created_timestamp"), [at] * len(ids))
    arrays = []
    for field in arrow_schema(view):
        plain = [] if pa.types.is_list(field.type) else 0
        values = columns.get(field.name, [features.get(field.name, plain)] * len(ids))
        kind = pa.int64() if field.type == TIMESTAMP else field.type
        arrays.append(pa.array(values, kind).cast(field.type))
    return pa.table(arrays, schema=arrow_schema(view))


def release(tables, at, exposures, shown):
    """A commit to each view, and a release that names it."""
    videos, users = [f"v{i}" for i in range(300)], [f"u{i}" for i in range(20)]
    slots = {"topic_weights": [0.7] + [0.0] * 7}
    slots |= {"parent_topic_ids": [1] + [-1] * 7, "topic_count": 1, "topic_epoch": EPOCH}
    slots["below_threshold"] = False
    topics = rows_of(VIDEO_TOPICS, videos, at, **slots)
    ids = [[10 + 10 * (v % 2)] + [-1] * 7 for v in range(300)]
    place = topics.schema.get_field_index("topic_ids")
    field = topics.schema.field(place)
    publish(tables, VIDEO_TOPICS, topics.set_column(place, field, [pa.array(ids, field.type)]))
    counts = {**COUNTS, "video_exposures": exposures}
    publish(tables, VIDEO_STATISTICS, rows_of(VIDEO_STATISTICS, videos, at, **counts))
    of_users = {
        USER_STATISTICS.name: {
            "user_exposures": shown,
            "user_decayed_exposures": shown,
            "user_decayed_clicks": 2.0,
            "user_decayed_expected": 1.0,
            "user_decayed_at": at,
        },
        USER_TOPICS.name: {
            "user_topic_ids": [20, 10],
            "user_topic_exposures": [shown - 1.0, 1.0],
            "user_topic_clicks": [shown - 2.0, 0.0],
            "user_topic_expected": [1.0, 0.5],
            "user_topic_epoch": EPOCH,
        },
        USER_RECENT_CLICKS.name: {
            "recent_video_ids": ["v1", "v4"],
            "recent_times": [at - 2, at - 4],
            "recent_watch_seconds": [3.0, -1.0],
        },
        USER_RECENT_SKIPS.name: {
            "skipped_video_ids": ["v3"],
            "skipped_times": [at - 3],
            "skipped_positions": [2],
        },
    }
    for view in USER_VIEWS:
        publish(tables, view, rows_of(view, users, at, **of_users.get(view.name, {})))
    quality = {"topic_epoch": EPOCH}
    release_tables(tables, as_of_us=at, created_us=at, settings="", quality=quality)
