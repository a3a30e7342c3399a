"""What the store hands back to Feast: a result that is computed when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable, Schema, write_deltalake
from feast import OnDemandFeatureView, RepoConfig
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import (
    DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL as EVENT_TIMESTAMP,
)
from feast.saved_dataset import SavedDatasetStorage

from vidtopics.errors import TableError, explain
from vidtopics.stores.delta.sources import table_of
from vidtopics.stores.delta.tables import reaching
from vidtopics.tables.pins import Pins, pins_of_commit


class DeltaRetrievalJob(RetrievalJob):
    """A join or read that runs when its result is asked for."""

    def __init__(
        self,
        config: RepoConfig,
        compute: Callable[[], tuple[pa.Table, Pins | None]],
        *,
        full_feature_names: bool = False,
        on_demand: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._config = config
        self._compute = compute
        self._full_feature_names = full_feature_names
        self._on_demand = list(on_demand)
        self._metadata = metadata
        self._pins: Pins | None = None

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        table, self._pins = self._compute()
        return table

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame

    @property
    def pins(self) -> dict[str, dict[str, Any]]:
        """What the last result was made of, for `json.dumps` and `pinned`.

        TableError before there is a result.
        """
        if self._pins is None:
            raise TableError(
                explain(
                    "job.pins",
                    expected="a finished join",
                    found="none",
                    mend="call to_df() or to_arrow() first",
                )
            )
        return self._pins.plain()

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
        """Write the result as a Delta table, one commit, with its pins in the commit's metadata.

        Raises:
            SavedDatasetLocationAlreadyExists: there is a table, and it may not be overwritten
                (Feast's error, as its callers expect).
            TableError: the storage isn't `SavedDatasetFileStorage(path, DeltaFormat())`, a column
                has a type that Delta hasn't, or Feast couldn't read the table back, as the spine's
                time has another name than event_timestamp.
        """
        place = table_of(self._config, storage.to_data_source())
        where = "saved dataset"
        with reaching(place, where):
            exists = DeltaTable.is_deltatable(place.uri, place.storage_options)
        if exists and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=place.uri)
        table = self.to_arrow(timeout=timeout)
        if EVENT_TIMESTAMP not in table.column_names:
            raise TableError(
                explain(
                    f"{where} {place.uri}",
                    expected=f"a column {EVENT_TIMESTAMP}, by which Feast reads it",
                    found=", ".join(table.column_names),
                    mend=f"call the spine's time {EVENT_TIMESTAMP}",
                )
            )
        _check_types(table.schema, f"{where} {place.uri}")
        with reaching(place, where):
            write_deltalake(
                place.uri,
                table.replace_schema_metadata(),
                mode="overwrite",
                schema_mode="overwrite",
                commit_properties=pins_of_commit(table.schema),
                storage_options=place.storage_options,
            )

    def to_sql(self) -> str:
        """Refused: the join is no SQL text."""
        raise _dataset_error("to_sql", "to_arrow() or persist()")

    def to_remote_storage(self) -> list[str]:
        """Refused; `supports_remote_storage_export` says so beforehand."""
        raise _dataset_error("to_remote_storage", "persist() with a path in the object store")


def _check_types(schema: pa.Schema, where: str) -> None:
    """TableError for columns of types that Delta hasn't, as durations."""
    for field in schema:
        if pa.types.is_timestamp(
            field.type
        ):  # of any unit: they are converted when they are written
            continue
        try:
            Schema.from_arrow(pa.schema([field]))
        except Exception as error:  # delta-rs raises it bare
            raise TableError(
                explain(
                    f"{where}, column {field.name}",
                    expected="a type that Delta has",
                    found=str(field.type),
                    mend="convert it in the spine, durations to numbers, say",
                )
            ) from error


def _dataset_error(what: str, mend: str) -> TableError:
    return TableError(
        explain(what, expected="a call that this store has", found="none", mend=f"use {mend}")
    )
