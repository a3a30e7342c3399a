"""The scratch DuckDB database of one delivery: its rows, and what is wrong with them.

Its memory is limited and it spills to disk, so that a delivery may be larger than memory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from vidtopics.contracts import Table
from vidtopics.errors import InputError, explain
from vidtopics.faults import error_number
from vidtopics.ingest.delivery import EXAMPLES, FileReport, Tally
from vidtopics.ingest.readers import Columns, open_rows
from vidtopics.ingest.rules import MACROS, Rule, first_broken
from vidtopics.settings import IngestSettings
from vidtopics.tables.schemas import arrow_schema

MEMORY_LIMIT = "512MB"
NAMED_COLUMNS = 100
"""Of those that the format doesn't know, that are warned of by name."""
MAX_THREADS = 4  # each thread of a sort or join needs its share of the memory

_TABLES = """
CREATE TABLE files (file VARCHAR, file_hash VARCHAR, dialect VARCHAR, rows BIGINT);
CREATE TABLE known_rows (file VARCHAR, row BIGINT);
CREATE TABLE issues (
  file VARCHAR, row BIGINT, refused BOOLEAN, dropped BOOLEAN, target VARCHAR, reason VARCHAR,
  detail VARCHAR
);
"""


class Workspace:
    """Scratch tables of one delivery, in a hidden directory that is removed on leaving.

    Table `issues` has one row per finding: `refused` ones count against the file, `dropped` rows go
    no further, and findings with a `target` are staged as refused rows of that table. Table
    `known_rows` has the rows that say what the input tables hold already.
    """

    def __init__(self, into: Path, settings: IngestSettings, delivered_at: datetime) -> None:
        self.settings = settings
        self._into = into
        self._scratch = into / ".scratch"
        self._scratch.mkdir()
        self.sql = duckdb.connect(
            config={
                "memory_limit": MEMORY_LIMIT,
                "threads": min(os.cpu_count() or 1, MAX_THREADS),
                "temp_directory": str(self._scratch / "spill"),
                "preserve_insertion_order": False,
            },
        )
        # Without a log of its writes, whose name DuckDB gets wrong below a folder with `?`.
        file = quoted(str(self._scratch / "delivery.duckdb"))
        self.sql.execute(f"ATTACH {file} AS delivery (RECOVERY_MODE no_wal_writes); USE delivery")
        self.sql.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        self.sql.execute(
            f"CREATE MACRO delivered_at() AS TIMESTAMPTZ {quoted(delivered_at.isoformat())};"
            f" {MACROS}{_TABLES}"
        )

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.sql.close()
        shutil.rmtree(self._scratch)

    def copy(
        self,
        name: str,
        rows: pa.RecordBatchReader | pa.Table,
        select: str = "SELECT *",
        group: str = "",
    ) -> None:
        """Creates table `name` from a stream of rows; `select`, `group` stand around its FROM."""
        self._take(f"CREATE TABLE {name} AS {select}", rows, group)

    def append(self, name: str, rows: pa.Table) -> None:
        """Adds Arrow rows to table `name`."""
        self._take(f"INSERT INTO {name}", rows)

    def _take(self, statement: str, rows: pa.RecordBatchReader | pa.Table, group: str = "") -> None:
        self.sql.register("incoming", rows)
        self.sql.execute(f"{statement} FROM incoming {group}")
        self.sql.unregister("incoming")

    def load(self, name: str, path: Path, columns: Columns, target: Table) -> None:
        """Reads a file into relation `name`: file, row, and its columns as text; else InputError.

        Rows that can't be read as text are refused for `target`.
        """
        opened = open_rows(path, columns, self.settings.batch_rows)
        nul = f"reason IS NULL AND contains(concat({', '.join(columns.names)}), chr(0))"
        values = ", ".join(_value(name, columns) for name in columns.names)
        select = f"""SELECT {quoted(path.name)} AS file, row, {values},
            CASE WHEN {nul} THEN 'nul_byte' ELSE reason END AS reason,
            CASE WHEN {nul} THEN 'expected text without NUL bytes' ELSE detail END AS detail"""
        try:
            self.copy(f"{name}_read", opened.rows, select)
        except duckdb.Error as error:
            if error_number(error) is not None:  # the machine's fault, not the file's
                raise
            raise InputError(
                explain(
                    path.name,
                    expected="a file that can be read to its end",
                    found=str(error),
                    mend="deliver it again",
                )
            ) from None
        self.sql.execute(f"""
            CREATE VIEW {name} AS
            SELECT * EXCLUDE (reason, detail) FROM {name}_read WHERE reason IS NULL;
            INSERT INTO files
            SELECT {quoted(path.name)}, '{opened.file_hash}', {quoted(opened.dialect)}, count(*)
            FROM {name}_read""")
        self.refuse(f"FROM {name}_read WHERE reason IS NOT NULL", target)
        self.warn(f"""SELECT file, 0 AS row, 'no_rows' AS reason,
            'expected rows, found the header alone' AS detail
            FROM files WHERE file = {quoted(path.name)} AND rows = 0""")
        for column in opened.unknown_columns[:NAMED_COLUMNS]:
            detail = quoted(
                f"expected {', '.join(columns.names_in_file.values())}, found {column!r}"
            )
            self.warn(
                f"SELECT {quoted(path.name)} AS file, 0 AS row, 'unknown_column' AS reason,"
                f" {detail} AS detail"
            )

    def check(self, name: str, rows: str, parsed: Mapping[str, str], rules: Sequence[Rule]) -> None:
        """Creates relation `name`: `rows` that break no rule, with `parsed` columns (of SQL)."""
        extra = "".join(f", {expression} AS {column}" for column, expression in parsed.items())
        self.sql.execute(f"""
            CREATE TABLE {name}_checked AS
            SELECT *, {first_broken(rules)} AS broken FROM (SELECT *{extra} FROM {rows});
            INSERT INTO issues
            SELECT file, row, true, true, broken.target, broken.reason, broken.detail
            FROM {name}_checked WHERE broken IS NOT NULL;
            CREATE VIEW {name} AS
            SELECT * EXCLUDE (broken) FROM {name}_checked WHERE broken IS NULL""")

    def keep_once(
        self, name: str, key: str, described: str, values: Mapping[str, str], target: Table
    ) -> None:
        """Creates relation `<name>_kept`: the first row of each `key`.

        Later rows that say the same are left out with a warning. Where two rows of a key differ in
        one of the `values` (column of the file to SQL, null where a row doesn't say), all rows of
        the key are refused for `target`. `described` is SQL for the key as the file has it. Table
        `<name>_conflicts` has the columns that differ: repeated, label, and both values and rows.
        """
        pairs = ", ".join(
            f"{{'label': {quoted(label)}, 'value': CAST({value} AS VARCHAR)}}"
            for label, value in values.items()
        )
        self.sql.execute(f"""
            CREATE TABLE {name}_repeated AS
            SELECT repeated, min(row) AS first, min(value) <> max(value) AS unlike FROM (
                SELECT {key} AS repeated, row, hash({", ".join(values.values())}) AS value
                FROM {name})
            GROUP BY repeated HAVING count(*) > 1;
            CREATE TEMP TABLE pairs AS
            SELECT repeated, row, unnest([{pairs}], recursive := true)
            FROM {name} JOIN {name}_repeated ON {key} = repeated WHERE unlike;
            CREATE TABLE {name}_conflicts AS
            WITH stated AS (FROM pairs WHERE value IS NOT NULL), firsts AS (
                SELECT repeated, label, arg_min(value, row) AS value, min(row) AS row
                FROM stated GROUP BY repeated, label HAVING min(value) <> max(value))
            SELECT repeated, label, any_value(firsts.value) AS value, any_value(firsts.row) AS row,
                arg_min(stated.value, stated.row) AS other, min(stated.row) AS other_row
            FROM firsts JOIN stated USING (repeated, label) WHERE stated.value <> firsts.value
            GROUP BY repeated, label;
            DROP TABLE pairs;
            INSERT INTO issues
            WITH conflicts AS (
                SELECT repeated, string_agg(label || ' ' || shown(value) || ' in row ' || row
                    || ' and ' || shown(other) || ' in row ' || other_row, ', ' ORDER BY label)
                    AS differences
                FROM {name}_conflicts GROUP BY repeated)
            SELECT file, row, differences IS NOT NULL, true,
                CASE WHEN differences IS NOT NULL THEN '{target.name}' END,
                CASE WHEN differences IS NULL THEN 'duplicate_row' ELSE 'conflicting_rows' END,
                'expected one row of ' || {described} || ', found '
                || coalesce(differences, 'it again after row ' || first)
            FROM {name} JOIN {name}_repeated ON {key} = {name}_repeated.repeated
            LEFT JOIN conflicts USING (repeated) WHERE differences IS NOT NULL OR row > first;
            CREATE VIEW {name}_kept AS
            SELECT * FROM {name} ANTI JOIN (FROM issues WHERE dropped) USING (file, row)""")

    def leave_out(self, select: str) -> None:
        """Warns of rows that go no further, but are not refused."""
        self._note(select, "false, true, NULL")

    def refuse(self, select: str, target: Table) -> None:
        """Refuses rows for `target`; `select` gives file, row, reason and detail."""
        self._note(select, f"true, true, '{target.name}'")

    def warn(self, select: str, target: Table | None = None) -> None:
        """Warns of rows that are kept; `target` stages the finding as one of its refused rows."""
        self._note(select, f"false, false, {quoted(target.name) if target else 'NULL'}")

    def _note(self, select: str, fate: str) -> None:
        self.sql.execute(
            f"INSERT INTO issues SELECT file, row, {fate}, reason, detail FROM ({select})"
        )

    def reports(self) -> list[FileReport]:
        """What became of every file, by name."""
        files = self.sql.execute("""
            WITH fates AS (
                SELECT file, row, bool_or(refused) AS refused, bool_or(dropped) AS dropped
                FROM issues GROUP BY file, row),
            counts AS (
                SELECT file, count(*) FILTER (refused) AS refused,
                    count(*) FILTER (dropped AND NOT refused) AS left_out FROM fates GROUP BY file),
            known AS (SELECT file, count(*) AS already_there FROM known_rows GROUP BY file)
            SELECT file, file_hash, dialect, rows, coalesce(already_there, 0),
                coalesce(left_out, 0),
                coalesce(refused, 0)
            FROM files LEFT JOIN counts USING (file) LEFT JOIN known USING (file) ORDER BY file""")
        return [
            FileReport(
                name,
                file_hash,
                rows,
                rows - already_there - left_out - refused,
                already_there,
                left_out,
                refused,
                self._tallies(name, True),
                self._tallies(name, False),
                dialect,
            )
            for name, file_hash, dialect, rows, already_there, left_out, refused in files.fetchall()
        ]

    def number(self, query: str) -> int:
        """The whole number that `query` gives."""
        row = self.sql.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def _tallies(self, file: str, refused: bool) -> dict[str, Tally]:
        tallies = self.sql.execute(
            f"""SELECT reason, count(*), arg_min(example, row, {EXAMPLES}) FROM (
                SELECT *, CASE row WHEN 0 THEN detail ELSE 'row ' || row || ': ' || detail END
                    AS example FROM issues)
            WHERE file = ? AND refused = ? GROUP BY reason ORDER BY count(*) DESC, reason""",
            [file, refused],
        ).fetchall()
        return {reason: Tally(count, tuple(examples)) for reason, count, examples in tallies}

    def write(self, table: Table, select: str, order: str) -> Path:
        """Writes the contract's columns and times of `select` to a Parquet file."""
        schema = arrow_schema(table, table.timed_columns)
        path = self._into / f"{table.name}.parquet"
        rows = self.sql.sql(f"SELECT {', '.join(schema.names)} FROM ({select}) ORDER BY {order}")
        # The file closes even if the writer can't write its end to a full disk.
        with path.open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in rows.to_arrow_reader(self.settings.batch_rows):
                writer.write_batch(batch.cast(schema))
        return path


def _value(name: str, columns: Columns) -> str:
    """SQL for a column's text; of a time in a unit of its own Unix seconds.

    >>> _value("published_at", Columns([], times=["published_at"], parts_of_a_second=1_000))
    'coalesce(CAST(number(published_at) / 1000 AS VARCHAR), published_at) AS published_at'
    """
    parts = columns.parts_of_a_second
    if name not in columns.times or parts == 1:
        return name
    return f"coalesce(CAST(number({name}) / {parts} AS VARCHAR), {name}) AS {name}"


def quoted(text: str) -> str:
    """`text` as an SQL string.

    >>> quoted("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"
