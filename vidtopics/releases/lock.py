"""One writing run per home at a time, and a number by which the release log refuses an older run.

The lock is the kernel's (`flock` on `<home>/run.lock`): it ends with its process, however that
dies. Its owner writes who it is into the file and touches it while it works. An owner whose file
wasn't touched for :data:`STALE_S` is dead or stands still on another machine of a shared file
system, which can't be asked: a later run puts another file in its place. The number of a run is
greater than all before, so that an owner which comes back can't release (docs/adr/0024).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vidtopics.errors import BusyError, TableError, explain
from vidtopics.storage.mirrors import origin
from vidtopics.tables.releases import overtaken
from vidtopics.times import micros

FILE = "run.lock"
TOUCH_S = 10.0
STALE_S = 120.0
SMALL_RELEASE = "vidtopics infer"
"""The command of an owner that has the lock for seconds: others wait for it."""
PATIENCE_S = 600.0
"""For how long they do; on a machine that has far too much to do it was not done in a minute."""
POLL_S = 0.1


@dataclass(frozen=True)
class Owner:
    """Who holds the lock: its command, host and process, since when, and its number."""

    command: str
    host: str
    pid: int
    since: str
    number: int

    def __str__(self) -> str:
        return f"`{self.command}`, process {self.pid} on {self.host}, since {self.since}"


@dataclass(frozen=True)
class RunLock:
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


@contextmanager
def hold(home: Path, command: str, *, patience_s: float = 0.0) -> Iterator[RunLock]:
    """Hold the home's lock.

    Args:
        home: whose lock it is.
        command: who holds it, for others' messages.
        patience_s: for how long to wait for another run; for a small release :data:`PATIENCE_S`.

    Raises:
        BusyError: another run has it; it is named, with its age.
    """
    lock = _acquire_in_time(home, command, patience_s)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(TOUCH_S):
            with suppress(OSError):  # a full disk is the run's to report
                lock.touch()

    thread = threading.Thread(target=beat, name="run-lock", daemon=True)
    thread.start()
    try:
        with _in_step(home, lock):
            yield lock
    finally:
        stop.set()
        thread.join()
        os.close(lock.file)


@contextmanager
def _in_step(home: Path, lock: RunLock) -> Iterator[None]:
    """Within the block the mirror of a bucket is written; another home is as it is."""
    if origin(home) is None:
        yield
        return
    from vidtopics.storage.sending import writing  # it loads obstore, which folders don't need

    with writing(home.absolute(), lock.check):
        yield


def _acquire_in_time(home: Path, command: str, patience_s: float) -> RunLock:
    began = time.monotonic()
    while True:
        try:
            return acquire(home, command)
        except BusyError:
            owner = _owner(home / FILE)
            is_small = owner is not None and owner.command == SMALL_RELEASE
            if time.monotonic() - began >= max(patience_s, PATIENCE_S if is_small else 0.0):
                raise
        time.sleep(POLL_S)


def acquire(home: Path, command: str) -> RunLock:
    """Take the lock of a home; `os.close(lock.file)` gives it back.

    Raises:
        BusyError: another run has it.
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
        if not _is_locked(file):
            os.close(file)
            file = _take_over(path)
        if _is_at(file, path):
            break
        os.close(file)  # another run put its own file there meanwhile
    before = _owner(path)
    number = max(micros(datetime.now(UTC)), before.number + 1 if before else 0)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    owner = Owner(command, socket.gethostname(), os.getpid(), since, number)
    _write(file, json.dumps(asdict(owner)))
    return RunLock(owner, path, file)


def _take_over(path: Path) -> int:
    """A locked file in place of one whose owner wasn't heard of; BusyError where it was.

    Those who would take over take turns: only the first finds the owner silent.
    """
    turns = os.open(path.with_suffix(".turns"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(turns, fcntl.LOCK_EX)
        owner, silent_s = _owner(path), _silent_s(path)
        if silent_s < STALE_S:
            raise _busy(path, owner, silent_s)
        new = path.with_suffix(f".{os.getpid()}")
        file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(file, fcntl.LOCK_EX)
        _write(file, json.dumps(asdict(owner)) if owner else "")
        os.replace(new, path)
        return file
    finally:
        os.close(turns)


def _is_locked(file: int) -> bool:
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


def _busy(path: Path, owner: Owner | None, silent_s: float) -> BusyError:
    return BusyError(
        explain(
            str(path),
            expected="no other run in this home",
            found=f"{owner or 'a run that has just begun'}, last heard of {silent_s:.0f} s ago",
            mend=f"wait for it; where it is dead on another machine, run again {STALE_S:.0f} s "
            "after it was last heard of",
        )
    )
