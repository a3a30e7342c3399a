"""A Feast offline store on Delta tables: point-in-time joins on a pinned snapshot, rows back in the order they came.

In `feature_store.yaml`::

    offline_store:
      type: vidtopics.stores.delta.DeltaOfflineStore
      root: .vidtopics/tables
      known_by: true
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from feast import FeatureView, OnDemandFeatureView, RepoConfig
from feast.data_source import DataSource
from feast.infra.offline_stores import offline_utils
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from feast.saved_dataset import SavedDatasetStorage
from pydantic import StrictStr

from vidtopics.errors import TableError, explain
from vidtopics.joins import matches
from vidtopics.joins.latest import latest
from vidtopics.stores.delta_sources import Source, microseconds
from vidtopics.times import micros

PINS = b"vidtopics.pins"


class DeltaOfflineStoreConfig(FeastConfigBaseModel):
    """Settings in `feature_store.yaml`."""

    type: Literal["vidtopics.stores.delta.DeltaOfflineStore"] = "vidtopics.stores.delta.DeltaOfflineStore"
    root: StrictStr = ""
    """Relative paths of sources lie below it; itself relative to the repository, or an object store."""
    known_by: bool = False
    """True: a join sees only rows whose created time is not after the spine's, as `filter_by_created_timestamp` does for one call."""


class DeltaRetrievalJob(RetrievalJob):
    """A join or read that runs when its result is asked for."""

    def __init__(
        self,
        compute: Callable[[], pa.Table],
        *,
        full_feature_names: bool = False,
        on_demand: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._compute = compute
        self._full_feature_names = full_feature_names
        self._on_demand = list(on_demand)
        self._metadata = metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._compute()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._compute().to_pandas()
        return frame

    @property
    def full_feature_names(self) -> bool:
        """Whether features bear their view's name."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Transformations that Feast applies to the result."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._metadata

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        """Not here yet."""
        raise NotImplementedError("saved datasets: write the frame with to_arrow() and deltalake")


class DeltaOfflineStore(OfflineStore):
    """See the module."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> RetrievalJob:
        """Join features to a spine as they held at its times; one row out for one row in, in its order.

        The result's schema metadata (key `vidtopics.pins`) names table id and version of every table that was read.
        """
        if not isinstance(entity_df, pd.DataFrame):
            raise TableError(
                explain("entity_df", expected="a pandas DataFrame", found=type(entity_df).__name__,
                        mend="read the spine into a DataFrame first")
            )  # fmt: skip
        time_column = offline_utils.infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        sources = {view.name: Source.of(config, view.batch_source) for view in feature_views}
        known_by = bool(kwargs.get("filter_by_created_timestamp")) or config.offline_store.known_by
        pins = {name: source.pin for name, source in sources.items()}

        def compute() -> pa.Table:
            spine = pa.Table.from_pandas(_timed(entity_df, time_column), preserve_index=False)
            times = microseconds(spine[time_column])
            table = spine
            for view in feature_views:
                table = _joined(
                    table, spine, times, view, sources[view.name], feature_refs, full_feature_names, known_by
                )
            return table.replace_schema_metadata({**(table.schema.metadata or {}), PINS: json.dumps(pins).encode()})

        times = pd.to_datetime(entity_df[time_column], utc=True)
        metadata = RetrievalMetadata(
            feature_refs, [c for c in entity_df.columns if c != time_column], times.min(), times.max()
        )
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return DeltaRetrievalJob(compute, full_feature_names=full_feature_names, on_demand=on_demand, metadata=metadata)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The latest (event, created) row of each entity with an event time in [start, end]; what `feast materialize` moves."""
        source = Source.of(config, data_source)
        columns = [*join_key_columns, *feature_name_columns, *source.time_columns]

        def compute() -> pa.Table:
            rows = _between(source, columns, start_date, end_date)
            event, created = source.times(rows)
            return rows.take(pa.array(latest(rows.select(join_key_columns), event, created)))

        return DeltaRetrievalJob(compute)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All rows with an event time in [start, end]."""
        source = Source.of(config, data_source)
        columns = [*join_key_columns, *feature_name_columns, *source.time_columns]
        return DeltaRetrievalJob(lambda: _between(source, columns, start_date, end_date))

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Refused: a job publishes to a Delta table, exactly once and checked against its contract."""
        raise TableError(
            explain(f"view {feature_view.name}", expected="rows published by its job", found="rows pushed through Feast",
                    mend="publish them with vidtopics.tables or deltalake")
        )  # fmt: skip

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """TableError where the table is missing or lacks a time column."""
        source = Source.of(config, data_source)
        names = pa.schema(source.delta.schema().to_arrow()).names
        missing = [name for name in source.time_columns if name not in names]
        if missing:
            raise TableError(
                explain(f"source {data_source.name}", expected=f"the columns {', '.join(missing)}", found=", ".join(names),
                        mend="correct timestamp_field and created_timestamp_column")
            )  # fmt: skip

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """Columns of the table with their Arrow types as Feast spells them."""
        schema = pa.schema(Source.of(config, data_source).delta.schema().to_arrow())
        return [(f.name, str(f.type).replace("list<element: ", "list<item: ")) for f in schema]


def _joined(
    table: pa.Table,
    spine: pa.Table,
    times: np.ndarray[Any, np.dtype[np.int64]],
    view: FeatureView,
    source: Source,
    refs: Sequence[str],
    full_names: bool,
    known_by: bool,
) -> pa.Table:
    """`table` with the features of one view."""
    name = str(view.projection.name_to_use())  # type: ignore[no-untyped-call]
    wanted = [ref.partition(":")[2] for ref in refs if ref.partition(":")[0] == name]
    keys = {c.name: view.projection.join_key_map.get(c.name, c.name) for c in view.entity_columns}
    missing = [key for key in keys.values() if key not in spine.column_names]
    if missing:
        raise TableError(
            explain(f"entity_df, view {view.name}", expected=f"the columns {', '.join(missing)}", found=", ".join(spine.column_names),
                    mend="add the entity's join key to the spine")
        )  # fmt: skip
    rows = source.read([*keys, *source.time_columns])
    event, created = source.times(rows)
    ttl_us = int(view.ttl.total_seconds() * 1_000_000) if view.ttl else 0
    at = matches(
        spine.select(list(keys.values())).rename_columns(list(keys)), times, rows.select(list(keys)), event, created,
        known_by=times if known_by else None, ttl_us=ttl_us,
    )  # fmt: skip
    payload = source.read(wanted).take(pa.array(at, mask=at < 0))
    for feature in wanted:
        table = table.append_column(f"{name}__{feature}" if full_names else feature, payload[feature])
    return table


def _timed(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """The spine with its times as UTC; those without a zone are taken as UTC."""
    return frame.assign(**{column: pd.to_datetime(frame[column], utc=True)})


def _between(source: Source, columns: list[str], start: datetime | None, end: datetime | None) -> pa.Table:
    rows = source.read(list(dict.fromkeys(columns)))
    event, _ = source.times(rows)
    kept = np.ones(len(rows), np.bool_)
    if start is not None:
        kept &= event >= micros(_aware(start))
    if end is not None:
        kept &= event <= micros(_aware(end))
    return rows.filter(pa.array(kept))


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
