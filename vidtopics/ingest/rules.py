r"""Row rules as data: each is a reason, the SQL condition of a bad row, and what to say about it.

Rules are tried in order and the first that applies refuses the row. A column `c` that holds a time
or number has its parsed value beside it, as `c_time` or `c_number`.

Macros: `folded` gives one text for a tag or class in any Unicode form (NFC, NFD), case and white
space; `pieces` cuts a list at `|` and leaves out repetitions, the first spelling of each stays.

>>> import duckdb
>>> sql = duckdb.connect()
>>> _ = sql.execute("SET TimeZone = 'UTC'").execute(MACROS)
>>> for text in ("2026-01-01T02:00+02:00", "1767225600", "1/2/2026"):
...     print(sql.execute("SELECT instant(?)", [text]).fetchone()[0])
2026-01-01 00:00:00+00:00
2026-01-01 00:00:00+00:00
None
>>> sql.execute("SELECT folded(?), folded(?)", ["  Slow\n Motion ", "STRASSE"]).fetchone()
('slow motion', 'strasse')
>>> sql.execute("SELECT pieces('Jazz| b||JAZZ'), shown('it''s')").fetchone()
(['Jazz', 'b'], "'it's'")
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

# `lower` maps letter by letter. As in Unicode's case folding, the sharp s is ss and the final sigma
# a sigma. No language is known: the dotted capital I is an i, the dotless one stays a letter apart.
MACROS = rf"""
CREATE MACRO shown(t) AS '''' || regexp_replace(t[:80], '\p{{Cc}}', '?', 'g') || '''';
CREATE MACRO folded_letters(t) AS
  replace(replace(replace(lower(nfc_normalize(t)), 'ß', 'ss'), 'ς', 'σ'), 'i' || chr(775), 'i');
CREATE MACRO folded(t) AS
  trim(regexp_replace(nfc_normalize(folded_letters(t)), '[\s\p{{Z}}]+', ' ', 'g'));
CREATE MACRO split(t) AS
  list_filter(list_transform(string_split(t, '|'), lambda s: trim(s)), lambda s: s <> '');
CREATE MACRO pieces(t) AS (
  WITH numbered AS (SELECT list_sort(list_transform(
    split(t), lambda s, i: {{'fold': folded(s), 'place': i, 'piece': s}})) AS entries),
  firsts AS (SELECT list_sort(list_transform(list_filter(entries,
    lambda e, i: i = 1 OR entries[i - 1].fold <> e.fold),
    lambda e: {{'place': e.place, 'piece': e.piece}})) AS entries FROM numbered)
  SELECT list_transform(entries, lambda e: e.piece) FROM firsts);
CREATE MACRO number(t) AS
  CASE WHEN regexp_full_match(t, '{_NUMBER}') THEN TRY_CAST(t AS DOUBLE) END;
CREATE MACRO instant(t) AS CASE
  WHEN regexp_full_match(t, '{_ISO}') THEN TRY_CAST(t AS TIMESTAMPTZ)
  WHEN regexp_full_match(t, '{_UNIX}') AND abs(TRY_CAST(t AS DOUBLE)) < 1e11
  THEN make_timestamptz(CAST(round(CAST(t AS DOUBLE) * 1e6) AS BIGINT)) END;
"""


@dataclass(frozen=True)
class Rule:
    """Where the SQL condition `bad` holds, the row is refused for `table`.

    `found` is SQL for the text of what was found.
    """

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
        values = f"'target': '{self.table.name}', 'reason': '{self.reason}', 'detail': {detail}"
        return f"WHEN {self.bad} THEN {{{values}}}"


def first_broken(rules: Sequence[Rule]) -> str:
    """SQL for the struct (target, reason, detail) of the first rule that a row breaks, or null."""
    return f"CASE {' '.join(rule.case for rule in rules)} END"


def identifier(column: str, table: Table, *, optional: bool = False) -> list[Rule]:
    """An id: 1 to 128 UTF-8 bytes without control characters, otherwise left as it is."""
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


def known_video(table: Table) -> Rule:
    """A video that was delivered; one whose row of this catalogue was refused is named as such."""
    in_catalogue = "video_id IN (SELECT video_id FROM videos)"
    consequence = (
        f"CASE WHEN {in_catalogue} THEN ', whose row of the catalogue is refused' ELSE '' END"
    )
    return Rule(
        "unknown_video",
        table,
        "video_id NOT IN (SELECT video_id FROM video_ids)",
        "a video_id of the catalogue",
        f"shown(video_id) || {consequence}",
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
