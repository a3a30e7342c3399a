"""CSV text cut into records that keep their row numbers, so that a bad row never takes a good one with it.

A record is what RFC 4180 says, quoted line ends included. Where the text isn't RFC 4180 (a quote
that is never closed, text after a closing quote), the line on which the record began is refused
alone and reading resumes on the next line; no CSV parser that we tried recovers so. Lines without
quotes, nearly all of a log, are judged by vectorised scans; only lines whose quotes are open or
misplaced are walked one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.ingest.utf8 import undecodable

MAX_RECORD_BYTES = 1 << 20

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_FIELD = r'(?:"(?:[^"]|"")*"|[^",\r\n][^,\r\n]*|)'
_WELL_FORMED = rf"^{_FIELD}(?:,{_FIELD})*\r?\n$"

# The same grammar for Python's engine, possessive so that it runs in linear time: a record's first
# line that ends inside quotes, and the three ways in which a line that starts inside quotes can
# end.
_QUOTED = rb'(?:[^"]++|"")*+'
_ANY = rb'(?:"%s"|[^",\r\n][^,\r\n]*+|)' % _QUOTED
_OPENS = re.compile(rb'(?:%s,)*+"%s' % (_ANY, _QUOTED))
_STAYS = re.compile(_QUOTED)
_CLOSES = re.compile(rb'%s"(?:,%s)*+\r?\n' % (_QUOTED, _ANY))
_REOPENS = re.compile(rb'%s",(?:%s,)*+"%s' % (_QUOTED, _ANY, _QUOTED))


class Records(NamedTuple):
    """Some records of a file: text with line end (binary), row number, and the reason where it is refused."""

    text: pa.BinaryArray
    rows: Ints
    reason: npt.NDArray[np.object_]


def records(file: BinaryIO, fields: int, read_bytes: int) -> Iterator[Records]:
    r"""The records of `file` after its header, each of `fields` fields, a few `read_bytes` at a time.

    The first record is row 1. Empty lines are left out, but counted: where no field holds a line
    end, row r is line r + 1.

    >>> from io import BytesIO
    >>> for block in records(BytesIO(b'a,1\nb,"x\ny"\nc,"2\nd,4\n'), fields=2, read_bytes=1 << 20):
    ...     print(block.text.to_pylist(), block.rows, block.reason)
    [b'a,1\n', b'b,"x\ny"\n'] [1 2] [None None]
    [b'c,"2\n', b'd,4\n'] [3 4] ['malformed_row' None]
    """
    unfinished, row = b"", 1
    for block, at_end in _whole_lines(file, read_bytes):
        text = unfinished + block
        starts, malformed, stop = _cut(text, at_end)
        unfinished = text[stop:]
        found = _judge(text, np.append(starts, stop), malformed, fields, row)
        row += len(starts)
        if len(found.rows):
            yield found


def _whole_lines(file: BinaryIO, read_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """Blocks that end with a line end, the last one flagged; a line beyond the limit is cut to just over it."""
    pending = b""
    while data := file.read(read_bytes):
        head, newline, tail = data.rpartition(b"\n")
        if newline:
            yield pending + head + newline, False
            pending = b""
        pending = (pending + tail)[: MAX_RECORD_BYTES + 1]
    yield pending + b"\n" if pending else b"", True


def _cut(text: bytes, at_end: bool) -> tuple[Ints, Mask, int]:
    """Start of every record, whether it is malformed, and where the first unfinished record starts (or the end)."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
    offsets = np.concatenate([[0], ends])
    continued = np.zeros(len(ends), bool)
    malformed = np.zeros(len(ends), bool)
    resume = 0
    for first in np.flatnonzero(_suspect(text, offsets)):
        if first < resume:
            continue
        last = _last_line(text, offsets, int(first))
        if last is None and not at_end and len(text) - offsets[first] <= MAX_RECORD_BYTES:
            return (
                offsets[:first][~continued[:first]],
                malformed[:first][~continued[:first]],
                int(offsets[first]),
            )
        if last is None or last < first:
            malformed[first] = True
        else:
            continued[first + 1 : last + 1] = True
            resume = last + 1
    return offsets[:-1][~continued], malformed[~continued], len(text)


def _suspect(text: bytes, offsets: Ints) -> Mask:
    """Lines that are no record by themselves."""
    lines = _slices(text, offsets)
    suspect = np.zeros(len(lines), bool)
    if b'"' in text:
        quoted = np.flatnonzero(_mask(pc.match_substring(lines, '"')))
        suspect[quoted] = ~_mask(pc.match_substring_regex(lines.take(quoted), _WELL_FORMED))
    if text.count(b"\r") != text.count(b"\r\n"):
        suspect |= ~_mask(pc.match_substring_regex(lines, _WELL_FORMED))
    return suspect


def _last_line(text: bytes, offsets: Ints, first: int) -> int | None:
    """The line with which the record from line `first` ends; -1: it is malformed; None: the text ends before it does."""
    if not _OPENS.fullmatch(text, offsets[first], offsets[first + 1]):
        return -1
    for line in range(first + 1, len(offsets) - 1):
        span = offsets[line], offsets[line + 1]
        if offsets[line + 1] - offsets[first] > MAX_RECORD_BYTES:
            return -1
        if _STAYS.fullmatch(text, *span) or _REOPENS.fullmatch(text, *span):
            continue
        return line if _CLOSES.fullmatch(text, *span) else -1
    return None


def _judge(text: bytes, offsets: Ints, malformed: Mask, fields: int, row: int) -> Records:
    lengths = np.diff(offsets)
    data = np.frombuffer(text, np.uint8)
    empty = (data[offsets[:-1]] == ord("\n")) | ((data[offsets[:-1]] == ord("\r")) & (lengths == 2))
    kept = np.flatnonzero(~empty)
    found = _slices(text, offsets).take(kept)
    reason = np.full(len(kept), None, object)
    good = ~malformed[kept]
    wrong = good.copy()
    wrong[good] = ~_has_fields(found.filter(pa.array(good)), fields)
    reason[wrong] = "field_count"
    reason[~good] = "malformed_row"
    reason[undecodable(found)] = "not_utf8"
    reason[lengths[kept] > MAX_RECORD_BYTES] = "overlong_row"
    return Records(found, kept + row, reason)


def _has_fields(found: pa.BinaryArray, fields: int) -> Mask:
    """Whether each well-formed record has so many fields."""
    right = _mask(pc.equal(pc.count_substring(found, ","), fields - 1))
    quoted = np.flatnonzero(_mask(pc.match_substring(found, '"')))
    exact = rf"^{_FIELD}(?:,{_FIELD}){{{fields - 1}}}\r?\n$"
    right[quoted] = _mask(pc.match_substring_regex(found.take(quoted), exact))
    return right


def _slices(text: bytes, offsets: Ints) -> pa.BinaryArray:
    """The pieces of `text` between offsets, without a copy."""
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def _mask(array: pa.BooleanArray) -> Mask:
    mask: Mask = np.array(array)
    return mask
