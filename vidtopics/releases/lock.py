"""One writing run per home at a time, and a number by which the release log refuses an older run.

A home in a folder is locked by the kernel (:mod:`.folder_lock`), one in a bucket by a lease there
(:mod:`.bucket_lock`). Either says who has it and when that was last heard of, and is taken over
after :data:`STALE_S` of silence. The number of a run is greater than all before, so that an owner
which comes back can't release (docs/adr/0024).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from vidtopics.errors import VidtopicsError
from vidtopics.releases import folder_lock
from vidtopics.releases.owners import FILE, STALE_S, TOUCH_S, HeldError, Owner
from vidtopics.storage.mirrors import origin

__all__ = ["FILE", "SMALL_RELEASE", "STALE_S", "RunLock", "acquire", "hold"]

SMALL_RELEASE = "vidtopics infer"
"""The command of an owner that has the lock for seconds: others wait for it."""
PATIENCE_S = 600.0
"""For how long they do; on a machine that has far too much to do it was not done in a minute."""
POLL_S = 0.1
BUCKET_POLL_S = 2.0


class RunLock(Protocol):
    """A held lock."""

    @property
    def owner(self) -> Owner:
        """Who has it."""

    @property
    def number(self) -> int:
        """The run's number: greater than that of every run before."""

    def check(self) -> None:
        """BusyError where a later run has taken this one's place."""

    def touch(self) -> None:
        """Say that the run is alive."""

    def release(self) -> None:
        """Give the lock back."""


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
            # A full disk, or a store out of reach, is the run's to report.
            with suppress(OSError, VidtopicsError):
                lock.touch()

    thread = threading.Thread(target=beat, name="run-lock", daemon=True)
    thread.start()
    try:
        with _in_step(home, lock):
            yield lock
    finally:
        stop.set()
        thread.join()
        lock.release()


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
        except HeldError as error:
            is_small = error.owner is not None and error.owner.command == SMALL_RELEASE
            if time.monotonic() - began >= max(patience_s, PATIENCE_S if is_small else 0.0):
                raise
        time.sleep(POLL_S if origin(home) is None else BUCKET_POLL_S)


def acquire(home: Path, command: str) -> RunLock:
    """Take the lock of a home; its `release` gives it back.

    Raises:
        HeldError: another run has it.
        TableError: there is no such folder, or the store of a bucket is out of reach.
        SettingsError: the store has no conditional requests.
    """
    if origin(home) is None:
        return folder_lock.acquire(home, command)
    from vidtopics.releases import bucket_lock  # it loads obstore, which folders don't need

    return bucket_lock.acquire(home, command)
