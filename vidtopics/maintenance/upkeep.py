"""Upkeep of one Delta table, step by step; each step leaves it whole, and done again does nothing.

Steps: retention, compaction, data files, checkpoint, log.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from vidtopics.maintenance.names import covering_versions
from vidtopics.maintenance.reports import Maintained
from vidtopics.settings import MaintenanceSettings
from vidtopics.storage.mirrors import follow_table
from vidtopics.tables.commits import log_folder
from vidtopics.tables.scans import local, require_plain, scan
from vidtopics.tables.tail import actions, checkpointed_version, log_files

TARGET_BYTES = 128 * 2**20
SMALL_BYTES = TARGET_BYTES // 4
MONTH = timedelta(days=30)
CHECKPOINT_AFTER = 10
"""Entries behind the last checkpoint that are worth another one."""
SMALL_FILES = 16
"""Fewer small files than this cost a reader less than their compaction costs the next load."""
LOG_RETENTION = "delta.logRetentionDuration"
FILE_RETENTION = "delta.deletedFileRetentionDuration"


@dataclass
class Upkeep:
    """What one table needs; `named` versions stay readable beyond `settings.keep_versions`."""

    delta: DeltaTable
    settings: MaintenanceSettings
    named: frozenset[int]
    now_us: int
    maintained: Maintained
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = log_folder(self.delta)
        first = min((version for version, _ in log_files(self.log)), default=0)
        latest = self.delta.version()
        self.named = frozenset(version for version in self.named if first <= version <= latest)

    def run(self, dry_run: bool) -> None:
        """Do all steps, or count what they would do.

        Raises:
            TableError: the table has deletion vectors or column mapping.
            CommitFailedError: another writer's commit came in between.
        """
        require_plain(self.delta)
        entries = log_files(self.log)
        self._set_retention(dry_run)
        self._compact(dry_run)
        self._remove_files(dry_run)
        self._checkpoint(dry_run)
        if not dry_run:
            self.delta.cleanup_metadata()
            follow_table(self.delta.table_uri)
        self.maintained.removed_entries = (
            self._expired_entries()
            if dry_run
            else sum(not os.path.exists(path) for _, path in entries)
        )

    def _set_retention(self, dry_run: bool) -> None:
        """The table's properties are what readers of pins, and both engines, go by."""
        keep = self.settings
        properties = {
            LOG_RETENTION: interval(self._log_horizon()),
            FILE_RETENTION: interval(keep.keep_versions),
        }
        configuration = self.delta.metadata().configuration
        if not dry_run and any(
            configuration.get(name) != text for name, text in properties.items()
        ):
            self.delta.alter.set_table_properties(properties)
            self._open_again()

    def _open_again(self) -> None:
        follow_table(self.delta.table_uri)
        self.delta = DeltaTable(self.delta.table_uri)

    def _log_horizon(self) -> timedelta:
        """A version opens as long as the log reaches back to it."""
        ages = [self._age(version) for version in self.named]
        named = max(ages, default=timedelta(0))
        longest = max(self.settings.keep_releases, self.settings.keep_versions)
        return longest if named < longest else (named // MONTH + 2) * MONTH

    def _age(self, version: int) -> timedelta:
        """Of a version's entry: a cleanup leaves the checkpoint that the first young one needs."""
        path = next(path for number, path in log_files(self.log) if number >= version)
        return timedelta(seconds=self.now_us / 1e6 - os.stat(path).st_mtime)

    def _compact(self, dry_run: bool) -> None:
        adds = pa.table(self.delta.get_add_actions())
        sizes = adds["size_bytes"].to_pylist()
        self.maintained.files, self.maintained.bytes = len(sizes), sum(sizes)
        partitions = adds["partition"].to_pylist() if "partition" in adds.column_names else sizes
        keys = [str(p) if isinstance(p, dict) else "" for p in partitions]
        small = [(key, size) for key, size in zip(keys, sizes, strict=True) if size < SMALL_BYTES]
        counts = Counter(key for key, _ in small)
        merged = [size for key, size in small if counts[key] > 1]
        if len(merged) < SMALL_FILES:
            return
        self.maintained.compacted, self.maintained.compacted_bytes = len(merged), sum(merged)
        if not dry_run:
            metrics = self.delta.optimize.compact(target_size=TARGET_BYTES)
            self.maintained.compacted = metrics["numFilesRemoved"]
            self.maintained.into = metrics["numFilesAdded"]
            follow_table(self.delta.table_uri)

    def _checkpoint(self, dry_run: bool) -> None:
        if not dry_run:
            self._open_again()  # a vacuum's commits are past the handle
        last = checkpointed_version(self.log)
        if self.delta.version() - (-1 if last is None else last) < CHECKPOINT_AFTER:
            return
        self.maintained.checkpoint = self.delta.version()
        if not dry_run:
            self.delta.create_checkpoint()
            follow_table(self.delta.table_uri)

    def _remove_files(self, dry_run: bool) -> None:
        removals = [
            version for version, path in log_files(self.log, "json") if actions(path, "remove")
        ]
        needed = covering_versions(self.named, removals)
        names = self.delta.vacuum(full=True, keep_versions=needed)
        files = local(self.delta.table_uri) or scan(self.delta).filesystem
        self.maintained.removed_files = len(names)
        # Of a file that is gone the size is None.
        self.maintained.removed_bytes = sum(
            info.size or 0 for info in files.get_file_info(names) if names
        )
        if names and not dry_run:
            self.delta.vacuum(dry_run=False, full=True, keep_versions=needed)

    def _expired_entries(self) -> int:
        """Files of the log before the last checkpoint that a version within the horizon needs."""
        horizon_s = self.now_us / 1e6 - self._log_horizon().total_seconds()
        entries = log_files(self.log, "json")
        young = (version for version, path in entries if os.stat(path).st_mtime >= horizon_s)
        first = min(young, default=self.delta.version())
        checkpoints = [v for v, _ in log_files(self.log, "parquet") if v <= first]
        needed = max(checkpoints, default=0)
        return sum(version < needed for version, _ in log_files(self.log))


def interval(length: timedelta) -> str:
    """A duration as Delta's properties have it.

    >>> interval(timedelta(days=400)), interval(timedelta(hours=36))
    ('interval 400 days', 'interval 129600 seconds')
    """
    if length % timedelta(days=1):
        return f"interval {length // timedelta(seconds=1)} seconds"
    return f"interval {length // timedelta(days=1)} days"
