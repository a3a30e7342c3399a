"""Logs of served features: written by `FeatureStore.write_logged_features`, read to validate them.

A feature service names where its logs go::

    FeatureService(
        name="ranking_v1",
        features=[video_topics],
        logging_config=LoggingConfig(destination=DeltaLoggingDestination(path="logs/ranking_v1")),
    )

Feast's `FileLoggingDestination` (a folder of Parquet files) is written and read as well. A relative
path of either lies below `root` of the offline store.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TypeGuard

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from feast import FileSource, RepoConfig
from feast.data_format import DeltaFormat, ParquetFormat
from feast.data_source import DataSource
from feast.feature_logging import (
    LOG_DATE_FIELD,
    LOG_TIMESTAMP_FIELD,
    LoggingConfig,
    LoggingDestination,
    LoggingSource,
)
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.registry.base_registry import BaseRegistry
from feast.protos.feast.core.FeatureService_pb2 import LoggingConfig as LoggingConfigProto

from vidtopics.errors import TableError, explain
from vidtopics.stores.delta.rows import fitted
from vidtopics.stores.delta.sources import table_of
from vidtopics.stores.delta.tables import Place, place_of, reaching


class DeltaLoggingDestination(LoggingDestination):
    """Logs as rows of a Delta table, which the first write creates; each write is one commit."""

    _proto_kind = "vidtopics_delta"

    def __init__(self, *, path: str) -> None:
        self.path = path

    @classmethod
    def from_proto(cls, config_proto: LoggingConfigProto) -> DeltaLoggingDestination:
        """The destination that :meth:`to_proto` wrote into a registry."""
        return cls(path=config_proto.custom_destination.config["path"])

    def to_proto(self) -> LoggingConfigProto:
        """As Feast's registry keeps destinations of plugins."""
        custom = LoggingConfigProto.CustomDestination(
            kind=self._proto_kind, config={"path": self.path}
        )
        return LoggingConfigProto(custom_destination=custom)

    def to_data_source(self) -> DataSource:
        """The table as a source."""
        return FileSource(
            path=self.path, file_format=DeltaFormat(), timestamp_field=LOG_TIMESTAMP_FIELD
        )


def write_logs(
    config: RepoConfig,
    data: pa.Table | Path,
    source: LoggingSource,
    logging_config: LoggingConfig,
    registry: BaseRegistry,
) -> None:
    """Append logs to a feature service's destination.

    `data`: a table, or a folder of Parquet files, with the columns of the service's log schema. A
    service that got further features adds columns; they are null in older rows.

    Raises:
        TableError: another kind of destination; columns are missing or too many; a value doesn't
            fit the schema; the destination holds something else than logs.
    """
    destination = logging_config.destination
    rows = _conformed(pq.read_table(data) if isinstance(data, Path) else data, source, registry)
    if isinstance(destination, DeltaLoggingDestination):
        _append_to_delta(table_of(config, destination.to_data_source()), rows)
    elif isinstance(destination, FileLoggingDestination):
        _append_to_folder(config, destination, rows)
    else:
        raise TableError(
            explain(
                "logging_config",
                expected="DeltaLoggingDestination(path=...) or FileLoggingDestination(path=...)",
                found=type(destination).__name__,
                mend="give the feature service such a destination",
            )
        )


def is_log_folder(source: DataSource) -> TypeGuard[FileSource]:
    """Whether a source is a folder of Parquet files, as that of a FileLoggingDestination."""
    return isinstance(source, FileSource) and isinstance(source.file_format, ParquetFormat)


