"""The scratch DuckDB database of one delivery: raw rows, what is wrong with them, and the way out to Parquet.

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

from vidtopics.contracts import VALUE_HASH, Table
from vidtopics.errors import InputError, explain
from vidtopics.ingest.delivery import EXAMPLES, FileReport, Tally
from vidtopics.ingest.readers import Columns, open_rows
from vidtopics.ingest.rules import MACROS, Rule, first_broken
from vidtopics.settings import IngestSettings
from vidtopics.tables.schemas import arrow_schema

MEMORY_LIMIT = "512MB"
MAX_THREADS = 4  # each thread of a sort or join needs its share of the memory

_TABLES = """
CREATE TABLE files (file VARCHAR, file_hash VARCHAR, rows BIGINT);
CREATE TABLE issues (
  file VARCHAR, row BIGINT, refused BOOLEAN, dropped BOOLEAN, target VARCHAR, reason VARCHAR, detail VARCHAR
);
"""


class Workspace:
    """Scratch tables of one delivery, in a hidden directory that is removed on leaving.

    Table `issues` has one row per finding: `refused` ones count against the file, `dropped` rows go
    no further, and findings with a `target` are staged as refused rows of that table.
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
            f"CREATE MACRO delivered_at() AS TIMESTAMPTZ {quoted(delivered_at.isoformat())}; {MACROS}{_TABLES}"
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
        """Creates table `name` from Arrow rows, as a stream: `select` and `group` stand before and after their FROM."""
        self._take(f"CREATE TABLE {name} AS {select}", rows, group)

    def append(self, name: str, rows: pa.Table) -> None:
        """Adds Arrow rows to table `name`."""
        self._take(f"INSERT INTO {name}", rows)

    def _take(self, statement: str, rows: pa.RecordBatchReader | pa.Table, group: str = "") -> None:
        self.sql.register("incoming", rows)
        self.sql.execute(f"{statement} FROM incoming {group}")
        self.sql.unregister("incoming")

    def load(self, name: str, path: Path, columns: Columns, target: Table) -> None:
        """Reads a file into relation `name`: file, row, and its columns as text; InputError if it can't be read.

        Rows that can't be read as text are refused for `target`.
        """
        opened = open_rows(path, columns, self.settings.batch_rows)
        nul = f"reason IS NULL AND contains(concat({', '.join(columns.names)}), chr(0))"
        select = f"""SELECT {quoted(path.name)} AS file, row, {", ".join(columns.names)},
            CASE WHEN {nul} THEN 'nul_byte' ELSE reason END AS reason,
            CASE WHEN {nul} THEN 'expected text without NUL bytes' ELSE detail END AS detail"""
        try:
            self.copy(f"{name}_read", opened.rows, select)
        except duckdb.Error as error:
            raise InputError(
                explain(
                    path.name,
                    expected="a file that can be read to its end",
                    found=str(error),
                    mend="deliver it again",
                )
            ) from None
        self.sql.execute(f"""
            CREATE VIEW {name} AS SELECT * EXCLUDE (reason, detail) FROM {name}_read WHERE reason IS NULL;
            INSERT INTO files SELECT {quoted(path.name)}, '{opened.file_hash}', count(*) FROM {name}_read""")
        self.refuse(f"FROM {name}_read WHERE reason IS NOT NULL", target)
        for column in opened.unknown_columns:
            detail = quoted(f"expected {', '.join(columns.names)}, found {column!r}")
            self.warn(
                f"SELECT {quoted(path.name)} AS file, 0 AS row, 'unknown_column' AS reason, {detail} AS detail"
            )

    def check(self, name: str, rows: str, parsed: Mapping[str, str], rules: Sequence[Rule]) -> None:
        """Creates relation `name`: `rows` with the `parsed` columns (name to SQL), without those that break a rule."""
        extra = "".join(f", {expression} AS {column}" for column, expression in parsed.items())
        self.sql.execute(f"""
            CREATE TABLE {name}_checked AS
            SELECT *, {first_broken(rules)} AS broken FROM (SELECT *{extra} FROM {rows});
            INSERT INTO issues SELECT file, row, true, true, broken.target, broken.reason, broken.detail
            FROM {name}_checked WHERE broken IS NOT NULL;
            CREATE VIEW {name} AS SELECT * EXCLUDE (broken) FROM {name}_checked WHERE broken IS NULL""")

    def keep_once(self, name: str, key: str, values: Sequence[str], target: Table) -> None:
        """Drops repeated rows of one `key`: equal ones but the first with a warning, all that differ as refused."""
        self.sql.execute(f"""
            CREATE TABLE {name}_repeated AS
            SELECT repeated, min(value) <> max(value) AS conflict, min(row) AS first, max(row) AS last, count(*) AS times
            FROM (SELECT {key} AS repeated, row, hash({", ".join(values)}) AS value FROM {name}) GROUP BY repeated HAVING times > 1;
            INSERT INTO issues
            SELECT file, row, conflict, true, CASE WHEN conflict THEN '{target.name}' END,
                CASE WHEN conflict THEN 'conflicting_rows' ELSE 'duplicate_row' END,
                'expected one row of ' || shown(repeated) || ', found ' || times || ', from row ' || first || ' to ' || last
            FROM {name} JOIN {name}_repeated ON {key} = repeated WHERE conflict OR row > first;
            CREATE VIEW {name}_kept AS SELECT * FROM {name} ANTI JOIN (FROM issues WHERE dropped) USING (file, row)""")

    def refuse(self, select: str, target: Table) -> None:
        """Refuses rows for `target`; `select` gives file, row, reason and detail."""
        self._note(select, f"true, true, '{target.name}'")

    def warn(self, select: str, target: Table | None = None) -> None:
        """Warns of rows that are kept; `target` also stages the finding as one of its refused rows."""
        self._note(select, f"false, false, {quoted(target.name) if target else 'NULL'}")

    def _note(self, select: str, fate: str) -> None:
        self.sql.execute(
            f"INSERT INTO issues SELECT file, row, {fate}, reason, detail FROM ({select})"
        )

    def reports(self) -> list[FileReport]:
        """What became of every file, by name."""
        files = self.sql.execute("""
            SELECT file, file_hash, rows, rows - count(DISTINCT row) FILTER (refused) FROM files
            LEFT JOIN issues USING (file) GROUP BY file, file_hash, rows ORDER BY file""").fetchall()
        return [
            FileReport(
                name,
                file_hash,
                rows,
                accepted,
                self._tallies(name, True),
                self._tallies(name, False),
            )
            for name, file_hash, rows, accepted in files
        ]

    def _tallies(self, file: str, refused: bool) -> dict[str, Tally]:
        found = self.sql.execute(
            f"""SELECT reason, count(*), arg_min(example, row, {EXAMPLES}) FROM (
                SELECT *, CASE row WHEN 0 THEN detail ELSE 'row ' || row || ': ' || detail END AS example FROM issues)
            WHERE file = ? AND refused = ? GROUP BY reason ORDER BY count(*) DESC, reason""",
            [file, refused],
        ).fetchall()
        return {reason: Tally(count, tuple(examples)) for reason, count, examples in found}

    def write(self, table: Table, select: str, order: str) -> Path:
        """Writes the contract's columns and both times of `select` to a Parquet file of the table's name."""
        schema = arrow_schema(table, tuple(c for c in table.all_columns if c.name != VALUE_HASH))
        path = self._into / f"{table.name}.parquet"
        rows = self.sql.sql(f"SELECT {', '.join(schema.names)} FROM ({select}) ORDER BY {order}")
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in rows.to_arrow_reader(self.settings.batch_rows):
                writer.write_batch(batch.cast(schema))
        return path


def quoted(text: str) -> str:
    """`text` as an SQL string.

    >>> quoted("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"
