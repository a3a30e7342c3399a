"""A Delta log read from its end: entries newest first, each only when it is asked for.

An entry never changes, so what was parsed once is kept, by the identity of its file: after a backup
was put back another file may stand under the same number.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import pyarrow.parquet as pq

from vidtopics.tables.scans import refuse_outside

METADATA = "userMetadata"
LOG = "_delta_log"
VERSION = re.compile(r"(\d{20})\.(?:json|checkpoint\.(?:.+\.)?parquet)")
ERASED = "_erased"
"""A file of a log that each erasure makes anew, as it rewrites entries (docs/erasure.md)."""
CACHED = 16_384
Identity: TypeAlias = tuple[int, int, int]


class RewrittenError(Exception):
    """The rows of a table can't be told from its log alone: read the table."""


@dataclass(frozen=True)
class Entry:
    """What an entry says of its commit.

    `committed_us`: the writer's clock, microseconds since 1970; `metadata`: the text under
    `userMetadata`, empty if there is none.
    """

    version: int
    committed_us: int
    metadata: str


def latest_version(log: Path) -> int | None:
    """The last version in a log; None where there is no table.

    Counted on from the last checkpoint: a log of 10,000 entries isn't listed.
    """
    version = checkpointed_version(log)
    if version is None or _identity(_path(log, version)) is None:
        return _listed(log)
    while _identity(_path(log, version + 1)) is not None:
        version += 1
    return version


def entries(log: Path, version: int) -> Iterator[Entry]:
    """The entries from a version on backwards, as far as the log reaches."""
    for number in range(version, -1, -1):
        path = _path(log, number)
        identity = _identity(path)
        if identity is None:
            return
        yield _entry(path, identity, number)


def appended_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of an append-only table, those of the last commit first.

    Raises:
        RewrittenError: entries or files from here on back are gone or were rewritten.
    """
    log = folder / LOG
    version = latest_version(log)
    for number in range(-1 if version is None else version, -1, -1):
        path = _path(log, number)
        identity = _identity(path)
        if identity is None:
            raise RewrittenError(path)
        yield from _rows(str(folder), path, identity)


def actions(path: str, kind: str) -> list[dict[str, Any]]:
    """The actions of a kind (`add`, `remove`) in the file of an entry."""
    with open(path, encoding="utf-8") as lines:
        parsed = (json.loads(line) for line in lines if f'"{kind}"' in line[: len(kind) + 8])
        return [action[kind] for action in parsed if kind in action]


def log_files(log: Path, kind: str = "") -> list[tuple[int, str]]:
    """The entries (`kind` json) and checkpoints of a log, or both: version and path, ascending."""
    named = ((VERSION.fullmatch(name), f"{log}/{name}") for name in os.listdir(log))
    return sorted((int(m[1]), path) for m, path in named if m and path.endswith(kind))


def entry_identity(log: Path, version: int) -> Identity | None:
    """What tells the entry of a version from another under its number; None where there is none."""
    return _identity(_path(log, version))


def erased_identity(log: Path) -> Identity | None:
    """What tells a log from itself before an erasure; None where there was none."""
    return _identity(f"{log}/{ERASED}")


def checkpointed_version(log: Path) -> int | None:
    """The version of the last checkpoint; None where the log doesn't say."""
    try:
        return int(json.loads((log / "_last_checkpoint").read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _listed(log: Path) -> int | None:
    try:
        return max((version for version, _ in log_files(log)), default=None)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _path(log: Path, version: int) -> str:
    return f"{log}/{version:020}.json"


def _identity(path: str) -> Identity | None:
    """What tells a file from another under its name; None where there is none."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return None
    return info.st_mtime_ns, info.st_size, info.st_ino


@lru_cache(CACHED)
def _entry(path: str, identity: Identity, version: int) -> Entry:
    """The file is read here: delta-rs' `history` is empty below a folder with `#` or `?`.

    It also is off by the commits that came since its handle was opened.
    """
    info = next(iter(actions(path, "commitInfo")), {})
    return Entry(version, int(info.get("timestamp") or 0) * 1_000, info.get(METADATA) or "")


@lru_cache(CACHED)
def _rows(folder: str, path: str, identity: Identity) -> tuple[dict[str, Any], ...]:
    """The rows that a commit appended, the last first."""
    if actions(path, "remove"):  # a compaction: one file has all rows of before
        raise RewrittenError(path)
    names = [unquote(file["path"]) for file in actions(path, "add")]
    refuse_outside(names, folder)
    try:
        rows = [row for name in names for row in pq.read_table(f"{folder}/{name}").to_pylist()]
    except FileNotFoundError as error:
        raise RewrittenError(path) from error
    return tuple(reversed(rows))
