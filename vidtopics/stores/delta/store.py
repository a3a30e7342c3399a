"""A Feast offline store on Delta tables: point-in-time joins on a pinned snapshot.

Rows come back in the order of the spine.

In `feature_store.yaml`::

    offline_store:
      type: vidtopics.stores.delta.DeltaOfflineStore
      root: .vidtopics/tables
      known_by: true

A result can be made again, from what it says of itself::

    job = store.get_historical_features(spine, features)
    pq.write_table(job.to_arrow(), "train.parquet")
    ...
    with pinned("train.parquet"):
        again = store.get_historical_features(spine, features).to_arrow()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from feast import FeatureView, OnDemandFeatureView, RepoConfig
from feast.data_source import DataSource
from feast.feature_logging import LOG_TIMESTAMP_FIELD, LoggingConfig, LoggingSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from feast.utils import compute_non_entity_date_range
from pydantic import (
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from vidtopics.joins.latest import latest
from vidtopics.stores.delta.join import beside, features
from vidtopics.stores.delta.logs import is_log_folder, open_log_folder, write_logs
from vidtopics.stores.delta.order import ordered_refs, ordered_views
from vidtopics.stores.delta.pins import pins_for
from vidtopics.stores.delta.retrieval_job import DeltaRetrievalJob
from vidtopics.stores.delta.rows import SnapshotRows, between, require
from vidtopics.stores.delta.sources import ViewSource, open_sources, table_of
from vidtopics.stores.delta.spines import Spine, from_frame, from_range, from_sql
from vidtopics.stores.delta.tables import dataset_of, open_table, reaching
from vidtopics.stores.delta.writing import append
from vidtopics.tables.pins import NEVER, Pins
from vidtopics.times import EPOCH, aware, micros


class StorageOption(str):
    """The value of a storage option: a text as any other, but for its `repr`, which hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class DeltaOfflineStoreConfig(FeastConfigBaseModel):
    """Settings in `feature_store.yaml`.

    >>> DeltaOfflineStoreConfig(storage_options={"AWS_SECRET_ACCESS_KEY": "hidden"}).storage_options
    {'AWS_SECRET_ACCESS_KEY': '***'}
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["vidtopics.stores.delta.DeltaOfflineStore"] = (
        "vidtopics.stores.delta.DeltaOfflineStore"
    )
    root: StrictStr = ""
    """Relative paths of sources lie below it; relative to the repository, or an object store."""
    known_by: bool | Literal["served"] = False
    """True: joins see only rows whose created time is not after the spine's time; served: only what
    a live release could have served then, by the load log below `root`."""
    pins: StrictStr = ""
    """A file for :func:`pinned`, relative to the repository: every join is made on these pins."""
    storage_options: dict[StrictStr, StrictStr | StrictBool | StrictInt] = Field(
        default_factory=dict
    )
    """Options of delta-rs for an object store, as `AWS_ENDPOINT_URL`; the rest it takes from the
    environment."""

    @model_validator(mode="before")
    @classmethod
    def _hide_options(cls, settings: Any) -> Any:
        """Hide the values where they came from too: RepoConfig shows the mapping itself."""
        options = settings.get("storage_options") if isinstance(settings, dict) else None
        if isinstance(options, dict):
            for name, value in options.items():
                options[name] = StorageOption(value) if isinstance(value, str) else value
        return settings

    @field_validator("storage_options")
    @classmethod
    def _keep_hidden(cls, options: dict[str, Any]) -> dict[str, Any]:
        return {n: StorageOption(v) if isinstance(v, str) else v for n, v in options.items()}


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
        """Join features to a spine as they held at its times; one row out for one row in.

        The spine is a DataFrame, one SELECT over the Delta tables below `root`, or None: every
        entity with a row between `start_date` and `end_date`, at `end_date`. Tables are opened
        here, once each; the join runs when the result is asked for.
        """
        setting = config.offline_store.known_by
        known_by = bool(kwargs.get("filter_by_created_timestamp") or setting)
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        feature_views = ordered_views(feature_views, feature_refs, on_demand)
        feature_refs = ordered_refs(feature_views, feature_refs, on_demand)
        pins = pins_for(config)
        sources = open_sources(config, feature_views, pins, served=setting == "served")
        if isinstance(entity_df, str):
            spine = from_sql(config, entity_df, pins)
        elif entity_df is None:
            start, end = compute_non_entity_date_range(
                feature_views, kwargs.get("start_date"), kwargs.get("end_date")
            )
            spine = from_range(sources, micros(start), micros(end), known=known_by)
        else:
            spine = from_frame(entity_df)

        def compute() -> tuple[pa.Table, Pins]:
            return _join_views(
                spine, sources, feature_refs, full_names=full_feature_names, known_by=known_by
            )

        times = spine.times[spine.times > NEVER]
        first, last = (
            (_moment(int(t)) for t in (times.min(), times.max())) if len(times) else (None, None)
        )
        metadata = RetrievalMetadata(feature_refs, spine.others, first, last)
        return DeltaRetrievalJob(
            config,
            compute,
            full_feature_names=full_feature_names,
            on_demand=on_demand,
            metadata=metadata,
        )

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
        """The latest (event, created) row of each entity with an event time in [start, end].

        Without feature columns all columns of the table: a transformation of the view reads them.
        """
        where, place = f"source {data_source.name}", table_of(config, data_source)
        delta = open_table(place, where)

        def compute() -> tuple[pa.Table, None]:
            dataset = dataset_of(delta)
            times = [timestamp_field, created_timestamp_column]
            columns = _columns(dataset, join_key_columns, feature_name_columns, times, where)
            with reaching(place, where):
                rows = SnapshotRows.read(
                    dataset,
                    {key: key for key in join_key_columns},
                    timestamp_field,
                    created_timestamp_column,
                    since_us=micros(aware(start_date)),
                    until_us=micros(aware(end_date)),
                )
                latest_rows = latest(rows.keys, rows.event, rows.created)
                payload = rows.payload(latest_rows, {name: name for name in columns})
            return _with_dummy_entity(payload, join_key_columns), None

        return DeltaRetrievalJob(config, compute)

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
        """All rows with an event time in [start, end]; what `feast materialize` reads.

        Without feature columns all columns of the table: a transformation of the view reads them.
        The source may be a folder of logs (Feast's FileLoggingDestination).
        """
        where, is_log = f"source {data_source.name}", timestamp_field == LOG_TIMESTAMP_FIELD
        if is_log and is_log_folder(data_source):
            place, dataset = open_log_folder(config, data_source)
        else:
            place = table_of(config, data_source)
            dataset = dataset_of(open_table(place, where))
        since, until = (micros(aware(date)) if date else None for date in (start_date, end_date))

        def compute() -> tuple[pa.Table, None]:
            times = [timestamp_field, created_timestamp_column]
            columns = _columns(dataset, join_key_columns, feature_name_columns, times, where)
            with reaching(place, where):
                rows = dataset.to_table(
                    columns=columns, filter=between(dataset, timestamp_field, since, until)
                )
            return (rows if is_log else _with_dummy_entity(rows, join_key_columns)), None

        return DeltaRetrievalJob(config, compute)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Append logs of served features to the feature service's destination."""
        write_logs(config, data, source, logging_config, registry)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Append rows to the view's table in one commit, its schema checked.

        Refused for tables that a job of vidtopics publishes.
        """
        append(config, feature_view, table, progress)

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """TableError where the table is missing, can't be read right, or lacks a time column."""
        where = f"source {data_source.name}"
        dataset = dataset_of(open_table(table_of(config, data_source), where))
        back = {new: old for old, new in (data_source.field_mapping or {}).items()}
        times = filter(None, [data_source.timestamp_field, data_source.created_timestamp_column])
        require(dataset, [back.get(name, name) for name in times], where)

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """Columns of the table with their Arrow types as Feast spells them."""
        delta = open_table(table_of(config, data_source), f"source {data_source.name}")
        schema = pa.schema(delta.schema().to_arrow())
        return [(f.name, str(f.type).replace("list<element: ", "list<item: ")) for f in schema]


def _join_views(
    spine: Spine, sources: list[ViewSource], refs: list[str], *, full_names: bool, known_by: bool
) -> tuple[pa.Table, Pins]:
    """The spine with the features of all views, its metadata with their pins."""
    table, pins = spine.table, Pins(entity_df=spine.tables)
    for source in sources:
        with reaching(source.place, f"view {source.name}"):
            columns, pins.views[source.name] = features(
                spine, source, refs, full_names=full_names, known_by=known_by
            )
        table = beside(table, columns, source.name)
    return table.replace_schema_metadata(pins.metadata()), pins


def _columns(
    dataset: ds.Dataset,
    keys: Sequence[str],
    features: Sequence[str],
    times: Sequence[str | None],
    where: str,
) -> list[str]:
    """The columns that a read of a source asks for; all of them where no feature is named."""
    features = features or dataset.schema.names
    columns = list(dict.fromkeys([*keys, *features, *filter(None, times)]))
    require(dataset, columns, where)
    return columns


def _with_dummy_entity(rows: pa.Table, join_keys: Sequence[str]) -> pa.Table:
    """Rows of a view without entities get the key that Feast materialises them by."""
    if join_keys:
        return rows
    return rows.append_column(DUMMY_ENTITY_ID, pa.repeat(DUMMY_ENTITY_VAL, len(rows)))


def _moment(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)
