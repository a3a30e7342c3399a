"""Feast projects over a benchmark's tables: our views on our stores and on Feast's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from feast import FeatureStore, FeatureView, FileSource, RepoConfig

from benchmarks.quiet import quietly
from feature_repo import entities, feature_views
from vidtopics.contracts import CREATED_TIME, EVENT_TIME

Online = Literal["packed", "feast"]
Offline = Literal["delta", "duckdb"]


def project(
    home: Path,
    views: tuple[str, ...],
    *,
    offline: Offline = "delta",
    online: Online | None = None,
    url: str = "",
) -> FeatureStore:
    """A project with these views, applied.

    Args:
        home: where the tables (and for `duckdb` the Parquet files) lie.
        views: names of views.
        offline: our store on Delta, or Feast's DuckDB store on Parquet (for Delta it would download
            an extension).
        online: our store on Redis, Feast's, or none.
        url: the Redis server.
    """
    name = f"{online or 'none'}_{offline}"
    config = RepoConfig(
        project=name,
        provider="local",
        registry=str(home / f"{name}.db"),
        entity_key_serialization_version=3,
        offline_store=_offline(home, offline),
        online_store=_online(online, url),
    )
    store = FeatureStore(config=config)
    quietly(
        lambda: store.apply(
            [entities.video, entities.user, *(_view(home, view, offline) for view in views)]
        )
    )
    return store


def _offline(home: Path, kind: Offline) -> dict[str, Any]:
    if kind == "duckdb":
        return {"type": "duckdb"}
    return {"type": "vidtopics.stores.delta.DeltaOfflineStore", "root": str(home / "tables")}


def _online(kind: Online | None, url: str) -> dict[str, Any] | None:
    if kind == "feast":
        return {"type": "redis", "connection_string": urlsplit(url).netloc}
    if kind == "packed":
        return {
            "type": "vidtopics.stores.packed_redis.PackedRedisOnlineStore",
            "url": url,
            "prefix": "vt",
        }
    return None


def _view(home: Path, name: str, offline: Offline) -> FeatureView:
    view: FeatureView = copy.deepcopy(getattr(feature_views, name))  # applying changes it
    if offline == "duckdb":
        view.batch_source = FileSource(
            name=name,
            path=str(home / f"{name}.parquet"),
            timestamp_field=EVENT_TIME,
            created_timestamp_column=CREATED_TIME,
        )
    return view
