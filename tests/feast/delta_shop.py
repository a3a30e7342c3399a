"""A Feast project without vidtopics: users' incomes in a Delta table, joined by our store."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
from deltalake import write_deltalake
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import DeltaFormat
from feast.types import Int64, String

START = datetime(2026, 1, 1, tzinfo=UTC)
KEPT = {
    "delta.logRetentionDuration": "interval 400 days",
    "delta.deletedFileRetentionDuration": "interval 400 days",
}
USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
TIMES = {"timestamp_field": "event_timestamp", "created_timestamp_column": "created_timestamp"}


def day(n: float) -> datetime:
    """Days after START."""
    return START + timedelta(days=n)


def incomes(*rows: tuple, name: str = "income") -> pa.Table:
    """Rows (user, income, event day, created day)."""
    users, values, events, created = zip(*rows, strict=True) if rows else ([], [], [], [])
    times = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            name: pa.array(values, pa.int64()),
            "event_timestamp": pa.array([day(e) for e in events], times),
            "created_timestamp": pa.array([day(c) for c in created], times),
        }
    )


def append(folder: Path, table: pa.Table, name: str = "incomes", **options) -> str:
    """One commit to the table `name`; where it lies."""
    uri = str(folder / name)
    options = {"configuration": KEPT} | options
    write_deltalake(uri, table, mode="append", **options)
    return uri


def income_view(
    name: str = "incomes", *, feature: str = "income", dtype=Int64, **options
) -> FeatureView:
    """A view of the table of its name."""
    options = {"ttl": timedelta(0), "entities": [USER]} | options
    source = FileSource(
        path=options.pop("path", name),
        file_format=DeltaFormat(),
        **{**TIMES, **options.pop("source", {})},
    )
    schema = [
        *(Field(name=key, dtype=String) for e in options["entities"] for key in [e.join_key]),
        Field(name=feature, dtype=dtype),
    ]
    return FeatureView(name=name, schema=schema, source=source, **options)


def project(folder: Path | str, **offline) -> RepoConfig:
    """Feast's settings for the tables in `folder`."""
    return RepoConfig(
        project="shop",
        provider="local",
        registry=str(Path(folder) / "registry.db"),
        entity_key_serialization_version=3,
        online_store=None,
        offline_store={
            "type": "vidtopics.stores.delta.DeltaOfflineStore",
            "root": str(folder),
            **offline,
        },
    )


def shop(folder: Path, *views: FeatureView, **offline) -> FeatureStore:
    """A store over the tables in `folder`."""
    store = FeatureStore(config=project(folder, **offline))
    store.apply([USER, *(views or [income_view()])])
    return store


def spine(*rows: tuple) -> pd.DataFrame:
    """Rows (user, day)."""
    frame = pd.DataFrame(rows, columns=["user_id", "event_timestamp"])
    return frame.assign(
        event_timestamp=pd.to_datetime([day(d) for d in frame["event_timestamp"]], utc=True)
    )


def values(job, feature: str = "income") -> list:
    """A feature's values, None where it is null."""
    return job.to_arrow()[feature].to_pylist()
