"""A Feast online store on Redis: one packed value per view and entity, one round trip per request.

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
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from feast import Entity, FeatureView, RepoConfig, utils
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.online_response import OnlineResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from pydantic import Field, StrictBool, StrictStr, ValidationError

from vidtopics.errors import SettingsError, StoreError, explain
from vidtopics.layout import KeySpace, Schema, encode, tombstones
from vidtopics.materialization import StoreWriter
from vidtopics.materialization.upgrade import upgrade_before_use
from vidtopics.online import AsyncOnlineClient, OnlineClient
from vidtopics.online.connections import MAX_CONNECTIONS
from vidtopics.server import remember, url_of, with_password
from vidtopics.settings import folder
from vidtopics.stores.entity_ids import check_not_null, entity_rows_checked, ids_of_keys
from vidtopics.stores.feast_types import (
    columns_of,
    is_online,
    schema_of,
    sized_schema,
    ttl_us,
)
from vidtopics.stores.responses import (
    OnlineRow,
    check_fields,
    fill_response,
    parts_of,
    requested_names,
    rows_of,
)
from vidtopics.stores.secrets import MaskedRepr, mask_repo_config
from vidtopics.stores.vector_search import Document, refuse_unsupported, search
from vidtopics.times import aware, micros

Row = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
TRIES = 3
"""How often a push is written again because a rebuild took its generation's place."""
PUSH_BATCH = 10_000

mask_repo_config()


class PackedRedisOnlineStoreConfig(MaskedRepr, FeastConfigBaseModel):
    """Settings in `feature_store.yaml`. Their `repr` shows no password.

    Raises:
        SettingsError: a setting is unknown or has a wrong value.
    """

    type: Literal["vidtopics.stores.packed_redis.PackedRedisOnlineStore"] = (
        "vidtopics.stores.packed_redis.PackedRedisOnlineStore"
    )
    url: StrictStr = ""
    """As :func:`vidtopics.online.connect` takes it, a cluster as `redis+cluster://`.

    Empty, or an unset variable: the own server of `home`.
    """
    home: StrictStr = ""
    """A folder, relative to the repository, that remembers the server or has its own; or none."""
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
    blank_expired: StrictBool = False
    """A value past its view's TTL comes back as null; its status is OUTSIDE_MAX_AGE either way."""
    vector_search_rows: Annotated[int, Field(ge=1)] = 100_000
    """Rows of a view that `retrieve_online_documents_v2` reads at most: it reads all of them."""

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            # Its own text quotes what was given, the URL among it.
            raise _settings_error(error) from None


