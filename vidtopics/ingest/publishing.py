"""A delivery from its files to the input tables."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.dataset as ds
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from vidtopics.contracts import INPUTS, TABLES
from vidtopics.erasure.late import leave_out
from vidtopics.errors import MachineError, OutdatedError, explain
from vidtopics.faults import size, visible
from vidtopics.ingest.delivery import FileReport
from vidtopics.ingest.known import JOB, known
from vidtopics.ingest.source import Source
from vidtopics.ingest.staging import stage
from vidtopics.settings import IngestSettings, digest
from vidtopics.tables import Commit, Publication, Tables
from vidtopics.times import micros

COMMIT_BYTES = 16 * 1024
"""Room for a table's log entries and file footers, however few its rows are."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Ingested:
    """What a delivery brought: a report per file, and what each table took.

    Attributes:
        publications: the rows that each table took, those of refused rows too.
        already_there: by input table, how many delivered values or events it held before.
        erased: rows that were left out, as their people were erased since (docs/erasure.md).
    """

    files: Sequence[FileReport]
    publications: Sequence[Publication]
    already_there: Mapping[str, int]
    erased: int = 0


@retry(retry=retry_if_exception_type(OutdatedError), stop=stop_after_attempt(8), reraise=True)
def ingest(
    tables: Tables,
    source: Source,
    settings: IngestSettings,
    *,
    event_id_prefix: str = "",
    progress: Progress = lambda text: None,
) -> Ingested:
    """Read a delivery and publish its good rows; what was refused goes to `<table>_rejected`.

    A delivery that comes again adds nothing. Rows are judged against what the tables hold; if
    another delivery changes a table meanwhile, the whole is judged anew, up to eight times.

    Raises:
        InputError: nothing is published; see :func:`vidtopics.ingest.staging.stage`.
        OutdatedError: other deliveries changed the tables each time.
        MachineError: the disk has no room for the rows; nothing is published.
    """
    tables.home.mkdir(parents=True, exist_ok=True)
    now = known(tables)
    delivered_at = datetime.now(UTC)
    with tempfile.TemporaryDirectory(dir=tables.home, prefix="staging-") as folder:
        progress("reading")
        delivery = stage(
            source,
            Path(folder) / "delivery",
            settings,
            now,
            delivered_at=delivered_at,
            event_id_prefix=event_id_prefix,
        )
        erased = leave_out(tables.home, delivery.staged)
        _require_room(tables.home, delivery.staged.values())
        us = micros(delivered_at)
        commit = Commit(JOB, us, us, live=True, settings=digest(settings), content=delivery.content)
        publications = [
            _publish(tables, name, delivery.staged[name], commit, now.versions, progress)
            # The catalogue first: who reads in between finds no event of a video that isn't there.
            for name in [t.name for t in INPUTS] + [f"{t.name}_rejected" for t in INPUTS]
        ]
    return Ingested(delivery.files, publications, delivery.already_there, erased)


def _require_room(home: Path, staged: Iterable[Path]) -> None:
    """MachineError where the disk of the home can't hold the staged rows a second time, as tables.

    A disk that fills up half way leaves some tables with the delivery and others without.
    """
    needed = sum(path.stat().st_size + COMMIT_BYTES for path in staged)
    disk = shutil.disk_usage(home)
    if disk.free < needed:
        state = f"a disk of {size(disk.total)}, {size(disk.free)} free"
        raise MachineError(
            explain(
                visible(str(home)),
                expected=f"room on its disk, {size(needed)} for this delivery",
                found=f"no space left on device ({state})",
                mend="free some, or choose a folder on another disk",
            )
        )


def _publish(
    tables: Tables,
    name: str,
    staged: Path,
    commit: Commit,
    versions: Mapping[str, int],
    progress: Progress,
) -> Publication:
    progress(name)
    table = TABLES[name]
    return tables.publish(
        table,
        ds.dataset(staged),
        commit,
        changes=table.kind == "history",
        judged_at=versions.get(name),
    )
