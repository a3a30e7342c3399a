r"""The dialect of a CSV file: encoding, separator, line end and header, from its first bytes.

Nothing is guessed by statistics: the encoding follows from the byte order mark, the line end from
the end of the header, the separator from the column names that are known.

>>> head = b'sep=;\r\nVIDEO_ID; Title\r\nv1;"a;b"\r\n'
>>> dialect = sniff("videos.csv", head, ["video_id", "title"])
>>> dialect.header, dialect.separator, str(dialect)
(('VIDEO_ID', 'Title'), ';', "separator ';', line ends CR LF, first line 'sep='")
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vidtopics.errors import InputError, explain
from vidtopics.ingest.signatures import content_kind
from vidtopics.ingest.utf8 import UTF32_MARKS, byte_order_mark

SEPARATORS = (",", ";", "\t")
HEAD_BYTES = 1 << 20  # the header has to end within so many bytes

# Lines without a name may stand before the header, and the line by which Excel learns the
# separator. A quoted name may hold line ends; a quote that is never closed is text.
# Not possessive: up to Python 3.11.4 a possessive group that fails keeps what it has consumed.
_BLANK_LINES = re.compile(rb'(?:[ \t,;"]*(?:\r{0,2}\n|\r))*')
_SEP_LINE = re.compile(rb'"?sep=[^\r\n"]"?[,;\t]*(?:\r{0,2}\n|\r)', re.IGNORECASE)
_END = rb"(\r{0,2}\n|\r|\Z)"
_HEADER = re.compile(rb'((?:[^"\r\n]|"(?:[^"]|"")*+")*+)' + _END)
_FIRST_LINE = re.compile(rb"([^\r\n]*+)" + _END)

_ENCODINGS = {
    "utf-8": "UTF-8 with a byte order mark",
    "utf-16-le": "UTF-16 (little-endian)",
    "utf-16-be": "UTF-16 (big-endian)",
}
_SAVE = "save the file as CSV in UTF-8, its fields separated by commas"


@dataclass(frozen=True)
class Dialect:
    r"""How a CSV file is written; `str` says it in words, empty for commas, UTF-8 and LF.

    * `header`: column names without space around them.
    * `body_offset`: where the first row starts in the UTF-8 text without byte order mark (bytes).
    * `line_end`: ``\n``, ``\r\n``, ``\r\r\n`` or ``\r``.
    * `mark`: the encoding that a byte order mark states, if there is one.
    * `sep_line`: whether a line as ``sep=;`` stands before the header.
    """

    header: tuple[str, ...]
    body_offset: int
    separator: str = ","
    line_end: str = "\n"
    mark: str | None = None
    sep_line: bool = False

    @property
    def record_end(self) -> str:
        r"""The character that ends a record: ``\r`` where it is the only line end, else ``\n``."""
        return self.line_end[-1]

    def __str__(self) -> str:
        names = {"\r": "CR", "\n": "LF"}
        parts = [
            (self.mark is not None, _ENCODINGS.get(self.mark or "", "")),
            (self.separator != ",", f"separator {_shown(self.separator)}"),
            (self.line_end != "\n", f"line ends {' '.join(names[c] for c in self.line_end)}"),
            (self.sep_line, "first line 'sep='"),
        ]
        return ", ".join(text for applies, text in parts if applies)


def sniff(file_name: str, head: bytes, known: Sequence[str]) -> Dialect:
    """The dialect of a file that starts with the bytes `head` and may have the columns `known`.

    InputError if the header can't be read: another kind of file, encoding or separator.
    """
    _check_is_text(file_name, head)
    mark = byte_order_mark(head)
    text = head[mark.size :] if mark else head
    if mark and mark.encoding != "utf-8":
        text = text[: len(text) // 2 * 2].decode(mark.encoding, "replace").encode()
    start = _match_end(_BLANK_LINES, text, 0)
    header_start = _match_end(_SEP_LINE, text, start)
    header_start = _match_end(_BLANK_LINES, text, header_start)
    match = _HEADER.match(text, header_start) or _FIRST_LINE.match(text, header_start)
    assert match, "an empty line matches"
    line = _decoded(file_name, match[1])
    separator = max(SEPARATORS, key=lambda sign: _known_count(line, sign, known))
    if _known_count(line, separator, known) < 2:
        _check_separator(file_name, line, known)
    return Dialect(
        header=tuple(bare_names(_split(line, separator))),
        body_offset=match.end(),
        separator=separator,
        line_end=match[2].decode() or "\n",
        mark=mark.encoding if mark else None,
        sep_line=header_start > start and _SEP_LINE.match(text, start) is not None,
    )


def bare_names(names: Iterable[str]) -> list[str]:
    """Names without space around them, and without a byte order mark.

    >>> bare_names([" VIDEO_ID ", "Note"])
    ['VIDEO_ID', 'Note']
    """
    return [name.replace("\ufeff", "").strip() for name in names]


def _match_end(pattern: re.Pattern[bytes], text: bytes, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else start


def _check_is_text(file_name: str, head: bytes) -> None:
    """InputError for an empty file, one of another kind, and text of an unknown encoding."""
    kind = content_kind(head)
    if kind:
        raise InputError(explain(file_name, expected="a CSV file", found=kind.name, mend=kind.mend))
    # A header starts with a name: NUL bytes there are halves of wider characters.
    if head.startswith(UTF32_MARKS) or b"\0" in head[:2]:
        expected = "text in UTF-8, or in UTF-16 with a byte order mark"
        found = "UTF-32, or UTF-16 without the mark"
        raise InputError(explain(file_name, expected=expected, found=found, mend=_SAVE))


def _decoded(file_name: str, line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        shown = ascii(line[:80].decode("latin-1"))
        raise InputError(
            explain(file_name, expected="a header in UTF-8", found=shown, mend=_SAVE)
        ) from None


def _split(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return line.split(separator)


def _known_count(line: str, separator: str, known: Sequence[str]) -> int:
    names = {name.casefold() for name in bare_names(_split(line, separator))}
    return len(names & {name.casefold() for name in known})


def _check_separator(file_name: str, line: str, known: Sequence[str]) -> None:
    """InputError if another sign than those of SEPARATORS splits the header into known names."""
    names = _split(line, ",")
    if len(names) == 1 and any(_known_count(names[0], sign, known) > 1 for sign in SEPARATORS):
        found = "quotes around the whole header, which make it one field"
        mend = "save the file without quotes around whole lines"
        raise InputError(explain(file_name, expected="one field a column", found=found, mend=mend))
    signs = sorted(set(re.sub(r"[\w,;\t\"]", "", line)))
    for sign in signs:
        if _known_count(line, sign, known) > 1:
            expected = "fields separated by commas, semicolons or tabs"
            found = f"fields separated by {_shown(sign)}"
            raise InputError(explain(file_name, expected=expected, found=found, mend=_SAVE))


def _shown(separator: str) -> str:
    return "tab" if separator == "\t" else repr(separator)
