"""Files that come into being as a whole, and folders that don't outlive their process."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtopics.errors import MachineError
from vidtopics.faults import NO_WRITING, dangling_link, dangling_message

LEAST_MAPPED = 2**28
"""Bytes of an array from which on it lies in a file rather than in memory."""


def empty_rows(folder: Path, rows: int, width: int) -> NDArray[np.float32]:
    """float32[rows, width] to be filled; a large one lies in a file without a name in `folder`.

    Its pages are the file's, which the system takes back where memory is short. The file is gone
    with the array, and with the process however that ends. Its space is reserved at once, as a disk
    that is full later would kill the process without a message.

    Raises:
        OSError: the disk has no room, or the folder can't be written.

    >>> empty_rows(Path("/nowhere"), 2, 3).shape
    (2, 3)
    """
    size = 4 * rows * width
    if size < LEAST_MAPPED or not size:
        return np.empty((rows, width), np.float32)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.float32, "r+", shape=(rows, width))
    except OSError as error:
        error.filename = str(folder)  # the file has no name
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write bytes, or text in UTF-8, beside `path` and rename it; what fails leaves the old file.

    The file is on disk before it has its name. Rights follow the umask. A link is followed, and a
    device (`/dev/stdout`) written as it is.

    Raises:
        MachineError: a link in the path leads nowhere.
        OSError: the file can't be written.
    """
    if link := dangling_link(path):
        raise MachineError(dangling_message(link))
    device = path.exists() and not path.is_file() and not path.is_dir()
    target = path if device else path.resolve()
    name = f".{os.getpid()}-{secrets.token_hex(4)}.part"
    partial = target if device else target.with_name(name)
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if not device:
                os.fsync(file.fileno())
        if not device:
            partial.replace(target)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # not the private name
        raise
    finally:
        if not device:
            with suppress(OSError):  # gone after the rename; a read-only disk refuses the removal
                partial.unlink()


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_cache(path: Path, text: str) -> None:
    """As :func:`write_whole`, but for what can be made again: not kept in a read-only folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        if error.errno not in NO_WRITING:
            raise


@contextmanager
def scratch_folder(parent: Path, kind: str) -> Iterator[Path]:
    """A new folder within `parent`, gone with the block.

    What processes that were killed left of this kind is removed first. An owner holds a lock on its
    folder, so one that isn't locked is nobody's.
    """
    _remove_unowned(parent, kind)
    path, lock = _owned_folder(parent, kind)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _owned_folder(parent: Path, kind: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(dir=parent, prefix=f".{kind}-"))
        with suppress(FileNotFoundError):  # taken for a dead process's before it was locked
            lock = os.open(path, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)


def _remove_unowned(parent: Path, kind: str) -> None:
    for path in parent.glob(f".{kind}-*"):
        with suppress(OSError):  # its owner removed it meanwhile
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
