"""What kind of file other than CSV the first bytes of a file betray, and how to make CSV of it."""

from __future__ import annotations

from typing import NamedTuple


class ContentKind(NamedTuple):
    """A kind of content: its name for a message, and the mend."""

    name: str
    mend: str


_UNPACK = "unpack it"
_SAVE_AS = "open it and save the sheet as CSV in UTF-8"
_DELIVER = "deliver the data as CSV, or as Parquet"
_SIGNATURES = {
    b"PK\x03\x04": ContentKind("a spreadsheet (.xlsx, .ods) or zip archive", _SAVE_AS),
    b"\xd0\xcf\x11\xe0": ContentKind("a spreadsheet (.xls)", _SAVE_AS),
    b"\x1f\x8b": ContentKind("a gzip archive", _UNPACK),
    b"BZh": ContentKind("a bzip2 archive", _UNPACK),
    b"\xfd7zXZ": ContentKind("an xz archive", _UNPACK),
    b"\x28\xb5\x2f\xfd": ContentKind("a zstd archive", _UNPACK),
    b"7z\xbc\xaf": ContentKind("a 7z archive", _UNPACK),
    b"PAR1": ContentKind("a Parquet file", "give it a name that ends in .parquet"),
    b"SQLite format 3\0": ContentKind("an SQLite database", _DELIVER),
    b"%PDF-": ContentKind("a PDF document", _DELIVER),
    b"<": ContentKind("XML or a web page (HTML)", _DELIVER),
    b"{": ContentKind("JSON", _DELIVER),
    b"[{": ContentKind("JSON", _DELIVER),
}


def content_kind(head: bytes) -> ContentKind | None:
    r"""The kind of a file that starts with the bytes `head`; None where it may be CSV.

    >>> content_kind(b"\x1f\x8b\x08\0").name, content_kind(b"video_id,title\n")
    ('a gzip archive', None)
    """
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        return ContentKind("an empty file", "deliver it with at least its header")
    compact = b"".join(start[:80].split())
    matches = (kind for sign, kind in _SIGNATURES.items() if start.startswith(sign))
    return next(matches, _SIGNATURES[b"[{"] if compact.startswith(b"[{") else None)
