"""The data files of a Delta snapshot: their names, a digest of these, and which are gone."""

from __future__ import annotations

import re
from collections.abc import Collection
from hashlib import blake2b
from urllib.parse import unquote

from deltalake import DeltaTable
from pyarrow.fs import FileType

from vidtopics.tables.scans import local, scan

_WITHOUT_PEOPLE = re.compile(r"\.e(\d+)(?=\.parquet$)")
"""What an erasure puts into the name of a file that it wrote anew."""


def data_files(delta: DeltaTable) -> frozenset[str]:
    """Names of the snapshot's data files, relative to the table, from its log alone."""
    root = delta.table_uri.removeprefix("file://").rstrip("/") + "/"
    return frozenset(unquote(uri.removeprefix(root)) for uri in delta.file_uris())


def files_digest(names: Collection[str]) -> str:
    """A hash of data files' names.

    It tells two histories of one table apart, as a writer names each file at random. A file that an
    erasure wrote anew counts as the one that it was: the version is the same without a person.

    >>> files_digest(["b", "a"]) == files_digest(["a", "b"]) != files_digest(["ab"])
    True
    """
    canonical = sorted(map(canonical_name, names))
    return blake2b("\0".join(canonical).encode(), digest_size=8).hexdigest()


def canonical_name(name: str) -> str:
    """The name that a file had before any erasure.

    >>> canonical_name("a/part-0.e2.parquet"), canonical_name("part-0.parquet")
    ('a/part-0.parquet', 'part-0.parquet')
    """
    return _WITHOUT_PEOPLE.sub("", name)


def next_name(name: str) -> str:
    """What a file is called once an erasure has written it anew.

    >>> next_name("part-0.parquet"), next_name("part-0.e1.parquet")
    ('part-0.e1.parquet', 'part-0.e2.parquet')
    """
    marked = _WITHOUT_PEOPLE.search(name)
    number = int(marked[1]) + 1 if marked else 1
    return f"{canonical_name(name).removesuffix('.parquet')}.e{number}.parquet"


def missing_files(delta: DeltaTable, names: Collection[str] | None = None) -> frozenset[str]:
    """The snapshot's data files (of `names`, if given) that its log names and its folder lacks."""
    filesystem = local(delta.table_uri)
    if filesystem is not None and not delta.metadata().partition_columns:
        paths = [name for name in data_files(delta) if names is None or name in names]
    else:
        dataset = scan(delta)
        filesystem = dataset.filesystem
        paths = [
            f.path for f in dataset.get_fragments() if names is None or unquote(f.path) in names
        ]
    infos = filesystem.get_file_info(paths)
    return frozenset(
        unquote(path)
        for path, info in zip(paths, infos, strict=True)
        if info.type == FileType.NotFound
    )
