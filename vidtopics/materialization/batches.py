"""Cutting what goes to Redis into commands of bounded size."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


@dataclass
class Sender:
    """Counts the batches that one sender of a run sends to each bucket.

    Redis counts as well, so that a loss shows.

    >>> sender = Sender("s")
    >>> sender.next(2), sender.next(2), sender.counts(3), sender.count_of(2, sender.counts(3))
    (('s', '1'), ('s', '2'), 's 0 0 2', 's 2')
    """

    name: str = field(default_factory=lambda: secrets.token_hex(4))
    sent: Counter[int] = field(default_factory=Counter)

    def next(self, bucket: int) -> tuple[str, str]:
        """Sender and number of the next batch to a bucket."""
        self.sent[bucket] += 1
        return self.name, str(self.sent[bucket])

    def counts(self, buckets: int) -> str:
        """The sender and its number of batches to each bucket, for who sets the watermark."""
        return " ".join([self.name, *(str(self.sent[b]) for b in range(buckets))])

    @staticmethod
    def count_of(bucket: int, counts: str) -> str:
        """Of :meth:`counts`, what concerns one bucket."""
        name, *sent = counts.split(" ")
        return f"{name} {sent[bucket]}"


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of at most `size`.

    >>> list(chunks("abc", 2))
    [['a', 'b'], ['c']]
    """
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def tag_of(key: bytes) -> str:
    """The hash tag of a key, which names its bucket.

    >>> tag_of(b"vt:1:2:{5x}v{1}")
    '5x'
    """
    return key.partition(b"{")[2].partition(b"}")[0].decode()
