"""Reading a Delta snapshot with Arrow."""

from __future__ import annotations

import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaProtocolError
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem

from vidtopics.errors import TableError, explain
from vidtopics.paths import from_uri, is_url

# What has to be done in the engine that wrote the table, so that its files alone say what its rows
# are.
MENDS = {
    "deletionVectors": "REORG TABLE ... APPLY (PURGE), "
    "then ALTER TABLE ... DROP FEATURE deletionVectors",
    "columnMapping": "ALTER TABLE ... DROP FEATURE columnMapping, or copy the table",
}


def scan(delta: DeltaTable) -> ds.Dataset:
    """The snapshot as an Arrow dataset, as delta-rs lists its files.

    Local files are read by Arrow itself, those of an object store through delta-rs, by the table's
    own options. That reader is Python to Arrow: a read-ahead that is still under way when the
    process ends finds no interpreter and aborts it ("terminate called without an active exception",
    once in forty processes under load).

    Raises:
        TableError: the table has a feature that Arrow reads wrong or not at all (deletion vectors,
            column mapping).
    """
    mode = delta.metadata().configuration.get("delta.columnMapping.mode") or "none"
    if mode != "none":
        # In reader version 2 no feature is listed: delta-rs hands out a dataset whose columns are
        # all null.
        raise _unreadable(delta, "columnMapping")
    try:
        return delta.to_pyarrow_dataset(filesystem=_local(delta.table_uri))
    except DeltaProtocolError as error:
        features = delta.protocol().reader_features or []
        raise _unreadable(delta, ", ".join(sorted(features)) or str(error)) from error


def _local(uri: str) -> FileSystem | None:
    if is_url(uri) and not uri.startswith("file:"):
        return None
    return SubTreeFileSystem(str(from_uri(uri)), LocalFileSystem())


def _unreadable(delta: DeltaTable, features: str) -> TableError:
    mend = "; ".join(text for name, text in MENDS.items() if name in features)
    return TableError(
        explain(
            delta.table_uri,
            expected="a table whose files alone say what its rows are",
            found=f"the reader features {features}",
            mend=mend or "write the table without them",
        )
    )
