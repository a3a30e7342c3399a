"""A Feast online store on Redis: one packed value per view and entity, one round trip per request, honest statuses.

In `feature_store.yaml`::

    online_store:
      type: vidtopics.stores.packed_redis.PackedRedisOnlineStore
      url: ${REDIS_URL}

What it writes, :class:`vidtopics.online.OnlineClient` reads, and the other way round `vidtopics
materialize` writes what it reads.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from feast import Entity, FeatureView, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import Field, StrictStr

from vidtopics.errors import StoreError, explain
from vidtopics.layout import Directory, KeySpace, encode, tombstones
from vidtopics.materialization import StoreWriter
from vidtopics.online import AsyncOnlineClient, Features, OnlineClient, Status
from vidtopics.online.connections import MAX_CONNECTIONS
from vidtopics.server import remember, url_of
from vidtopics.settings import folder
from vidtopics.stores.feast_types import (
    add_values,
    check_keys,
    columns_of,
    ids_of,
    ids_of_keys,
    is_online,
    join_keys,
    schema_of,
    ttl_us,
)
from vidtopics.times import aware, micros

FeatureVector = GetOnlineFeaturesResponse.FeatureVector
Row = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
Parts = list[tuple[str, Sequence[bytes]]]
TRIES = 3
"""How often a push is written again because a rebuild took its generation's place."""


class PackedRedisOnlineStoreConfig(FeastConfigBaseModel):
    """Settings in `feature_store.yaml`."""

    type: Literal["vidtopics.stores.packed_redis.PackedRedisOnlineStore"] = (
        "vidtopics.stores.packed_redis.PackedRedisOnlineStore"
    )
    url: StrictStr = ""
    """As :func:`vidtopics.online.connect` takes it, a cluster as `redis+cluster://`; empty, or an unset variable: the home's own server."""
    home: StrictStr = ".vidtopics"
    """Where that server keeps its data, relative to the repository."""
    embedded: bool = False
    """The home's own server, even where the home was loaded into a named one before."""
    prefix: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    """Every key begins with it; empty: the project's name."""
    buckets: Annotated[int, Field(ge=1, le=16_384)] = 16
    """Hash slots that the keys of a view share on a cluster; fixed once data is there."""
    timeout_s: Annotated[float, Field(gt=0)] = 5.0
    """Seconds to wait for a free connection, and for an answer of Redis."""
    max_connections: Annotated[int, Field(ge=1)] = MAX_CONNECTIONS
    """Connections of a process at most (to each node of a cluster); who finds none free waits."""


