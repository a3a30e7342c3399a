"""Where the home of a submitted job lies."""

from __future__ import annotations

from pathlib import Path

from vidtopics.storage import Address
from vidtopics.storage.mirrors import open_mirror


def home_folder(place: str, *, is_written: bool = False) -> Path:
    """The folder of a home; of one in a bucket its mirror, as the bucket is now, with its models.

    Args:
        place: a folder, or the address of a bucket and a prefix in it.
        is_written: for a program that writes to the home's tables.

    Raises:
        SettingsError, TableError: the address isn't one, or the store is out of reach.

    >>> str(home_folder("/srv/home"))
    '/srv/home'
    """
    address = Address.parse(place, "--home")
    return address.folder or open_mirror(address, models=True, is_written=is_written)
