"""`bucket.json` of a mirror: the bucket's address, and what each file was when it was in step."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vidtopics.files import write_whole

if TYPE_CHECKING:
    from vidtopics.storage.addresses import Address
    from vidtopics.storage.objects import Listed

MARK = "bucket.json"


class Synced(NamedTuple):
    """A file that was fetched or sent.

    `size`, `tag`: as the store lists it; `mtime_ns`: of the local file, which another time of
    change tells from one that was written since.
    """

    size: int
    tag: str | None
    mtime_ns: int

    def is_object(self, item: Listed | None) -> bool:
        """Whether the store has the same bytes still."""
        return item is not None and (self.size, self.tag) == (item.size, item.tag)

    def is_file(self, path: Path) -> bool:
        """Whether the local file wasn't touched since."""
        try:
            info = path.stat()
        except FileNotFoundError:
            return False
        return (self.size, self.mtime_ns) == (info.st_size, info.st_mtime_ns)


@dataclass
class Note:
    """The bucket's address, and by key the files that were fetched or sent."""

    url: str
    files: dict[str, Synced] = field(default_factory=dict)

    def record(self, folder: Path, key: str, item: Listed) -> None:
        """Enter a local file as what the store has."""
        self.files[key] = Synced(item.size, item.tag, (folder / key).stat().st_mtime_ns)


@contextmanager
def edited(folder: Path, address: Address) -> Iterator[Note]:
    """The note of a mirror, written back when the block ends, however that is.

    One process or thread at a time: of two that bring files, neither forgets the other's.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, as that goes where another home takes its place.
    lock = os.open(
        folder.with_name(f"{folder.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666
    )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        note = read_note(folder) or Note(str(address))
        try:
            yield note
        finally:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / MARK, json.dumps({"url": note.url, "files": note.files}))
    finally:
        os.close(lock)


def read_note(folder: Path) -> Note | None:
    """The note of a mirror; None for another folder."""
    try:
        plain = json.loads((folder / MARK).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Note(str(plain["url"]), {key: Synced(*file) for key, file in plain["files"].items()})
