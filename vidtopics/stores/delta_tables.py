"""Opening Delta tables for the offline store: where they lie, and that Arrow can read them right."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from feast import RepoConfig

from vidtopics.errors import TableError, explain
from vidtopics.tables.scans import scan


def uri_of(config: RepoConfig, path: str) -> str:
    """A source's path; a relative one lies below `root` of the offline store, which is relative to the repository."""
    if urlsplit(path).scheme or Path(path).is_absolute():
        return path
    root = getattr(config.offline_store, "root", "")
    if urlsplit(root).scheme:
        return f"{root.rstrip('/')}/{path}"
    return str(Path(config.repo_path or ".") / root / path)


def open_table(uri: str, where: str, version: int | None = None) -> DeltaTable:
    """The table at a version (the newest by default); TableError where there is none, `where` says who asked."""
    try:
        return DeltaTable(uri, version=version)
    except TableNotFoundError:
        raise TableError(
            explain(f"{where}, {uri}", expected="a Delta table", found="none",
                    mend="run the job that writes it, or correct the path or `root` in feature_store.yaml")
        ) from None  # fmt: skip


def dataset_of(delta: DeltaTable) -> ds.FileSystemDataset:
    """The snapshot's files in the order of their names: how the log lists them may change with a checkpoint. TableError as of `scan`."""
    found = scan(delta)
    ordered = sorted(found.get_fragments(), key=lambda fragment: str(fragment.path))
    return ds.FileSystemDataset(ordered, found.schema, found.format, found.filesystem)
