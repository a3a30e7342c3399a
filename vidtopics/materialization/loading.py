"""Moving rows of data files into a generation: what Spark's executors can do as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deltalake import DeltaTable

from vidtopics.contracts import Table
from vidtopics.failpoints import failpoint
from vidtopics.layout import Schema, ViewEntry
from vidtopics.materialization.changes import Span, changes
from vidtopics.materialization.rows import encoded
from vidtopics.materialization.writer import Load

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Work:
    """Files of a table's version, and the generation that their rows go to, by which schema.

    Plain data: it travels to executors. `names`: of the files; None: all. `now_us`: rows that hold
    or are known later are not due yet. `span`: rows of these event times alone.
    """

    table: Table
    uri: str
    version: int
    names: frozenset[str] | None
    entry: ViewEntry
    schema: Schema
    now_us: int
    span: Span | None = None


@dataclass(frozen=True)
class Loaded:
    """Rows looked at, rows moved, of these the values written so far, and rows not due yet.

    `sent`: of each load that has ended, what it sent to each bucket (:meth:`Load.sent`).
    """

    read: int = 0
    moved: int = 0
    written: int = 0
    not_due: int = 0
    sent: tuple[str, ...] = ()

    def __add__(self, other: Loaded) -> Loaded:
        return Loaded(
            self.read + other.read,
            self.moved + other.moved,
            self.written + other.written,
            self.not_due + other.not_due,
            (*self.sent, *other.sent),
        )


Loader = Callable[[Work, Load, Progress], Loaded]


def load_here(work: Work, load: Load, progress: Progress) -> Loaded:
    """Move the rows in this process; the last of them wait in `load` for its end."""
    new_rows = changes(
        work.table,
        DeltaTable(work.uri, version=work.version),
        work.names,
        now_us=work.now_us,
        span=work.span,
    )
    done = 0
    progress(work.table.name, 0, new_rows.rows)
    for batch in new_rows.batches():
        load.add(*encoded(work.table, work.schema, load.space, batch))
        failpoint("materialize.batch")
        done += batch.num_rows
        progress(work.table.name, done, new_rows.rows)
    return Loaded(new_rows.read, new_rows.rows, 0, new_rows.not_due)
