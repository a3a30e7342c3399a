"""Covers that a delivery names by an address: in the buckets of `ingest.cover_buckets` alone.

A delivery comes from outside. What it may make this machine ask for is an object of a store, by the
store's own library, in a place that the settings name: no other scheme, host, port or bucket.
"""

from __future__ import annotations

from collections.abc import Sequence

from vidtopics.errors import SettingsError
from vidtopics.images import Problem
from vidtopics.ingest.cover_contents import Cover, Delivered, content_hash, largest, problem_of
from vidtopics.storage import Address
from vidtopics.storage.single import read_object


def is_address(cover: str) -> bool:
    """Whether a cover is meant as an address, of whatever kind.

    >>> is_address("s3://covers/a.jpg"), is_address("http://host/a.jpg"), is_address("covers/a.jpg")
    (True, True, False)
    """
    return "://" in cover


def examine_object(delivered: Delivered, max_pixels: int, places: Sequence[Address]) -> Cover:
    """What is known of a cover in a bucket.

    Raises:
        TableError: it may not be read, or the store is out of reach: nobody knows then what it is.
    """
    text, title, known = delivered.path.strip(), delivered.title, delivered.known
    address = _allowed(text, places)
    if address is None:
        buckets = ", ".join(map(str, places)) or "none"
        detail = (
            f"expected a cover below the folder or in ingest.cover_buckets ({buckets}),"
            f" found {_shown(text)!r}"
        )
        return Cover("", "", "cover_outside_folder", detail)
    data = _read(address, largest(max_pixels))
    with_cover = content_hash(data, title) if isinstance(data, bytes) else ""
    problem = problem_of(data, max_pixels, is_known=with_cover in known)
    if problem:
        detail = f"expected a cover at its address, found {str(address)[:80]!r}, {problem}"
        return Cover("", content_hash(b"", title), f"{problem}_cover", detail)
    return Cover(str(address), with_cover, None, None)


def _allowed(text: str, places: Sequence[Address]) -> Address | None:
    try:
        address = Address.parse(text, "cover")
    except SettingsError:
        return None
    return address if any(_is_inside(address, place) for place in places) else None


def _is_inside(address: Address, place: Address) -> bool:
    return place.folder is None and address.is_within(place) and address != place


def _shown(text: str) -> str:
    """The beginning of an address without what may be a password or a signature."""
    scheme, _, rest = text.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"[:80]


def _read(address: Address, max_bytes: int) -> bytes | Problem:
    try:
        content = read_object(address, max_bytes)
    except FileNotFoundError:
        return "missing"
    return "bomb" if content is None else content
