"""CSV text cut into records that keep their row numbers, so that a bad row costs no good one.

A record is what RFC 4180 says, quoted line ends included, with the separator and line end of the
file's dialect. Where the text isn't well-formed (a quote that is never closed, text after a closing
quote), the line on which the record began is refused alone and reading resumes on the next line; no
CSV parser that we tried recovers so. Lines without quotes, nearly all of a log, are judged by
vectorised scans; only lines whose quotes are open or misplaced are walked one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.ingest.utf8 import undecodable

MAX_RECORD_BYTES = 1 << 20

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class Grammar(NamedTuple):
    r"""The records of one dialect: separator, line end (``\r``, or ``\n``, also after ``\r``).

    `field` and `end` are RE2 patterns (Arrow). The others are Python's, possessive so that they run
    in linear time: a record's first line that ends inside quotes, and the three ways in which a
    line that starts inside quotes can end.
    """

    separator: str
    line_end: bytes
    field: str
    end: str
    opens: re.Pattern[bytes]
    stays: re.Pattern[bytes]
    closes: re.Pattern[bytes]
    reopens: re.Pattern[bytes]

    @property
    def well_formed(self) -> str:
        """RE2 pattern of a line that is a record by itself."""
        return rf"^{self.field}(?:{self.separator}{self.field})*{self.end}$"

    @property
    def blank(self) -> str:
        """RE2 pattern of a line without any value: separators, spaces and empty quotes."""
        empty = r'[ \t]*(?:"[ \t]*")?[ \t]*'
        return rf"^{empty}(?:{self.separator}{empty})*{self.end}$"

    def with_fields(self, count: int) -> str:
        """RE2 pattern of a well-formed record of `count` fields."""
        return rf"^{self.field}(?:{self.separator}{self.field}){{{count - 1}}}{self.end}$"


@cache
def grammar(separator: str = ",", line_end: str = "\n") -> Grammar:
    r"""The grammar of a separator (``,``, ``;`` or a tab) and a line end (``\n`` or ``\r``)."""
    end = r"\r{0,2}\n" if line_end == "\n" else r"\r"
    field = rf'(?:"(?:[^"]|"")*"|[^"{separator}\r\n][^{separator}\r\n]*|)'
    quoted = r'(?:[^"]++|"")*+'
    once = rf'(?:"{quoted}"|[^"{separator}\r\n][^{separator}\r\n]*+|)'
    python = [
        rf'(?:{once}{separator})*+"{quoted}',
        quoted,
        rf'{quoted}"(?:{separator}{once})*+{end}',
        rf'{quoted}"{separator}(?:{once}{separator})*+"{quoted}',
    ]
    compiled = (re.compile(pattern.encode()) for pattern in python)
    return Grammar(separator, line_end.encode(), field, end, *compiled)


class Records(NamedTuple):
    """Records of a file: text with line end (binary), row number, reason where it is refused."""

    text: pa.BinaryArray
    rows: Ints
    reason: npt.NDArray[np.object_]


def records(
    blocks: Iterable[bytes], fields: int, dialect: Grammar | None = None
) -> Iterator[Records]:
    r"""The records of a text that comes in `blocks`, without its header, each of `fields` fields.

    The first record is row 1. Lines without any value (empty, or of separators and empty quotes
    only) are left out, but counted: where no field holds a line end, row r is line r + 1.

    >>> for block in records([b'a,1\nb,"x\ny"\nc,"2\nd,4\n'], fields=2):
    ...     print(block.text.to_pylist(), block.rows, block.reason)
    [b'a,1\n', b'b,"x\ny"\n'] [1 2] [None None]
    [b'c,"2\n', b'd,4\n'] [3 4] ['malformed_row' None]
    """
    dialect = dialect or grammar()
    unfinished, row = b"", 1
    for block, at_end in _whole_lines(blocks, dialect.line_end):
        text = unfinished + block
        starts, malformed, stop = _cut(text, at_end, dialect)
        unfinished = text[stop:]
        judged = _judge(text, np.append(starts, stop), malformed, fields, dialect)
        if len(judged.rows):
            yield judged._replace(rows=judged.rows + row)
        row += len(starts)


def _whole_lines(blocks: Iterable[bytes], line_end: bytes) -> Iterator[tuple[bytes, bool]]:
    """Blocks that end with a line end, the last one flagged; overlong lines are cut."""
    pending = b""
    for data in blocks:
        head, newline, tail = data.rpartition(line_end)
        if newline:
            yield pending + head + newline, False
            pending = b""
        pending = (pending + tail)[: MAX_RECORD_BYTES + 1]
    yield pending + line_end if pending else b"", True


def _cut(text: bytes, at_end: bool, dialect: Grammar) -> tuple[Ints, Mask, int]:
    """Start of each record, whether it is malformed, and where the first unfinished one starts."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(dialect.line_end)) + 1
    offsets = np.concatenate([[0], ends])
    continued = np.zeros(len(ends), bool)
    malformed = np.zeros(len(ends), bool)
    resume = 0
    for first in np.flatnonzero(_suspect(text, offsets, dialect)):
        if first < resume:
            continue
        last = _last_line(text, offsets, int(first), dialect)
        if last is None and not at_end and len(text) - offsets[first] <= MAX_RECORD_BYTES:
            starts = ~continued[:first]
            return offsets[:first][starts], malformed[:first][starts], int(offsets[first])
        if last is None or last < first:
            malformed[first] = True
        else:
            continued[first + 1 : last + 1] = True
            resume = last + 1
    return offsets[:-1][~continued], malformed[~continued], len(text)


