"""Paths of folders, and the URIs that engines know them by.

delta-rs takes and gives URIs (``file:///a%20b/``), Spark wants a scheme before a path that isn't
escaped (``file:///a b``), Arrow and DuckDB want the plain absolute path. Nothing else in vidtopics
converts between the three.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from vidtopics.errors import SettingsError, explain

# What delta-rs 1.6 can't address, in whatever form it is given: it decodes an escape twice, takes a
# backslash for a slash, panics at brackets, and resolves links before it does so.
UNADDRESSABLE = re.compile(r"%[0-9A-Fa-f]{2}|[\x00-\x1f\x7f\\\[\]^|]|(?<=/)_delta_log(?=/)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def is_url(text: str) -> bool:
    """Whether `text` is an address and not a path.

    >>> is_url("s3://bucket/tables"), is_url("file:/a"), is_url("/a:/b"), is_url("a:b")
    (True, True, False, False)
    """
    return _URL.match(text) is not None


def to_uri(path: str | os.PathLike[str], where: str = "path") -> str:
    """The URI of a local path, as delta-rs takes it. `where` says in errors whose path it is.

    Raises:
        SettingsError: delta-rs can't address the path (:func:`addressable`).

    >>> to_uri("/srv/a b#1")
    'file:///srv/a%20b%231'
    """
    return f"file://{quote(str(addressable(path, where)))}"


def from_uri(uri: str) -> Path:
    """The local path of a `file:` URI; a plain path is returned as it is.

    >>> str(from_uri("file:///srv/a%20b%231/"))
    '/srv/a b#1'
    """
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file:") else Path(uri)


def to_spark(place: str | os.PathLike[str]) -> str:
    """A path or URI as Spark's readers and writers take it: nothing is escaped after `file://`.

    Addresses of other stores stay as they are. Readers of other formats than
    Delta take a path for a pattern: give them ``option("__globPaths__", "false")``.

    >>> to_spark("file:///srv/a%20b/"), to_spark("/srv/a b"), to_spark("s3://bucket/a%20b")
    ('file:///srv/a b', 'file:///srv/a b', 's3://bucket/a%20b')
    """
    text = os.fspath(place)
    if is_url(text) and not text.startswith("file:"):
        return text
    return f"file://{os.path.abspath(from_uri(text))}"


def addressable(path: str | os.PathLike[str], where: str) -> Path:
    r"""The absolute path of a folder that is to hold tables.

    Raises:
        SettingsError: its real path isn't UTF-8 or has a sign that delta-rs can't address.

    >>> addressable("/srv/a[1]", "home")
    Traceback (most recent call last):
    ...
    vidtopics.errors.SettingsError: home /srv/a[1]: expected a path without %XX, brackets, \, ^, |
    and control characters, found '['. Mend: rename that folder, or choose another; a link to it
    doesn't help.
    """
    absolute = os.path.abspath(path)
    real = absolute if "\0" in absolute else os.path.realpath(absolute)
    _refuse_other_bytes(absolute + real, where, absolute)
    sign = UNADDRESSABLE.search(f"{real}/")
    if sign is None:
        return Path(absolute)
    raise SettingsError(
        explain(
            f"{where} {_printable(real)}",
            expected="a path without %XX, brackets, \\, ^, | and control characters",
            found=repr(sign[0]),
            mend="rename that folder, or choose another; a link to it doesn't help",
        )
    )


def _refuse_other_bytes(text: str, where: str, path: str) -> None:
    """SettingsError where `text` has bytes that aren't UTF-8 (Python's surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SettingsError(
            explain(
                f"{where} {_printable(path)}",
                expected="a path in UTF-8",
                found="other bytes",
                mend="rename that folder, or choose another",
            )
        ) from None


def _printable(path: str) -> str:
    """The path on one line and in UTF-8: other bytes and control characters are escaped."""
    text = path.encode("utf-8", "backslashreplace").decode()
    return re.sub(r"[\x00-\x1f\x7f]", lambda sign: repr(sign[0])[1:-1], text)
