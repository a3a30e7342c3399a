"""What a contract is: a table's columns, key, kind and writer; and names that tables share."""

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
PERSONAL = frozenset({"user_id", "event_id", "request_id", "entry", "event", "detail"})
"""Columns that may say who somebody is: statistics in a Delta log leave them out."""


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
