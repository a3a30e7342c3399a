"""Four pairs of an offline and an online store, and a Feast project on each of them.

A pair is {Feast's DuckDB store, Delta} x {Feast's Redis store, packed Redis}. What a source is made
of follows the offline store: one Parquet file, or one Delta table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake
from feast import (
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RepoConfig,
    ValueType,
)
from feast.data_format import DeltaFormat
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.types import FeastType, Int64, String

START = datetime(2026, 1, 1, tzinfo=UTC)
UTC_US = pa.timestamp("us", "UTC")
USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
VIDEO = Entity(name="video", join_keys=["video_id"], value_type=ValueType.INT64)
KEY_TYPES = {"user_id": String, "video_id": Int64}
OFFLINE = ("duckdb", "delta")
ONLINE = ("redis", "packed")


@dataclass(frozen=True)
class Pair:
    """An offline and an online store, by their short names; its text is `delta+packed`."""

    offline: str
    online: str

    def __str__(self) -> str:
        return f"{self.offline}+{self.online}"


PAIRS = [Pair(*names) for names in product(OFFLINE, ONLINE)]


@dataclass(frozen=True)
class Project:
    """A Feast project of one test: `store` on `pair`, its files below `folder`."""

    pair: Pair
    folder: Path
    store: FeatureStore = field(repr=False)

    def source(self, name: str, rows: pa.Table, **options: Any) -> FileSource:
        """A source of these rows, named `name`; `options` as of FileSource."""
        times = {
            "timestamp_field": "event_timestamp",
            "created_timestamp_column": "created_timestamp",
        }
        options = {"name": f"{name}_source", **times} | options
        if self.pair.offline == "delta":
            path = self.folder / name
            write_deltalake(str(path), rows, mode="append")
            return FileSource(path=str(path), file_format=DeltaFormat(), **options)
        path = self.folder / f"{name}.parquet"
        pq.write_table(rows, path)
        return FileSource(path=str(path), **options)

    def view(
        self,
        name: str,
        rows: pa.Table,
        fields: dict[str, FeastType] | None = None,
        *,
        entities: tuple[Entity, ...] = (USER,),
        ttl: timedelta = timedelta(0),
        apply: bool = True,
        source: dict[str, Any] | None = None,
        **options: Any,
    ) -> FeatureView:
        """A view of these rows, applied with its entities; its feature is `income` by default."""
        fields = fields or {"income": Int64}
        keys = [entity.join_key for entity in entities]
        view = FeatureView(
            name=name,
            entities=list(entities),
            schema=[
                *(Field(name=key, dtype=KEY_TYPES[key]) for key in keys),
                *(Field(name=name, dtype=dtype) for name, dtype in fields.items()),
            ],
            source=self.source(name, rows, **(source or {})),
            ttl=ttl,
            **options,
        )
        if apply:
            self.store.apply([*entities, view])
        return view

    def apply_with_source(self, view: FeatureView, source: PushSource) -> FeatureView:
        """A view like this one whose source is a push source, applied."""
        pushed = FeatureView(
            name=view.name,
            entities=[USER],
            schema=view.schema,
            source=source,
            ttl=view.ttl,
        )
        self.store.apply([USER, source, pushed])
        return pushed


def open_store(folder: Path, pair: Pair, redis_url: str, project: str) -> FeatureStore:
    """A FeatureStore of a new project on a pair; its registry is below `folder`."""
    offline: dict[str, dict[str, Any]] = {
        "duckdb": {"type": "duckdb"},
        "delta": {"type": "vidtopics.stores.delta.DeltaOfflineStore", "root": str(folder)},
    }
    online: dict[str, dict[str, Any]] = {
        "redis": {"type": "redis", "connection_string": urlsplit(redis_url).netloc},
        "packed": {
            "type": "vidtopics.stores.packed_redis.PackedRedisOnlineStore",
            "url": redis_url,
        },
    }
    return FeatureStore(
        config=RepoConfig(
            project=project,
            provider="local",
            registry=str(folder / "registry.db"),
            entity_key_serialization_version=3,
            offline_store=offline[pair.offline],
            online_store=online[pair.online],
        )
    )


def day(n: float) -> datetime:
    """The time n days after START."""
    return START + timedelta(days=n)


def days(*numbers: float | None) -> pa.Array:
    """Those times as an Arrow column."""
    return pa.array([None if n is None else day(n) for n in numbers], UTC_US)


def table(rows: list[dict[str, Any]], types: dict[str, pa.DataType] | None = None) -> pa.Table:
    """Rows as an Arrow table; `event` and `created` (by default the same) are days after START."""
    events = [row["event"] for row in rows]
    created = [row.get("created", row["event"]) for row in rows]
    names = [name for name in rows[0] if name not in ("event", "created")]
    columns = {
        name: pa.array([row[name] for row in rows], (types or {}).get(name)) for name in names
    }
    return pa.table(
        {**columns, "event_timestamp": days(*events), "created_timestamp": days(*created)}
    )


def incomes(*rows: tuple[Any, ...]) -> pa.Table:
    """Rows (user, income, event day[, created day])."""
    names = ("user_id", "income", "event", "created")
    return table([dict(zip(names, row, strict=False)) for row in rows], {"income": pa.int64()})


def spine(*rows: tuple[Any, ...], keys: tuple[str, ...] = ("user_id",)) -> pd.DataFrame:
    """Rows (key, ..., day)."""
    frame = pd.DataFrame([row[: len(keys)] for row in rows], columns=list(keys))
    return frame.assign(event_timestamp=pd.to_datetime([day(row[-1]) for row in rows], utc=True))


def by_key(
    job: RetrievalJob, feature: str, keys: tuple[str, ...] = ("user_id", "event_timestamp")
) -> list[Any]:
    """A feature's values in the order of keys, None for null: DuckDB has no order of rows."""
    rows = job.to_arrow().to_pylist()
    return [row[feature] for row in sorted(rows, key=lambda row: [row[key] for key in keys])]


def naive(rows: pa.Table) -> pa.Table:
    """The same rows whose times have no zone."""
    types = [pa.timestamp("us") if pa.types.is_timestamp(f.type) else f.type for f in rows.schema]
    return rows.cast(pa.schema(zip(rows.column_names, types, strict=True)))
