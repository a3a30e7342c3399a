r"""Row rules as data: each is a reason, the SQL condition of a bad row, and what to tell about it.

Rules are tried in order and the first that applies refuses the row. A column `c` that holds a time
or number has its parsed value beside it, as `c_time` or `c_number`.

>>> import duckdb
>>> sql = duckdb.connect()
>>> _ = sql.execute("SET TimeZone = 'UTC'").execute(MACROS)
>>> sql.execute("SELECT instant(t) FROM (VALUES ('2026-01-01T02:00+02:00'), ('1767225600'), ('1/2/2026')) AS v(t)").fetchall()
[(datetime.datetime(2026, 1, 1, 0, 0, tzinfo=<UTC>),), (datetime.datetime(2026, 1, 1, 0, 0, tzinfo=<UTC>),), (None,)]
>>> sql.execute(r"SELECT folded('  Slow\n Motion '), pieces('a| b||a'), shown('it''s')".replace("\\n", chr(10))).fetchone()
('slow motion', ['a', 'b'], "'it's'")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidtopics.contracts import MAX_ID_BYTES, Table
from vidtopics.ingest.reasons import REFUSALS

FIRST_YEAR = 1900
MAX_FLOAT32 = 3.4028234663852886e38
MAX_INT32 = 2**31 - 1

# Eleven digits of seconds reach the year 5138; thirteen would be milliseconds, which are refused.
_UNIX = r"[+-]?\d{1,11}(\.\d*)?([eE][+-]?\d{1,2})?"
_CLOCK = r"([01]\d|2[0-4]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?"
_OFFSET = r"(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?"
_ISO = rf"\d{{4}}-\d\d-\d\d([T ]{_CLOCK}{_OFFSET})?"
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"

MACROS = rf"""
CREATE MACRO shown(t) AS '''' || regexp_replace(t[:80], '\p{{Cc}}', '?', 'g') || '''';
CREATE MACRO folded(t) AS trim(lower(regexp_replace(t, '[\s\p{{Z}}]+', ' ', 'g')));
CREATE MACRO split(t) AS list_filter(list_transform(string_split(t, '|'), lambda s: trim(s)), lambda s: s <> '');
CREATE MACRO pieces(t) AS list_filter(split(t), lambda s, i: list_position(split(t), s) = i);
CREATE MACRO number(t) AS CASE WHEN regexp_full_match(t, '{_NUMBER}') THEN TRY_CAST(t AS DOUBLE) END;
CREATE MACRO instant(t) AS CASE
  WHEN regexp_full_match(t, '{_ISO}') THEN TRY_CAST(t AS TIMESTAMPTZ)
  WHEN regexp_full_match(t, '{_UNIX}') AND abs(TRY_CAST(t AS DOUBLE)) < 1e11
  THEN make_timestamptz(CAST(round(CAST(t AS DOUBLE) * 1e6) AS BIGINT)) END;
"""


@dataclass(frozen=True)
class Rule:
    """Where the SQL condition `bad` holds, the row is refused for `table`; `found` is SQL text for what was found."""

    reason: str
    table: Table
    bad: str
    expected: str
    found: str

    def __post_init__(self) -> None:
        assert self.reason in REFUSALS, self.reason

    @property
    def case(self) -> str:
        """The rule as a branch of a CASE that gives target, reason and detail."""
        detail = f"{_text(f'expected {self.expected}, found ')} || {self.found}"
        return f"WHEN {self.bad} THEN {{'target': '{self.table.name}', 'reason': '{self.reason}', 'detail': {detail}}}"


def first_broken(rules: Sequence[Rule]) -> str:
    """SQL for the struct (target, reason, detail) of the first rule that a row breaks; null if it breaks none."""
    return f"CASE {' '.join(rule.case for rule in rules)} END"


def identifier(column: str, table: Table, *, optional: bool = False) -> list[Rule]:
    """An id: 1 to 128 UTF-8 bytes without control characters; any other character is fine and left as it is."""
    expected = f"{column} of 1 to {MAX_ID_BYTES} bytes without control characters"
    rules = [
        Rule(
            "long_id",
            table,
            f"strlen({column}) > {MAX_ID_BYTES}",
            expected,
            f"strlen({column}) || ' bytes'",
        ),
        Rule(
            "control_character",
            table,
            rf"regexp_matches({column}, '\p{{Cc}}')",
            expected,
            f"shown({column})",
        ),
    ]
    return (
        rules
        if optional
        else [Rule("empty_id", table, f"{column} = ''", expected, "'none'"), *rules]
    )


def time(column: str, table: Table, *, optional: bool = False) -> list[Rule]:
    """A time: ISO 8601 (UTC where it has no offset) or Unix seconds, from 1900 to the delivery."""
    given = f"{column} <> '' AND " if optional else ""
    found = f"shown({column})"
    return [
        Rule(
            "bad_time",
            table,
            f"{given}{column}_time IS NULL",
            f"{column} in ISO 8601 or Unix seconds",
            found,
        ),
        Rule(
            "early_time",
            table,
            f"{column}_time < TIMESTAMPTZ '{FIRST_YEAR}-01-01 00:00:00+00'",
            f"{column} from the year {FIRST_YEAR} on",
            found,
        ),
        Rule(
            "future_time",
            table,
            f"{column}_time > delivered_at()",
            f"{column} before the delivery",
            found,
        ),
    ]


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
