"""Rules of all engines that join views to a spine: the result's columns, each view's TTL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from deltalake import DeltaTable

from vidtopics.contracts import EVENT_TIME, Table, View
from vidtopics.errors import TableError, explain
from vidtopics.tables.pins import Rules
from vidtopics.tables.scans import scan


def output_name(view: Table, feature: str, *, full: bool) -> str:
    """The column of a feature in the result, as Feast names it.

    >>> from vidtopics.contracts import VIDEO_TOPICS
    >>> output_name(VIDEO_TOPICS, "topic_ids", full=True)
    'video_topics__topic_ids'
    """
    return f"{view.name}__{feature}" if full else feature


def check_columns(spine: Sequence[str], views: Sequence[Table], *, full: bool) -> None:
    """TableError where the spine lacks a column, or two of the result's have one name."""
    needed = dict.fromkeys([EVENT_TIME, *(key for view in views for key in view.key)])
    missing = [name for name in needed if name not in spine]
    if missing:
        raise TableError(
            explain(
                "spine",
                expected=f"the columns {', '.join(missing)}",
                found=", ".join(spine),
                mend="add them, or rename those that it has",
            )
        )
    names = [*spine, *(output_name(view, c.name, full=full) for view in views for c in view.values)]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise TableError(
            explain(
                "the joined rows",
                expected="each column once",
                found=f"{', '.join(twice)} twice",
                mend="rename the spine's columns, or join with full_feature_names",
            )
        )


def rules_of(delta: DeltaTable, view: Table, *, known_by: bool = True, served: str = "") -> Rules:
    """By which rules a join takes a view's features from a snapshot."""
    schema = scan(delta).schema
    types = {column.name: str(schema.field(column.name).type) for column in view.values}
    return Rules(known_by, ttl_us(view), types, served)


def ttl_us(view: Table) -> int:
    """Microseconds that a value counts after its event time; 0: until the next row.

    >>> from vidtopics.contracts import VIDEO_TOPICS
    >>> ttl_us(VIDEO_TOPICS)
    0
    """
    return (view.view or View("")).ttl // timedelta(microseconds=1)