def open_log_folder(config: RepoConfig, source: FileSource) -> tuple[Place, ds.FileSystemDataset]:
    """The log files of a folder as a dataset; TableError where there are none."""
    place = place_of(config, source.path, source)
    filesystem, path = _filesystem(place, source.s3_endpoint_override or "")
    with reaching(place, "logs"):
        files = filesystem.get_file_info(
            pafs.FileSelector(path, allow_not_found=True, recursive=True)
        )
        if not any(file.extension == "parquet" for file in files):
            raise TableError(
                explain(
                    f"logs, {place.uri}",
                    expected="a folder of Parquet files",
                    found="none",
                    mend="write logs first (store.write_logged_features), or correct the path",
                )
            )
        dates = ds.partitioning(pa.schema([(LOG_DATE_FIELD, pa.date32())]), flavor="hive")
        by_date = any(f"/{LOG_DATE_FIELD}=" in file.path for file in files)
        options = {
            "filesystem": filesystem,
            "format": "parquet",
            "partitioning": dates if by_date else None,
            "ignore_prefixes": ["."],  # by default Arrow passes over folders as `__log_date=...`
        }
        dataset = ds.dataset(path, **options)
        # A service that got further features wrote them into its later files alone.
        schemas = [fragment.physical_schema for fragment in dataset.get_fragments()]
        return place, ds.dataset(
            path, schema=pa.unify_schemas([dataset.schema, *schemas]), **options
        )


def _conformed(rows: pa.Table, source: LoggingSource, registry: BaseRegistry) -> pa.Table:
    """Logs with the columns, order and types of their schema; all times in UTC microseconds."""
    schema = source.get_schema(registry)
    if set(rows.column_names) != set(schema.names):
        raise TableError(
            explain(
                "logs",
                expected=f"the columns {', '.join(schema.names)}",
                found=", ".join(rows.column_names),
                mend="log what the feature service serves, or apply the changed service first",
            )
        )
    types = {field.name: _delta_type(field.type) for field in schema}
    return pa.table(
        {name: fitted(rows[name], kind, f"logs, column {name}") for name, kind in types.items()}
    )


def _delta_type(kind: pa.DataType) -> pa.DataType:
    """The type that Delta has for a type of Feast's log schema."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    if pa.types.is_list(kind):
        return pa.list_(_delta_type(kind.value_type))
    return kind


def _append_to_delta(place: Place, rows: pa.Table) -> None:
    options = place.storage_options
    with reaching(place, "logs"):
        if DeltaTable.is_deltatable(place.uri, options):
            columns = DeltaTable(place.uri, storage_options=options).schema().to_arrow().names
            if LOG_TIMESTAMP_FIELD not in columns:
                raise _no_logs(place, f"a table of {', '.join(columns)}")
        write_deltalake(
            place.uri, rows, mode="append", schema_mode="merge", storage_options=options
        )


def _append_to_folder(
    config: RepoConfig, destination: FileLoggingDestination, rows: pa.Table
) -> None:
    """Write one Parquet file, or one per date, under names that no other write has."""
    source = FileSource(
        path=destination.path, s3_endpoint_override=destination.s3_endpoint_override
    )
    place = place_of(config, destination.path, source)
    names = list(destination.partition_by or [])
    if names not in ([], [LOG_DATE_FIELD]):
        raise TableError(
            explain(
                "logging_config, partition_by",
                expected=f"{LOG_DATE_FIELD} alone: a folder's name doesn't say its value's type",
                found=", ".join(names),
                mend="correct partition_by",
            )
        )
    filesystem, path = _filesystem(place, destination.s3_endpoint_override)
    with reaching(place, "logs"):
        if DeltaTable.is_deltatable(place.uri, place.storage_options):
            raise _no_logs(place, "a Delta table, in which Parquet files would be no rows")
        ds.write_dataset(
            rows,
            path,
            filesystem=filesystem,
            format="parquet",
            basename_template=f"{uuid.uuid4().hex}-{{i}}.parquet",
            partitioning=names,
            partitioning_flavor="hive" if names else None,
            existing_data_behavior="overwrite_or_ignore",
        )


def _filesystem(place: Place, endpoint: str) -> tuple[pafs.FileSystem, str]:
    """What Arrow reaches a folder by, as Feast's file source does; the path within it."""
    filesystem, path = FileSource.create_filesystem_and_path(place.uri, endpoint)
    return filesystem or pafs.LocalFileSystem(), path


def _no_logs(place: Place, content: str) -> TableError:
    return TableError(
        explain(
            f"logs, {place.uri}",
            expected="a folder of their own",
            found=content,
            mend="give the destination another path",
        )
    )
