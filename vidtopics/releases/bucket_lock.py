"""The lock of a home in a bucket: a lease that its owner renews (docs/adr/0065).

It outlives a process that dies. On the same machine the next run takes it at once, as the kernel's
lock on a file of the mirror ended with its owner; on another once the owner has been silent for
:data:`STALE_S` by the store's clock.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vidtopics.releases.folder_lock import is_locked
from vidtopics.releases.owners import FILE, STALE_S, HeldError, Owner
from vidtopics.storage import Address, leases
from vidtopics.storage.leases import Holding
from vidtopics.storage.mirrors import origin
from vidtopics.storage.objects import Objects
from vidtopics.tables.releases import overtaken

BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class BucketLock:
    """A held lock; `file`: the file of the mirror whose lock it has too, None if another has it."""

    owner: Owner
    objects: Objects = field(repr=False)
    holding: Holding = field(repr=False)
    file: int | None = field(repr=False)

    @property
    def number(self) -> int:
        """The run's number: greater than that of every run before."""
        return self.owner.number

    def check(self) -> None:
        """BusyError where a later run has taken this one's place."""
        current = leases.stored(self.objects)
        if not leases.is_own(self.holding, current):
            other = _owner(current.holding.holder) if current else None
            where = f"{self.objects.address}/{FILE}"
            raise overtaken(where, f"{other or 'another run'} has the lock")

    def touch(self) -> None:
        """Say that the run is alive; one that was overtaken says nothing."""
        leases.renew(self.objects, self.holding)

    def release(self) -> None:
        """Give the lock back."""
        try:
            leases.give_back(self.objects, self.holding)
        finally:
            if self.file is not None:
                os.close(self.file)


def acquire(home: Path, command: str) -> BucketLock:
    """Take the lock of the home that a mirror mirrors.

    Raises:
        HeldError: another run has it.
        SettingsError: the store has no conditional requests.
        TableError: the store is out of reach.
    """
    objects = Objects(Address.parse(origin(home) or ""))
    file = _local_file(home / FILE)
    place = _place(file)
    try:
        while True:
            before = leases.stored(objects)
            owner = _owner(before.holding.holder) if before else None
            if before and before.holding.is_held and not (place and before.holding.place == place):
                silent_s = leases.silent_s(objects, before)
                if silent_s < STALE_S:
                    raise HeldError(f"{objects.address}/{FILE}", owner, silent_s)
            new = Owner.next(command, owner)
            holding = leases.take(objects, asdict(new), place, before)
            if holding is not None:
                return BucketLock(new, objects, holding, file)
    except BaseException:
        if file is not None:
            os.close(file)
        raise


def _local_file(path: Path) -> int | None:
    """The mirror's file, locked by this process; None where another of this machine has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    if is_locked(file):
        return file
    os.close(file)
    return None


def _place(file: int | None) -> str:
    """What only who could lock this very file of this very boot says; empty where none can.

    Who has the lock of the file knows that an owner of the same place is dead.
    """
    if file is None:
        return ""
    with suppress(OSError):
        info = os.fstat(file)
        return f"{BOOT.read_text().strip()}:{info.st_dev}:{info.st_ino}"
    return ""


def _owner(plain: Mapping[str, Any]) -> Owner | None:
    try:
        return Owner(**plain)
    except TypeError:
        return None
