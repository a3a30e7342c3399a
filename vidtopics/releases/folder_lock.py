"""The lock of a home in a folder: the kernel's (`flock` on `<home>/run.lock`).

It ends with its process, however that dies. Its owner writes who it is into the file and touches it
while it works. An owner whose file wasn't touched for :data:`STALE_S` is dead or stands still on
another machine of a shared file system, which can't be asked: a later run puts another file in its
place.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vidtopics.errors import TableError, explain
from vidtopics.releases.owners import FILE, STALE_S, HeldError, Owner
from vidtopics.tables.releases import overtaken


@dataclass(frozen=True)
class FolderLock:
    """A held lock.

    `file`: the open file whose lock it is; `path`: where it lies unless it was taken over.
    """

    owner: Owner
    path: Path = field(repr=False)
    file: int = field(repr=False)

    @property
    def number(self) -> int:
        """The run's number: greater than that of every run before."""
        return self.owner.number

    def check(self) -> None:
        """BusyError where a later run has taken this one's place."""
        if not _is_at(self.file, self.path):
            raise overtaken(str(self.path), f"{_owner(self.path) or 'another run'} has the lock")

    def touch(self) -> None:
        """Say that the run is alive."""
        os.utime(self.file)

    def release(self) -> None:
        """Give the lock back."""
        os.close(self.file)


def acquire(home: Path, command: str) -> FolderLock:
    """Take the lock of a home.

    Raises:
        HeldError: another run has it.
        TableError: there is no such folder.
    """
    if not home.is_dir():
        raise TableError(
            explain(
                str(home),
                expected="a home, which `vidtopics ingest` makes",
                found="nothing",
                mend="correct the path",
            )
        )
    path = home / FILE
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if not is_locked(file):
            os.close(file)
            file = _take_over(path)
        if _is_at(file, path):
            break
        os.close(file)  # another run put its own file there meanwhile
    owner = Owner.next(command, _owner(path))
    _write(file, json.dumps(asdict(owner)))
    return FolderLock(owner, path, file)


def _take_over(path: Path) -> int:
    """A locked file in place of one whose owner wasn't heard of; HeldError where it was.

    Those who would take over take turns: only the first finds the owner silent.
    """
    turns = os.open(path.with_suffix(".turns"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(turns, fcntl.LOCK_EX)
        owner, silent_s = _owner(path), _silent_s(path)
        if silent_s < STALE_S:
            raise HeldError(str(path), owner, silent_s)
        new = path.with_suffix(f".{os.getpid()}")
        file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(file, fcntl.LOCK_EX)
        _write(file, json.dumps(asdict(owner)) if owner else "")
        os.replace(new, path)
        return file
    finally:
        os.close(turns)


def is_locked(file: int) -> bool:
    """Whether this process has the lock of the file now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    """Whether the open file is the one that lies at the path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _write(file: int, text: str) -> None:
    os.pwrite(file, text.encode(), 0)
    os.ftruncate(file, len(text.encode()))


def _owner(path: Path) -> Owner | None:
    """Who wrote to the file; None where nobody did, or the text isn't whole."""
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Owner(**plain)
    except (OSError, ValueError, TypeError):
        return None


def _silent_s(path: Path) -> float:
    """Seconds since the owner last touched the file; 0 where it is gone, as nobody is silent."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return 0.0
