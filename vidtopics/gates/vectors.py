"""Figures of vectors and other lists of a fixed width, over the rows that a release brings.

They are read in batches, and only from data files that the release in force doesn't have: a release
costs what it changed, and memory holds one batch, however many rows a row group has (an engine may
write 3 million vectors as one).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from vidtopics.contracts import EVENT_TIME, VALUE_HASH, Column, Table
from vidtopics.gates.verdicts import Figure
from vidtopics.gates.versions import Arrivals, Releases, arrivals, file_dataset
from vidtopics.tables.row_groups import row_groups
from vidtopics.tables.values import NORM_TOLERANCE
from vidtopics.tables.whole import readable
from vidtopics.timestamps import microseconds

EXAMPLES = 10
NEWEST = 100
"""Rows that the width of the release in force is taken from."""


@dataclass
class Faults:
    """Rows of one kind: how many, and the first ten of their keys."""

    count: int = 0
    keys: list[str] = field(default_factory=list)

    def add(self, keys: list[str]) -> None:
        """Count the rows of these keys."""
        self.count += len(keys)
        self.keys += keys[: EXAMPLES - len(self.keys)]


@dataclass
class Tally:
    """What was seen of one column: rows, rows of each width, and faults by figure."""

    rows: int = 0
    widths: dict[int, Faults] = field(default_factory=dict)
    faults: dict[str, Faults] = field(
        default_factory=lambda: {
            name: Faults() for name in ("null", "not_finite", "off_length", "zero")
        }
    )

    @property
    def width(self) -> int:
        """The most frequent width, of equally frequent ones the greatest; 0 without vectors."""
        return max(self.widths, key=lambda w: (self.widths[w].count, w), default=0)

    def add(self, vectors: pa.Array, keys: pa.Array) -> None:
        """Count a batch.

        Args:
            vectors: lists, N rows.
            keys: their keys' texts, N rows.
        """
        self.rows += len(vectors)
        self.faults["null"].add(keys.filter(vectors.is_null()).to_pylist())
        valid = vectors.is_valid()
        vectors, keys = vectors.filter(valid), keys.filter(valid)
        lengths = pc.list_value_length(vectors).to_numpy()
        for width in np.unique(lengths).tolist():
            same = pa.array(lengths == width)
            part = keys.filter(same)
            self.widths.setdefault(width, Faults()).add(part.to_pylist())
            flat = vectors.filter(same).flatten().to_numpy(zero_copy_only=False)
            self._judge(flat.reshape(len(part), width), part)

    def _judge(self, vectors: npt.NDArray[np.float32], keys: pa.Array) -> None:
        squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64, casting="safe")
        lengths = np.sqrt(squares)
        finite = np.isfinite(lengths)
        zero = lengths == 0
        off = finite & ~zero & (np.abs(lengths - 1) > NORM_TOLERANCE)
        for name, rows in (("not_finite", ~finite), ("zero", zero), ("off_length", off)):
            if rows.any():
                self.faults[name].add(keys.filter(pa.array(rows)).to_pylist())


def vector_figures(releases: Releases, table: Table) -> Iterator[Figure]:
    """Null, width, finite, length and zero of every list of a fixed width."""
    columns = [c for c in table.values if c.width is not None]
    if not columns or table.name not in releases.after:
        return
    brought = arrivals(releases, table)
    live = releases.count(f"SELECT count(*) FROM {releases.new(table)}")
    tallies = _read(brought, table, columns)
    for column, tally in zip(columns, tallies, strict=True):
        yield from _figures(table, column, tally, _last_width(releases, table, column), live)


def _figures(
    table: Table, column: Column, tally: Tally, last_width: int, live: int
) -> Iterator[Figure]:
    name = f"{table.name}.{column.name}"
    # Where every live row came anew, all of them may have another width than those of before.
    width = tally.width if tally.rows >= live or not last_width else last_width
    other = Faults()
    for unexpected in sorted(set(tally.widths) - {width}):
        other.add(tally.widths[unexpected].keys)
    count = sum(faults.count for w, faults in tally.widths.items() if w != width)
    change = float(abs(width - last_width)) if last_width else 0.0
    yield _share(f"{name}.other_width_share", count, tally.rows, other.keys)
    yield Figure(f"{name}.width_change", change)
    shown = ["null_share", "not_finite_share"]
    if column.name in table.unit_norm:
        shown += ["off_length_share", "zero_share"]
    for figure in shown:
        faults = tally.faults[figure.removesuffix("_share")]
        if figure == "null_share" and column.type != "list<float32>":
            continue  # of all live rows, in `null_figures`
        yield _share(f"{name}.{figure}", faults.count, tally.rows, faults.keys)


def _share(name: str, count: int, rows: int, keys: list[str]) -> Figure:
    """One bad vector is evidence; how many are zero is a share like others."""
    many = rows if name.endswith("zero_share") else None
    reason = "" if rows else "no row came"
    return Figure(name, count / rows if rows else None, many, reason, lambda: keys)


def _read(brought: Arrivals, table: Table, columns: list[Column]) -> list[Tally]:
    tallies = [Tally() for _ in columns]
    with readable(table):
        for start, batch in _batches(brought.dataset, [*table.key, *(c.name for c in columns)]):
            rows = batch.filter(pa.array(brought.is_arrival[start : start + batch.num_rows]))
            keys = pc.binary_join_element_wise(
                *(rows[name].cast(pa.string()) for name in table.key), "/"
            )
            for column, tally in zip(columns, tallies, strict=True):
                tally.add(rows[column.name], keys)
    return tallies


def _batches(
    dataset: ds.FileSystemDataset, names: Sequence[str]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Columns in batches of some MB, each with the number of its first row."""
    schema = pa.schema([dataset.schema.field(name) for name in names])
    for group in row_groups(dataset):
        yield from group.batches(schema, {name: name for name in names})


def _last_width(releases: Releases, table: Table, column: Column) -> int:
    """The width in the newest rows of the release in force; 0 where it has none."""
    version = releases.before.get(table.name)
    if version is None:
        return 0
    dataset = file_dataset(releases.tables, table, version)
    schema, tally = pa.schema([dataset.schema.field(column.name)]), Tally()
    with readable(table, version):
        newest = _newest(dataset, table)
        if not newest.size:
            return 0
        first = int(newest[0])
        group = next(g for g in row_groups(dataset) if first < g.first_row + g.rows)
        batches = group.batches(schema, {column.name: column.name})
        start, batch = next((n, b) for n, b in batches if first < n + b.num_rows)
    places = newest[newest < start + batch.num_rows][:NEWEST] - start
    lists = batch[column.name].take(pa.array(places))
    tally.add(lists, pa.nulls(len(lists), pa.string()))
    return tally.width


def _newest(dataset: ds.Dataset, table: Table) -> npt.NDArray[np.intp]:
    """Numbers of the rows with the latest event time, ascending, without those that ended."""
    is_history = table.kind == "history"
    rows = dataset.to_table(columns=[EVENT_TIME, *([VALUE_HASH] if is_history else [])])
    event_us = microseconds(rows[EVENT_TIME])
    is_value = rows[VALUE_HASH].to_numpy() != 0 if is_history else np.ones(len(rows), np.bool_)
    latest = event_us[is_value].max(initial=np.iinfo(np.int64).min)
    return np.flatnonzero(is_value & (event_us == latest))
