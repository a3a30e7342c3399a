"""Topic model versions below `<home>/models/topics/N`: safetensors, Arrow files and a manifest.

A version is written into a hidden folder, its manifest last, and renamed: a reader sees all of it
or nothing. Versions are never changed. Who saves holds the home's run lock.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import feather

from vidtopics.errors import TableError, explain
from vidtopics.failpoints import failpoint
from vidtopics.files import sha256, sync, write_whole
from vidtopics.layout.known import known_fields
from vidtopics.tables import FOREVER
from vidtopics.tables.releases import Release, released
from vidtopics.topic_models.model import ARRAYS, JOINT, TAGS, TOPICS, Arrays, TopicModel, Version

MANIFEST = "manifest.json"
ENCODERS = "encoders"
MEND = "restore the folder from a backup, or train another version: vidtopics train topics"


def save(
    home: Path, model: TopicModel, write_encoders: Callable[[Path], None] | None = None
) -> Version:
    """Save a model as the next version.

    Args:
        home: the home whose run lock the caller holds.
        model: what to save; `version.number` and `version.files` are filled in.
        write_encoders: writes the weights of encoders that were trained too into a folder.

    Returns:
        The manifest as it was saved.
    """
    root = _root(home)
    root.mkdir(parents=True, exist_ok=True)
    for abandoned in root.glob(".*.part"):  # of a process that died
        shutil.rmtree(abandoned)
    number = max((version.number for version in versions(home)), default=0) + 1
    part = root / f".{number}.part"
    part.mkdir()
    write_whole(part / JOINT, _tensor_bytes(model.joint))
    write_whole(part / ARRAYS, _tensor_bytes(model.arrays))
    for name, table in ((TAGS, model.tags), (TOPICS, model.topics)):
        write_whole(part / name, _arrow_bytes(table))
    if write_encoders:
        (part / ENCODERS).mkdir()
        write_encoders(part / ENCODERS)
    failpoint("model.files")
    files = {
        path.relative_to(part).as_posix(): sha256(path)
        for path in sorted(part.rglob("*"))
        if path.is_file()
    }
    version = replace(model.version, number=number, files=files)
    write_whole(part / MANIFEST, json.dumps(asdict(version), indent=1, sort_keys=True))
    failpoint("model.manifest")
    part.rename(root / str(number))
    sync(root)
    return _manifest(home, number)


def versions(home: Path) -> list[Version]:
    """The manifests of all versions, by number; folders without one are none."""
    numbers = (int(p.parent.name) for p in _root(home).glob(f"*/{MANIFEST}") if _is_number(p))
    return [_manifest(home, number) for number in sorted(numbers)]


def load(home: Path, number: int) -> TopicModel:
    """A version with its contents.

    Raises:
        TableError: there is no such version, or a file is absent or not as it was saved.
    """
    from safetensors.numpy import load as load_tensors

    version = _manifest(home, number)
    contents = {name: _checked(home, version, name) for name in (JOINT, ARRAYS, TAGS, TOPICS)}
    return TopicModel(
        version,
        load_tensors(contents[JOINT]),
        load_tensors(contents[ARRAYS]),
        feather.read_table(pa.BufferReader(contents[TAGS])),
        feather.read_table(pa.BufferReader(contents[TOPICS])),
    )


def encoders(home: Path, version: Version) -> Path | None:
    """The folder of a version's own encoders, checked; None where they weren't trained.

    Raises:
        TableError: a file is absent or not as it was saved.
    """
    names = [name for name in version.files if name.startswith(f"{ENCODERS}/")]
    for name in names:
        path = _folder(home, version.number) / name
        if not path.is_file() or sha256(path) != version.files[name]:
            raise _damaged(path, version.files[name], "another file or none")
    return _folder(home, version.number) / ENCODERS if names else None


def in_force(
    home: Path, *, as_of_us: int, known_by_us: int = FOREVER, releases: Iterable[Release] = ()
) -> Version | None:
    """The version that a run infers with: the latest of its as-of time, as known by another.

    A rollback takes back every version that was trained before it and that no release names which
    stands: the next run infers with the version gone back to, until another is trained.
    """
    rows = list(releases)
    undone_us = max((row.created_us for row in rows if row.state == "rolled_back"), default=0)
    standing = {row.topic_model for row in released(rows)}
    eligible = [
        version
        for version in versions(home)
        if version.as_of_us <= as_of_us
        and version.created_us <= known_by_us
        and (version.trained_us > undone_us or version.number in standing)
    ]
    return max(eligible, key=lambda version: (version.as_of_us, version.number), default=None)


def _root(home: Path) -> Path:
    return home / "models" / "topics"


def _folder(home: Path, number: int) -> Path:
    return _root(home) / str(number)


def _is_number(manifest: Path) -> bool:
    return manifest.parent.name.isdecimal()


def _manifest(home: Path, number: int) -> Version:
    path = _folder(home, number) / MANIFEST
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return Version(**known_fields(Version, tree))
    except FileNotFoundError:
        numbers = ", ".join(str(version.number) for version in versions(home)) or "none"
        raise TableError(
            explain(
                str(path.parent),
                expected=f"a topic model version; there are {numbers}",
                found="no such",
                mend="`vidtopics models` lists them",
            )
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise TableError(
            explain(str(path), expected="a manifest", found=str(error), mend=MEND)
        ) from None


def _checked(home: Path, version: Version, name: str) -> bytes:
    """A file's bytes; TableError where they aren't those that the manifest names."""
    path, expected = _folder(home, version.number) / name, version.files[name]
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _damaged(path, expected, "no such file") from None
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise _damaged(path, expected, actual[:16])
    return content


def _damaged(path: Path, expected: str, found: str) -> TableError:
    return TableError(
        explain(str(path), expected=f"bytes of SHA-256 {expected[:16]}", found=found, mend=MEND)
    )


def _tensor_bytes(arrays: Arrays) -> bytes:
    from safetensors.numpy import save as save_tensors

    # Arrays in another order would be saved as if they weren't.
    return save_tensors({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def _arrow_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    feather.write_feather(table, sink, compression="uncompressed")
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]
