"""Which rows of a job's last result are right still, so that a run computes only what is new.

A row of a video depends on the job's code, settings and topic model version, and on the rows of
that video in the job's inputs. Where all of these are what the last run saw, so is the result, byte
for byte (docs/adr/0033-train-and-infer.md).
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import INPUTS, VALUE_HASH, Table
from vidtopics.jobs.job import REPEATS_US, Job, Run
from vidtopics.tables import FOREVER, Commit
from vidtopics.tables.commits import ROLLBACK, latest_commit
from vidtopics.tables.data_files import missing_files
from vidtopics.tables.releases import TOPIC_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator


def reusable_rows(run: Run, job: Job, *inputs: Table) -> pa.Table:
    """The rows of the job's last result whose video is the same in all of `inputs`.

    None after a rollback, after a change of code, settings or model, and where a version that the
    last run read is gone: then everything is computed anew.
    """
    base = latest_commit(run.tables.commits(job.table), run.as_of_us)
    own = job.commit(run)
    if base is None or not _made_alike(base, own) or not _readable(run, base, inputs):
        return run.tables.read(job.table, columns=_names(job)).slice(0, 0)
    rows = run.tables.as_of(job.table, base.as_of_us, base.created_us, columns=_names(job))
    unchanged = reduce(_intersection, _unchanged(run, base, inputs))
    return rows.filter(pc.is_in(rows[job.table.key[0]], value_set=unchanged))


def _names(job: Job) -> list[str]:
    return [column.name for column in job.table.columns]


def _made_alike(base: Commit, own: Commit) -> bool:
    same = (base.code, base.settings, base.weights) == (own.code, own.settings, own.weights)
    model = base.inputs.get(TOPIC_MODEL) == own.inputs.get(TOPIC_MODEL)
    return same and model and ROLLBACK not in base.facts


def _readable(run: Run, base: Commit, inputs: tuple[Table, ...]) -> bool:
    versions = ((table, base.inputs.get(table.name, 0)) for table in inputs)
    return not any(v and missing_files(run.tables.delta(t, version=v)) for t, v in versions)


def _unchanged(run: Run, base: Commit, inputs: tuple[Table, ...]) -> Iterator[pa.Array]:
    """For each input the keys whose value the last run saw as this one does."""
    for table in inputs:
        [key] = table.key
        before = run.tables.as_of(
            table,
            base.as_of_us,
            _known_by(base, table),
            columns=[key, VALUE_HASH],
            version=base.inputs[table.name],
        )
        now = run.read(table, key, VALUE_HASH)
        at = pc.index_in(now[key], value_set=before[key].combine_chunks())
        before_hash = before[VALUE_HASH].take(at.combine_chunks())
        same = pc.fill_null(pc.equal(now[VALUE_HASH], before_hash), False)
        yield now[key].filter(same).combine_chunks()


def _known_by(base: Commit, table: Table) -> int:
    """What the last run could know of a table; as :meth:`Run.known_by`."""
    if base.live:
        return FOREVER
    return base.as_of_us if table in INPUTS else base.created_us + REPEATS_US


def _intersection(a: pa.Array, b: pa.Array) -> pa.Array:
    return a.filter(pc.is_in(a, value_set=b))