def _suspect(text: bytes, offsets: Ints, dialect: Grammar) -> Mask:
    """Lines that are no record by themselves."""
    lines = _slices(text, offsets)
    suspect = np.zeros(len(lines), bool)
    if b'"' in text:
        quoted = np.flatnonzero(_mask(pc.match_substring(lines, '"')))
        suspect[quoted] = ~_mask(pc.match_substring_regex(lines.take(quoted), dialect.well_formed))
    if _has_stray_line_end(text, dialect.line_end):
        suspect |= ~_mask(pc.match_substring_regex(lines, dialect.well_formed))
    return suspect


def _has_stray_line_end(text: bytes, line_end: bytes) -> bool:
    r"""Whether a line end of the other kind occurs (``\r`` before ``\n`` is fine)."""
    if line_end == b"\r":
        return b"\n" in text
    return text.count(b"\r") != text.count(b"\r\n")


def _last_line(text: bytes, offsets: Ints, first: int, dialect: Grammar) -> int | None:
    """The last line of the record from line `first`; -1: malformed; None: the text ends first."""
    if not dialect.opens.fullmatch(text, offsets[first], offsets[first + 1]):
        return -1
    for line in range(first + 1, len(offsets) - 1):
        span = offsets[line], offsets[line + 1]
        if offsets[line + 1] - offsets[first] > MAX_RECORD_BYTES:
            return -1
        if dialect.stays.fullmatch(text, *span) or dialect.reopens.fullmatch(text, *span):
            continue
        return line if dialect.closes.fullmatch(text, *span) else -1
    return None


def _judge(text: bytes, offsets: Ints, malformed: Mask, fields: int, dialect: Grammar) -> Records:
    """The records between offsets that aren't blank, by their index, each with its reason."""
    candidates = _slices(text, offsets)
    lengths = np.diff(offsets)
    index = np.flatnonzero(~_blank(text, offsets, candidates, dialect))
    if len(index) < len(candidates):
        candidates, lengths, malformed = candidates.take(index), lengths[index], malformed[index]
    reason = np.full(len(index), None, object)
    reason[~_has_fields(candidates, fields, dialect)] = "field_count"
    reason[malformed] = "malformed_row"
    reason[undecodable(candidates)] = "not_utf8"
    reason[lengths > MAX_RECORD_BYTES] = "overlong_row"
    return Records(candidates, index, reason)


def _blank(text: bytes, offsets: Ints, candidates: pa.BinaryArray, dialect: Grammar) -> Mask:
    """Records without any value; only those whose first byte can begin one are matched."""
    begins = np.zeros(256, bool)
    begins[list(b' \t"\r\n' + dialect.separator.encode())] = True
    blank = begins[np.frombuffer(text, np.uint8)[offsets[:-1]]]
    index = np.flatnonzero(blank)
    blank[index] = _mask(pc.match_substring_regex(candidates.take(index), dialect.blank))
    return blank


def _has_fields(candidates: pa.BinaryArray, fields: int, dialect: Grammar) -> Mask:
    """Whether each record has so many fields, where it is well-formed."""
    right = _mask(pc.equal(pc.count_substring(candidates, dialect.separator), fields - 1))
    quoted = np.flatnonzero(_mask(pc.match_substring(candidates, '"')))
    exact = dialect.with_fields(fields)
    right[quoted] = _mask(pc.match_substring_regex(candidates.take(quoted), exact))
    return right


def _slices(text: bytes, offsets: Ints) -> pa.BinaryArray:
    """The pieces of `text` between offsets, without a copy."""
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def _mask(array: pa.BooleanArray) -> Mask:
    mask: Mask = np.array(array)
    return mask
