"""What upkeep did to a table, or would do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Maintained:
    """One table.

    `files`, `bytes`: of its latest version, as found. `compacted`: small files that were merged,
    `into` so many. `checkpoint`: the version that was written as one; None: there was one.
    `removed_files`, `removed_bytes`: data files that no version in use needs. `removed_entries`:
    entries and checkpoints of the log. `skipped`: why the rest waits for the next run; `fault`: why
    the table can't be maintained.
    """

    table: str
    files: int = 0
    bytes: int = 0
    compacted: int = 0
    compacted_bytes: int = 0
    into: int = 0
    checkpoint: int | None = None
    removed_files: int = 0
    removed_bytes: int = 0
    removed_entries: int = 0
    skipped: str = ""
    fault: str = ""

    @property
    def idle(self) -> bool:
        """Whether there was nothing to do."""
        work = (self.compacted, self.removed_files, self.removed_entries)
        return not any(work) and self.checkpoint is None and not (self.skipped or self.fault)
