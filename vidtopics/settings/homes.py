"""The folder that a home is."""

from __future__ import annotations

import os
from pathlib import Path

from vidtopics.errors import SettingsError, explain
from vidtopics.paths import addressable, is_url


def folder(home: str | os.PathLike[str]) -> Path:
    """A home's folder; SettingsError for an address, or a path that no table can lie below.

    >>> folder(".vidtopics").name
    '.vidtopics'
    >>> folder("s3://bucket/home")
    Traceback (most recent call last):
    ...
    vidtopics.errors.SettingsError: home: expected a folder, found s3:/bucket/home.
    Mend: name a local or mounted folder, or copy the home to one (docs/object-stores.md).
    """
    path = Path(home)
    if is_url(str(home)):
        raise SettingsError(
            explain(
                "home",
                expected="a folder",
                found=path.as_posix(),
                mend="name a local or mounted folder, or copy the home to one "
                "(docs/object-stores.md)",
            )
        )
    addressable(path, "home")
    return path
