"""Feast data sources as Delta tables: where they lie, which version is read, how their columns are called in a view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from feast import FileSource, RepoConfig
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from numpy.typing import NDArray

from vidtopics.errors import TableError, explain
from vidtopics.tables.scans import scan


@dataclass(frozen=True)
class Source:
    """A Delta table at one version. `renamed`: names in the view, and the columns that they are in the table."""

    delta: DeltaTable
    event: str
    created: str
    renamed: dict[str, str]

    @classmethod
    def of(cls, config: RepoConfig, source: DataSource | None) -> Source:
        """The table behind a source, at its latest version; TableError where there is none."""
        if not isinstance(source, FileSource) or not isinstance(source.file_format, DeltaFormat):
            raise TableError(
                explain(
                    f"source {getattr(source, 'name', source)!r}",
                    expected="FileSource(..., file_format=DeltaFormat())",
                    found=type(source).__name__,
                    mend="give the view such a source, or use another offline store",
                )
            )
        uri = uri_of(config, source.path)
        try:
            delta = DeltaTable(uri)
        except TableNotFoundError:
            raise TableError(
                explain(uri, expected=f"the Delta table of source {source.name!r}", found="none",
                        mend="run the job that writes it, or correct `root` in feature_store.yaml")
            ) from None  # fmt: skip
        back = {new: old for old, new in (source.field_mapping or {}).items()}
        return cls(delta, source.timestamp_field, source.created_timestamp_column or "", back)

    @property
    def pin(self) -> dict[str, Any]:
        """What names this read: the same table id and version give the same rows."""
        return {"table_id": str(self.delta.metadata().id), "version": self.delta.version()}

    def read(self, names: Sequence[str], where: ds.Expression | None = None) -> pa.Table:
        """Columns under their names in the view."""
        columns = {name: ds.field(self.renamed.get(name, name)) for name in names}
        return scan(self.delta).to_table(columns=columns, filter=where)

    def times(self, rows: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Event and created time of rows, microseconds; without a created column the event time stands for it."""
        event = microseconds(rows[self.event])
        return event, microseconds(rows[self.created]) if self.created else event

    @property
    def time_columns(self) -> list[str]:
        """The columns that :meth:`times` needs."""
        return [self.event, *([self.created] if self.created else [])]


def uri_of(config: RepoConfig, path: str) -> str:
    """A source's path; a relative one lies below `root` of the offline store, which is relative to the repository."""
    if urlsplit(path).scheme or Path(path).is_absolute():
        return path
    root = getattr(config.offline_store, "root", "")
    if urlsplit(root).scheme:
        return f"{root.rstrip('/')}/{path}"
    return str(Path(config.repo_path or ".") / root / path)


def microseconds(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Microseconds since 1970; a time without zone is UTC, a null is the smallest number."""
    if not pa.types.is_timestamp(column.type):
        raise TableError(
            explain("a time column", expected="timestamps", found=str(column.type), mend="convert it before the join")
        )
    plain = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False).cast(pa.int64())
    found: NDArray[np.int64] = pc.fill_null(plain, np.iinfo(np.int64).min).to_numpy()
    return found
