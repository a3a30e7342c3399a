"""Which rows of a job's last result are right still, so that a run computes only what is new.

A row of a video depends on the job's code, settings and topic model version, and on the rows of
that video in the job's inputs. Where all of these are what the last run saw, so is the result, byte
for byte (docs/adr/0033-train-and-infer.md). Such rows are named by key, times and value hash; their
values are neither read nor hashed (docs/adr/0037-what-an-increment-costs.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, INPUTS, VALUE_HASH, Table
from vidtopics.jobs.job import REPEATS_US, Job, Run
from vidtopics.tables import FOREVER, Commit
from vidtopics.tables.commits import ROLLBACK, latest_commit
from vidtopics.tables.data_files import missing_files
from vidtopics.tables.releases import TOPIC_MODEL
from vidtopics.tables.schemas import arrow_schema
from vidtopics.tables.scratch import scratch


@dataclass(frozen=True)
class LastResult:
    """What a job published last, where a run may go on from it.

    Attributes:
        run: the run that goes on.
        job: the job.
        base: the commit; None after a rollback, after a change of code, settings or model, and
            where a version that the last run read is gone: then everything is computed anew.
    """

    run: Run
    job: Job
    base: Commit | None

    @classmethod
    def of(cls, run: Run, job: Job, *inputs: Table) -> LastResult:
        """The job's last result; `inputs` are those that :meth:`changed` is asked for."""
        base = latest_commit(run.tables.commits(job.table), run.as_of_us)
        usable = base and _made_alike(base, job.commit(run)) and _readable(run, base, inputs)
        return cls(run, job, base if usable else None)

    def changed(self, table: Table) -> pa.Table:
        """Keys of an input whose value the last run saw otherwise than this one, or one not at all.

        Empty where there is no last result.
        """
        if self.base is None:
            return arrow_schema(table).empty_table().select(table.key)
        names = [*table.key, VALUE_HASH]
        before = self.run.tables.as_of(
            table,
            self.base.as_of_us,
            _known_by(self.base, table),
            columns=names,
            version=self.base.inputs[table.name],
        )
        with scratch() as con:
            con.register("before", before)
            con.register("now", self.run.read(table, *names))
            sql = "(FROM now EXCEPT FROM before) UNION ALL (FROM before EXCEPT FROM now)"
            return con.sql(f"SELECT DISTINCT {', '.join(table.key)} FROM ({sql})").to_arrow_table()

    def rows(self, *columns: str, without: pa.Array | pa.ChunkedArray) -> pa.Table:
        """Rows of the last result but those of some entities: key, times, value hash, `columns`."""
        table = self.job.table
        names = [*table.key, *columns, EVENT_TIME, CREATED_TIME, VALUE_HASH]
        if self.base is None:
            return arrow_schema(table).empty_table().select(names)
        base = self.base
        rows = self.run.tables.as_of(table, base.as_of_us, base.created_us, columns=names)
        return exclude(rows, table.key[0], without)


def select(rows: pa.Table, column: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The rows whose `column` is among `values`.

    >>> select(pa.table({"tag": ["a", "b"]}), "tag", pa.array(["b", "c"]))["tag"].to_pylist()
    ['b']
    """
    return rows.filter(_is_in(rows[column], values))


def exclude(rows: pa.Table, column: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The rows whose `column` is not among `values`.

    >>> exclude(pa.table({"tag": ["a", "b"]}), "tag", pa.array(["b", "c"]))["tag"].to_pylist()
    ['a']
    """
    return rows.filter(pc.invert(_is_in(rows[column], values)))


def _is_in(column: pa.ChunkedArray, values: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    value_set = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return pc.is_in(column, value_set=value_set.cast(column.type))


def _made_alike(base: Commit, own: Commit) -> bool:
    same = (base.code, base.settings, base.weights) == (own.code, own.settings, own.weights)
    model = base.inputs.get(TOPIC_MODEL) == own.inputs.get(TOPIC_MODEL)
    return same and model and ROLLBACK not in base.facts


def _readable(run: Run, base: Commit, inputs: tuple[Table, ...]) -> bool:
    versions = ((table, base.inputs.get(table.name, 0)) for table in inputs)
    return not any(v and missing_files(run.tables.snapshot(t, v)) for t, v in versions)


def _known_by(base: Commit, table: Table) -> int:
    """What the last run could know of a table; as :meth:`Run.known_by`."""
    if base.live:
        return FOREVER
    return base.as_of_us if table in INPUTS else base.created_us + REPEATS_US
