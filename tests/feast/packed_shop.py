"""Stores of the packed Redis store, and views to put there."""

from datetime import UTC, datetime, timedelta

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import DeltaFormat
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.types import String

NOW = datetime.now(UTC)


def view(
    name: str, fields: dict, *, ttl=timedelta(0), entity="user", keys=("user_id",)
) -> FeatureView:
    entities = [
        Entity(name=f"{entity}_{key}", join_keys=[key], value_type=ValueType.STRING) for key in keys
    ]
    source = FileSource(
        path=name,
        file_format=DeltaFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    schema = [
        *(Field(name=k, dtype=String) for k in keys),
        *(t if isinstance(t, Field) else Field(name=n, dtype=t) for n, t in fields.items()),
    ]
    return FeatureView(name=name, entities=entities, schema=schema, source=source, ttl=ttl)


def make_store(folder, url, project, **options):
    config = RepoConfig(
        project=project,
        provider="local",
        registry=str(folder / f"{project}.db"),
        entity_key_serialization_version=3,
        offline_store={
            "type": "vidtopics.stores.delta.DeltaOfflineStore",
            "root": str(folder / "tables"),
        },
        online_store={
            "type": "vidtopics.stores.packed_redis.PackedRedisOnlineStore",
            "url": url,
            **options,
        },
    )
    return FeatureStore(config=config)


def feasts_store(folder, project, online):
    """The same with an online store of Feast's own."""
    return FeatureStore(
        config=RepoConfig(
            project=project,
            provider="local",
            registry=str(folder / f"feasts_{project}.db"),
            entity_key_serialization_version=3,
            offline_store={"type": "dask"},
            online_store=online,
        )
    )


def register(store, *views):
    store.apply([*views, *(e for v in views for e in entities_of(v))])


def entities_of(v):
    return [
        Entity(name=name, join_keys=[c.name], value_type=ValueType.STRING)
        for name, c in zip(v.entities, v.entity_columns, strict=True)
    ]


def push(store, name, rows, at=None, created=None):
    frame = pd.DataFrame(rows)
    frame["event_timestamp"] = at or NOW
    frame["created_timestamp"] = created or at or NOW
    store.write_to_online_store(name, df=frame)


def read(store, features, rows):
    return store.get_online_features(features=features, entity_rows=rows).proto


def statuses(response, name):
    index = list(response.metadata.feature_names.val).index(name)
    return [FieldStatus.Name(s) for s in response.results[index].statuses]