class PackedRedisOnlineStore(OnlineStore):
    """See the module. One instance may be shared between threads.

    Each event loop has an async client of its own.
    """

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
        """Write rows; of two rows of an entity the later (event, created) stays, in any order.

        Raises:
            StoreError: the view has changed since this process read its registry.
            ContractError: a row has a null in its id, or a value that doesn't fit its field.
        """
        writer = self._writer(config)
        ids = ids_of_keys(table, [row[0] for row in data], config.entity_key_serialization_version)
        check_not_null(table, ids)
        schema = sized_schema(table, [row[1] for row in data])
        for report in (progress, *[None] * TRIES):
            entry = writer.register_for_push(table.name, schema, ttl_us(table))
            load = writer.load(entry)
            for start in range(0, len(data), PUSH_BATCH):
                batch = slice(start, start + PUSH_BATCH)
                values = _encoded(table.name, schema, load.space, ids[batch], data[batch])
                load.add(ids[batch], values)
                if report:
                    report(len(data[batch]))
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
    ) -> list[OnlineRow]:
        """Rows of one view; (None, None) for an entity without a value."""
        client, with_expired = self._client(config), not config.online_store.blank_expired
        ids = ids_of_keys(table, entity_keys, config.entity_key_serialization_version)
        (features,) = client.read_parts(
            [(table.name, ids)], requested_features, expired_values=with_expired
        )
        check_fields(client.directory(), table, requested_features)
        return rows_of(table, features, requested_features, with_expired=with_expired)

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[OnlineRow]:
        """As :meth:`online_read`."""
        client, with_expired = self._async_client(config), not config.online_store.blank_expired
        ids = ids_of_keys(table, entity_keys, config.entity_key_serialization_version)
        (features,) = await client.read_parts(
            [(table.name, ids)], requested_features, expired_values=with_expired
        )
        check_fields(await client.directory(), table, requested_features)
        return rows_of(table, features, requested_features, with_expired=with_expired)

    def get_online_features(
        self,
        config: RepoConfig,
        features: Any,
        entity_rows: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """As Feast's; a null id is a row that isn't found.

        Raises:
            EntityIdError: names the row whose id isn't of its entity's type.
        """
        with _checked(entity_rows, registry, project, features, full_feature_names):
            return super().get_online_features(
                config,
                features,
                entity_rows,
                registry,
                project,
                full_feature_names,
                include_feature_view_version_metadata,
            )

    async def get_online_features_async(
        self,
        config: RepoConfig,
        features: Any,
        entity_rows: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """As :meth:`get_online_features`."""
        with _checked(entity_rows, registry, project, features, full_feature_names):
            return await super().get_online_features_async(
                config,
                features,
                entity_rows,
                registry,
                project,
                full_feature_names,
                include_feature_view_version_metadata,
            )

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
        client = self._client(config)
        views = client.read_parts(
            parts_of(grouped_refs, join_key_values, config.entity_key_serialization_version),
            requested_names(grouped_refs),
            expired_values=not config.online_store.blank_expired,
        )
        for table, requested in grouped_refs:
            check_fields(client.directory(), table, requested)
        fill_response(
            online_features_response,
            grouped_refs,
            join_key_values,
            views,
            full_names=full_feature_names,
            with_versions=include_feature_view_version_metadata,
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
        client = self._async_client(config)
        views = await client.read_parts(
            parts_of(grouped_refs, join_key_values, config.entity_key_serialization_version),
            requested_names(grouped_refs),
            expired_values=not config.online_store.blank_expired,
        )
        for table, requested in grouped_refs:
            check_fields(await client.directory(), table, requested)
        fill_response(
            online_features_response,
            grouped_refs,
            join_key_values,
            views,
            full_names=full_feature_names,
            with_versions=include_feature_view_version_metadata,
        )

    def retrieve_online_documents_v2(
        self,
        config: RepoConfig,
        table: FeatureView,
        requested_features: list[str],
        embedding: list[float] | None,
        top_k: int,
        distance_metric: str | None = None,
        query_string: str | None = None,
        filters: Any = None,
        include_feature_view_version_metadata: bool = False,
    ) -> list[Document]:
        """The nearest documents by exact search, in the order of their ids; see :func:`search`.

        Feast adds the view's version to the response itself.

        Raises:
            StoreError: a search by text, filters, or as :func:`search`.
        """
        refuse_unsupported(table, query_string, filters)
        return search(
            self._client(config),
            table,
            requested_features,
            embedding or [],
            top_k=top_k,
            metric=distance_metric,
            row_limit=config.online_store.vector_search_rows,
            version=config.entity_key_serialization_version,
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
        """Register views in the directory; remove the values of deleted ones.

        A view whose fields or join keys changed so that its values don't fit is left as it is: the
        next load begins anew, not this call.
        """
        client = self._client(config)
        upgrade_before_use(client.connection, client.prefix, config.online_store.buckets)
        writer = self._writer(config)
        if tables_to_delete:
            writer.drop(*(table.name for table in tables_to_delete))
        for table in filter(is_online, tables_to_keep):
            writer.generations.register_for_apply(table.name, schema_of(table), ttl_us(table))

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]
    ) -> None:
        """Remove the values of these views, and no other key."""
        if tables:
            self._writer(config).drop(*(table.name for table in tables))

    async def close(self) -> None:
        """Close the connections of the sync client and of this loop's; a later read reconnects."""
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
        return with_password(settings.url)
    if not settings.home:
        raise SettingsError(
            explain(
                "online_store of feature_store.yaml",
                expected="`url`, or `home`, a folder for an embedded server",
                found=f"the variable {settings.url}, not set" if settings.url else "neither",
                mend="name the server, or a folder",
            )
        )
    return url_of(_home(config), embedded=settings.embedded)


def _remember(config: RepoConfig) -> None:
    """Let the home remember the server that it was written into; a warning where it can't."""
    if not config.online_store.home:
        return
    try:
        remember(_home(config), _url(config))
    except OSError as error:
        warnings.warn(f"The home can't remember its server: {error}", stacklevel=2)


def _home(config: RepoConfig) -> Path:
    return (config.repo_path or Path()) / folder(config.online_store.home)


def _settings_error(error: ValidationError) -> SettingsError:
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    named = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in faults)
    return SettingsError(
        explain(
            "online_store of feature_store.yaml",
            expected="the settings of PackedRedisOnlineStore",
            found=named,
            mend="correct them; docs/feature-store.md lists the keys",
        )
    )


def _checked(
    entity_rows: Any, registry: Any, project: str, features: Any, full_names: bool
) -> AbstractContextManager[None]:
    context = partial(utils._get_cached_request_context, registry, project, features, full_names)
    return entity_rows_checked(entity_rows, lambda: context()[3])


def _encoded(
    view: str, schema: Schema, space: KeySpace, ids: Sequence[bytes], rows: Sequence[Row]
) -> list[bytes]:
    """Values of rows; a row whose features are all null is a tombstone."""
    fingerprints = space.fingerprints(ids)
    event = [micros(aware(row[2])) for row in rows]
    created = [micros(aware(row[3])) if row[3] else 0 for row in rows]
    columns, null = columns_of(view, schema, [row[1] for row in rows])
    values = encode(
        schema,
        columns,
        fingerprints=fingerprints,
        event_us=event,
        created_us=created,
        null=null,
        ids=ids,
    )
    ended = np.logical_and.reduce(list(null.values()))
    stubs = tombstones(schema, fingerprints, event, created)
    return [stub if end else value for value, stub, end in zip(values, stubs, ended, strict=True)]
