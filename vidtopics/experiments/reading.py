"""Files of an experiment's log as typed DuckDB tables.

CSV (with a header, of any delimiter), JSON lines and Parquet, under the names that the owner's log
has. A row that can't be read is refused, with the whole file: a verdict on the rows that happened
to be readable would be one on a selection.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from vidtopics.errors import InputError, explain

READERS = {
    ".csv": "read_csv({path}, header = true, all_varchar = true)",
    ".jsonl": "read_json({path}, format = 'newline_delimited')",
    ".ndjson": "read_json({path}, format = 'newline_delimited')",
    ".json": "read_json({path})",
    ".parquet": "read_parquet({path})",
}
EXPRESSIONS = {
    "text": "nullif(CAST({column} AS VARCHAR), '')",
    "label": "coalesce(nullif(CAST({column} AS VARCHAR), ''), 'none')",
    # an event without an amount adds nothing
    "amount": "CASE WHEN coalesce(CAST({column} AS VARCHAR), '') = '' THEN 0.0"
    " WHEN isfinite(TRY_CAST({column} AS DOUBLE)) THEN TRY_CAST({column} AS DOUBLE) END",
    "number": "CASE WHEN isfinite(TRY_CAST({column} AS DOUBLE)) THEN TRY_CAST({column} AS DOUBLE)"
    " END",
    # a number is seconds since 1970, everything else ISO 8601, in UTC where it has no zone
    "time": "coalesce(CAST(round(TRY_CAST(CAST({column} AS VARCHAR) AS DOUBLE) * 1e6) AS BIGINT),"
    " epoch_us(TRY_CAST(CAST({column} AS VARCHAR) AS TIMESTAMPTZ)))",
}
EXPECTED = {
    "text": "a text",
    "amount": "a finite number, or nothing for 0",
    "number": "a finite number",
    "time": "ISO 8601 or Unix seconds",
}
ROWS = "*"
"""In a column mapping: each row counts 1."""


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory that reads times without a zone as UTC."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def find_file(folder: Path, name: str, files: Mapping[str, str]) -> Path | None:
    """The file of the log called `name`: the one that `files` names, or `name` with an extension.

    Raises:
        InputError: the named file is missing or of another format, or two files have the name.
    """
    if name in files:
        path = folder / files[name]
        if path.is_file() and path.suffix.lower() in READERS:
            return path
        known = f"a file that ends in {', '.join(READERS)}"
        state = "no file" if not path.is_file() else "another format"
        raise InputError(explain(str(path), expected=known, found=state, mend="correct `files`"))
    paths = [path for suffix in READERS if (path := folder / f"{name}{suffix}").is_file()]
    if len(paths) > 1:
        names = " and ".join(path.name for path in paths)
        mend = "remove one, or name it under `files` in experiment.yaml"
        raise InputError(explain(str(folder), expected=f"one {name}", found=names, mend=mend))
    return paths[0] if paths else None


def load_table(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    path: Path,
    kinds: Mapping[str, str],
    columns: Mapping[str, str],
) -> None:
    """Create `table` with the columns of `kinds`, typed.

    A time becomes int64 microseconds since 1970.

    Args:
        connection: where to.
        table: its name.
        path: file to read.
        kinds: columns to read and what they are: `text`, `label` (empty: `none`), `number`,
            `amount` (empty: 0) or `time`.
        columns: our name of a column to the file's, where they differ; `*` is 1 in each row.

    Raises:
        InputError: the file can't be read, lacks a column, or has a value of another kind, with row
            number (the first is 1) and the number of such rows.
    """
    reader = READERS[path.suffix.lower()].format(path=_quote(str(path)))
    raw = f"raw_{table}"
    sources = {name: columns.get(name, name) for name in kinds}
    try:
        header = read_header(connection, path)
        names = [name for name in dict.fromkeys(sources.values()) if name != ROWS]
        _check_header(path, header, names)
        picked = ", ".join(map(identifier, names))
        connection.execute(
            f"CREATE TEMP TABLE {raw} AS SELECT row_number() OVER () AS row, {picked} FROM {reader}"
        )
    except duckdb.Error as error:
        raise _unreadable(path, error) from None
    typed = {
        name: "CAST(1 AS DOUBLE)"
        if sources[name] == ROWS
        else EXPRESSIONS[kind].format(column=identifier(sources[name]))
        for name, kind in kinds.items()
    }
    for name, kind in kinds.items():
        if sources[name] != ROWS:
            _refuse_bad_values(connection, raw, path, sources[name], kind, typed[name])
    selected = ", ".join(f"{text} AS {identifier(name)}" for name, text in typed.items())
    connection.execute(f"CREATE TABLE {table} AS SELECT {selected} FROM {raw}; DROP TABLE {raw}")


def read_header(connection: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    """Names of a file's columns; InputError where it can't be read."""
    reader = READERS[path.suffix.lower()].format(path=_quote(str(path)))
    try:
        return [str(row[0]) for row in connection.execute(f"DESCRIBE FROM {reader}").fetchall()]
    except duckdb.Error as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: duckdb.Error) -> InputError:
    text = " ".join(str(error).split())[:300]
    expected = f"a {path.suffix.lower().lstrip('.')} file"
    return InputError(explain(str(path), expected=expected, found=text, mend="deliver it again"))


def _check_header(path: Path, header: Sequence[str], names: Sequence[str]) -> None:
    for name in names:
        if name not in header:
            near = difflib.get_close_matches(name, header, n=1)
            other = f"{near[0]!r}" if near else "another column"
            mend = f"map it under `columns` in experiment.yaml, if {other} holds it"
            found = f"only {', '.join(header)[:300]}"
            raise InputError(
                explain(str(path), expected=f"a column {name!r}", found=found, mend=mend)
            )


def _refuse_bad_values(
    connection: duckdb.DuckDBPyConnection,
    raw: str,
    path: Path,
    source: str,
    kind: str,
    expression: str,
) -> None:
    column = identifier(source)
    query = (
        f"SELECT count(*), min(row), arg_min(CAST({column} AS VARCHAR), row) FROM {raw}"
        f" WHERE ({expression}) IS NULL"
    )
    count, row, value = connection.execute(query).fetchall()[0]
    if count:
        raise InputError(
            explain(
                f"{path}, row {row}, column {source!r}",
                expected=EXPECTED[kind],
                found=f"{'nothing' if not value else repr(value[:80])} ({count:,} such rows)",
                mend="correct these rows; leaving some out would decide on a selection",
            )
        )


def identifier(name: str) -> str:
    """A column's name as SQL writes it."""
    quoted = name.replace('"', '""')
    return f'"{quoted}"'


def _quote(text: str) -> str:
    quoted = text.replace("'", "''")
    return f"'{quoted}'"
