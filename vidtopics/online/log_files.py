"""The files of a serving log: a new one whenever one is full; the oldest go where the folder is."""

from __future__ import annotations

import os
from pathlib import Path

FILE_BYTES = 64 * 2**20
FOLDER_BYTES = 2**30
PATTERN = "served-*.jsonl"


class LogFiles:
    """Appends lines below a folder.

    Each is one write, so that a process that dies leaves one torn line at most.

    A process never appends to another's file: a torn line is always the last of its file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = 0
        self._left = 0
        self._descriptor: int | None = None

    def append(self, line: bytes) -> None:
        """Write a line; OSError where the disk doesn't take it."""
        if self._descriptor is None or len(line) > self._left:
            self._open_next()
        assert self._descriptor is not None
        if os.write(self._descriptor, line) < len(
            line
        ):  # the disk is full: half a line ends this file
            self.close()
            raise OSError(f"{self.folder}: half a line was written")
        self._left -= len(line)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open_next(self) -> None:
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_room()
        while self._descriptor is None:
            self._number += 1
            path = self.folder / f"served-{os.getpid()}-{self._number:06}.jsonl"
            try:
                self._descriptor = os.open(
                    path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666
                )
            except FileExistsError:  # of a process that had this number before
                continue
        self._left = FILE_BYTES

    def _make_room(self) -> None:
        """Remove the oldest files until another full one fits."""
        files = sorted(
            (s.st_mtime_ns, s.st_size, p) for p in self.folder.glob(PATTERN) if (s := _stat(p))
        )
        total = sum(size for _, size, _ in files) + FILE_BYTES
        for _, size, path in files:
            if total <= FOLDER_BYTES:
                break
            path.unlink(missing_ok=True)
            total -= size


def _stat(path: Path) -> os.stat_result | None:
    """None where another process has just removed it."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
