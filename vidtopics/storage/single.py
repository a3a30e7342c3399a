"""One object by its address, as a cover of a catalogue has it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from vidtopics.storage.addresses import Address

if TYPE_CHECKING:
    from vidtopics.storage.objects import Objects


def bucket_of(address: Address) -> Address:
    """The bucket that an object lies in.

    >>> bucket_of(Address.parse("s3://covers/2026/a.jpg")).text
    's3://covers'
    """
    scheme, _, rest = address.text.partition("://")
    return Address(f"{scheme}://{rest.partition('/')[0]}")


def read_object(address: Address, max_bytes: int) -> bytes | None:
    """An object's bytes; None where it has more than that.

    Raises:
        FileNotFoundError: there is none.
        TableError: it may not be read, or the store is out of reach.
    """
    bucket = bucket_of(address)
    key = address.text.removeprefix(f"{bucket.text}/")
    return _objects(bucket.text).read_at_most(key, max_bytes)


@lru_cache(64)
def _objects(bucket: str) -> Objects:
    """A connection is kept: a catalogue has thousands of covers in a bucket."""
    from vidtopics.storage.objects import Objects

    return Objects(Address(bucket))
