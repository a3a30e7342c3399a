"""Cutting what goes to Redis into commands of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of at most `size`.

    >>> list(chunks("abc", 2))
    [['a', 'b'], ['c']]
    """
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def bucket_of(key: bytes) -> int:
    """The bucket that a key carries as its hash tag.

    >>> bucket_of(b"vt:1:2:{5}v{1}")
    5
    """
    return int(key.partition(b"{")[2].partition(b"}")[0])