class PackedRedisOnlineStore(OnlineStore):
    """See the module. One instance may be shared between threads; each event loop has an async client of its own."""

    def __init__(self) -> None:
        self._connected: tuple[PackedRedisOnlineStoreConfig, OnlineClient] | None = None
        self._looped: dict[asyncio.AbstractEventLoop, AsyncOnlineClient] = {}

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Reads; writes go through the sync client in a thread."""
        return SupportedAsyncMethods(read=True, write=True)

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[Row],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows; of two rows of an entity the later (event, created) stays, in whatever order they come.

        Raises:
            StoreError: the view has changed since this process read its registry.
        """
        writer, ids = (
            self._writer(config),
            ids_of_keys(table, [row[0] for row in data], config.entity_key_serialization_version),
        )
        for told in (progress, *[None] * TRIES):
            entry = writer.register(table.name, schema_of(table), ttl_us(table), by="push")
            load = writer.load(entry)
            for start in range(0, len(data), 10_000):
                part = data[start : start + 10_000]
                load.add(*_encoded(table, load.space, ids[start : start + 10_000], part))
                if told:
                    told(len(part))
            load.finish()
            if writer.stays(table.name, entry, ids):
                _remember(config)
                return
        raise StoreError(
            explain(
                f"view {table.name}",
                expected="a generation that stays while rows are written",
                found=f"another one after each of {TRIES + 1} tries",
                mend="push again once the view's rebuilds are through",
            )
        )

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[Row],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """As :meth:`online_write_batch`."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Rows of one view; (None, None) for an entity without a value."""
        client = self._client(config)
        (found,) = client.read_parts(
            [
                (
                    table.name,
                    ids_of_keys(table, entity_keys, config.entity_key_serialization_version),
                )
            ],
            requested_features,
        )
        _check_fields(client.directory(), table, requested_features)
        return _rows(table, found, requested_features)

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """As :meth:`online_read`."""
        client = self._async_client(config)
        (found,) = await client.read_parts(
            [
                (
                    table.name,
                    ids_of_keys(table, entity_keys, config.entity_key_serialization_version),
                )
            ],
            requested_features,
        )
        _check_fields(await client.directory(), table, requested_features)
        return _rows(table, found, requested_features)

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: list[Any],
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        """All views of a request in one round trip (Feast asks view by view)."""
        parts = _parts(config, grouped_refs, join_key_values)
        client = self._client(config)
        found = client.read_parts(parts, _names(grouped_refs))
        for table, requested in grouped_refs:
            _check_fields(client.directory(), table, requested)
        _respond(
            online_features_response,
            grouped_refs,
            found,
            full_feature_names,
            include_feature_view_version_metadata,
        )

    async def _read_features_per_fv_async(
        self,
        config: RepoConfig,
        grouped_refs: list[Any],
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        parts = _parts(config, grouped_refs, join_key_values)
        client = self._async_client(config)
        found = await client.read_parts(parts, _names(grouped_refs))
        for table, requested in grouped_refs:
            _check_fields(await client.directory(), table, requested)
        _respond(
            online_features_response,
            grouped_refs,
            found,
            full_feature_names,
            include_feature_view_version_metadata,
        )

    def read_precomputed_vectors(self, *_: Any, **__: Any) -> list[bytes | None]:
        """Refused: a request is one round trip without them."""
        raise StoreError(
            explain(
                "PackedRedisOnlineStore",
                expected="a feature service without precompute_online",
                found="one with it",
                mend="leave precompute_online out; all views of a service are one round trip here",
            )
        )

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Enter views into the directory; remove the values of deleted ones.

        A view whose fields or join keys changed so that its values don't fit is left as it is: the
        next load begins anew, not this call.
        """
        writer = self._writer(config)
        if tables_to_delete:
            writer.drop(*(table.name for table in tables_to_delete))
        for table in filter(is_online, tables_to_keep):
            writer.generations.register(table.name, schema_of(table), ttl_us(table), by="apply")

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]
    ) -> None:
        """Remove the values of these views, and no other key."""
        if tables:
            self._writer(config).drop(*(table.name for table in tables))

    async def close(self) -> None:
        """Close the connections of the sync client and of this loop's; whoever reads again connects again."""
        if client := self._looped.pop(asyncio.get_running_loop(), None):
            await client.aclose()
        connected, self._connected = self._connected, None
        if connected:
            connected[1].close()

    def _writer(self, config: RepoConfig) -> StoreWriter:
        client = self._client(config)
        return StoreWriter(
            client.connection, prefix=client.prefix, buckets=config.online_store.buckets
        )

    def _client(self, config: RepoConfig) -> OnlineClient:
        settings = config.online_store
        if self._connected is None or self._connected[0] is not settings:
            self._connected = (settings, OnlineClient.from_url(_url(config), **_options(config)))
        return self._connected[1]

    def _async_client(self, config: RepoConfig) -> AsyncOnlineClient:
        loop = asyncio.get_running_loop()
        if loop not in self._looped:
            # Of a loop that is closed no connection can be closed any more, only let go.
            self._looped = {
                other: client for other, client in self._looped.items() if not other.is_closed()
            }
            self._looped[loop] = AsyncOnlineClient.from_url(_url(config), **_options(config))
        return self._looped[loop]


def _options(config: RepoConfig) -> dict[str, Any]:
    settings = config.online_store
    return {
        "prefix": settings.prefix or config.project,
        "timeout_s": settings.timeout_s,
        "max_connections": settings.max_connections,
    }


def _url(config: RepoConfig) -> str:
    """The server's address; SettingsError where only a lost variable leads to the home's own.

    Feast leaves a variable that is not set as it stands in the file.
    """
    settings = config.online_store
    if settings.url and not settings.url.startswith("${"):
        return str(settings.url)
    return url_of(_home(config), embedded=settings.embedded)


def _remember(config: RepoConfig) -> None:
    """Let the home remember the server that it was written into; a warning where it can't."""
    try:
        remember(_home(config), _url(config))
    except OSError as error:
        warnings.warn(f"The home can't remember its server: {error}", stacklevel=2)


def _home(config: RepoConfig) -> Path:
    return (config.repo_path or Path()) / folder(config.online_store.home)


def _parts(config: RepoConfig, grouped_refs: list[Any], join_key_values: dict[str, Any]) -> Parts:
    """Views and ids. Not by Feast's own choice of columns, which lets a view's alias and the plain key of another stand for each other."""
    parts: Parts = []
    for table, _ in grouped_refs:
        names = {key: table.projection.join_key_map.get(key, key) for key in join_keys(table)}
        check_keys(table, names.values(), join_key_values)
        values = {key: join_key_values[name] for key, name in names.items()}
        parts.append((table.name, ids_of(values, config.entity_key_serialization_version)))
    return parts


def _check_fields(
    directory: Directory, table: FeatureView, requested: Sequence[str] | None
) -> None:
    """StoreError where Redis has other join keys, or holds a requested field as another type or not at all: not loaded since it changed."""
    entry, schema = directory.view(table.name), schema_of(table)
    if entry.keys and schema.keys and entry.keys != schema.keys:
        raise StoreError(
            explain(
                f"view {table.name}, join keys",
                expected=f"{', '.join(schema.keys)} in Redis",
                found=", ".join(entry.keys),
                mend="load the view again (feast materialize), as its entities have changed",
            )
        )
    held = {f.name: f for f in directory.schemas[entry.schema].fields}
    for f in schema.fields:
        there = held.get(f.name)
        if (requested is None or f.name in requested) and (
            there is None or (there.type, there.kind, there.width) != (f.type, f.kind, f.width)
        ):
            found = "none" if there is None else f"{there.kind} of {there.type}"
            raise StoreError(
                explain(
                    f"view {table.name}, field {f.name}",
                    expected=f"{f.kind} of {f.type} in Redis",
                    found=found,
                    mend="load the view again (feast materialize), as its fields have changed",
                )
            )


def _names(grouped_refs: list[Any]) -> list[str]:
    """The features that a request wants, of whatever view."""
    return list(dict.fromkeys(name for _, requested in grouped_refs for name in requested))


def _respond(
    response: Any,
    grouped_refs: list[Any],
    found: Sequence[Features],
    full_names: bool,
    versions: bool,
) -> None:
    """Fill Feast's response, feature by feature; the statuses are Feast's own numbers."""
    for (table, requested), features in zip(grouped_refs, found, strict=True):
        name = table.projection.name_to_use()
        if versions:
            entry = response.metadata.feature_view_metadata.add()
            entry.name, entry.version = (
                table.projection.name_alias or table.projection.name,
                table.current_version_number or 0,
            )
        stamps = {
            us: _timestamp(us) for us in np.unique(features.event_us).tolist()
        }  # rows share few event times
        times = [stamps[us] for us in features.event_us.tolist()]
        fields = {f.name: f for f in schema_of(table).fields}
        for feature in requested:
            response.metadata.feature_names.val.append(
                f"{name}__{feature}" if full_names else feature
            )
            valid = features.present & ~features.null[feature]
            statuses = np.where(features.present & ~valid, Status.NULL, features.status)
            vector = response.results.add(statuses=statuses.tolist(), event_timestamps=times)
            add_values(vector.values, fields[feature], features[feature], valid)


def _rows(
    table: FeatureView, found: Features, requested: Sequence[str] | None
) -> list[tuple[datetime | None, dict[str, Value] | None]]:
    fields = [f for f in schema_of(table).fields if requested is None or f.name in requested]
    vectors = {f.name: FeatureVector() for f in fields}
    for f in fields:
        add_values(vectors[f.name].values, f, found[f.name], found.present & ~found.null[f.name])
    rows: list[tuple[datetime | None, dict[str, Value] | None]] = []
    for i, there in enumerate(found.present.tolist()):
        time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(found.event_us[i]))
        rows.append(
            (time, {name: vector.values[i] for name, vector in vectors.items()})
            if there
            else (None, None)
        )
    return rows


def _encoded(
    table: FeatureView, space: KeySpace, ids: Sequence[bytes], rows: Sequence[Row]
) -> tuple[Sequence[bytes], list[bytes]]:
    """Ids and values of rows; a row without a value ends the one before."""
    schema, fingerprints = schema_of(table), space.fingerprints(ids)
    event = [micros(aware(row[2])) for row in rows]
    created = [micros(aware(row[3])) if row[3] else 0 for row in rows]
    columns, null = columns_of(table.name, schema, [row[1] for row in rows])
    values = encode(
        schema, columns, fingerprints=fingerprints, event_us=event, created_us=created, null=null
    )
    ended = np.logical_and.reduce(list(null.values()))
    stubs = tombstones(schema, fingerprints, event, created)
    return ids, [
        stub if end else value for value, stub, end in zip(values, stubs, ended, strict=True)
    ]


def _timestamp(us: int) -> Timestamp:
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1_000)
