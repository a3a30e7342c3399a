"""Keys of views, watermarks and structures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from vidtopics.contracts import CATALOGUE, PARENT, TOPIC
from vidtopics.layout.hashes import HashedIds
from vidtopics.layout.layouts import Layout


class BulkHeads(dict[int, NDArray[np.object_]]):
    """For ids of a length: how a key of each bucket begins as an argument of a command."""

    def __init__(self, heads: Sequence[bytes]) -> None:
        self._heads = heads

    def __missing__(self, length: int) -> NDArray[np.object_]:
        heads = [b"\r\n$%d\r\n%b" % (len(head) + length, head) for head in self._heads]
        made = self[length] = np.array(heads, object)
        return made


@dataclass(frozen=True)
class KeySpace:
    """The keys of one view in one generation, in the hash slots of a layout's buckets."""

    prefix: str
    generation: int
    view: int
    layout: Layout

    @property
    def buckets(self) -> int:
        """The number of buckets."""
        return self.layout.buckets

    @cached_property
    def heads(self) -> list[bytes]:
        """What the keys of each bucket begin with."""
        return [
            f"{self.prefix}:{self.generation}:{self.view}:{{{tag}}}".encode()
            for tag in self.layout.tags
        ]

    def of(self, ids: Iterable[bytes]) -> list[bytes]:
        """The key of each id."""
        heads, buckets = self.heads, self.buckets
        return [heads[crc32(i) % buckets] + i for i in ids]

    def bulk_strings(self, hashed: HashedIds) -> list[bytes]:
        r"""The keys as arguments in Redis' protocol: two pieces for each id, to be joined.

        A line's end has to follow.

        >>> b"".join(KeySpace("vt", 1, 2, Layout(16)).bulk_strings(HashedIds.of([b"v1"])))
        b'\r\n$12\r\nvt:1:2:{2}v1'
        """
        heads, buckets = self._bulk_heads, hashed.hashes % np.uint32(self.buckets)
        pieces = [b""] * (2 * len(hashed.ids))
        if hashed.length is None:
            pairs = zip(hashed.ids, buckets.tolist(), strict=True)
            pieces[::2] = [heads[len(i)][bucket] for i, bucket in pairs]
        else:
            pieces[::2] = heads[hashed.length].take(buckets).tolist()
        pieces[1::2] = hashed.ids
        return pieces

    def watermark(self, bucket: int) -> bytes:
        """Where a bucket's watermark lies, in the bucket's own slot."""
        tag = self.layout.tags[bucket]
        return f"{self.prefix}:{self.generation}:w{self.view}:{{{tag}}}".encode()

    def fingerprints(self, ids: Iterable[bytes]) -> NDArray[np.uint32]:
        """uint32[N]: hash of view and id."""
        return self.marked(np.array([*map(crc32, ids)], np.uint32))

    def marked(self, hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """uint32[N]: the fingerprints of ids with these CRC-32."""
        return hashes ^ self._mark

    @cached_property
    def _bulk_heads(self) -> BulkHeads:
        return BulkHeads(self.heads)

    @cached_property
    def _mark(self) -> np.uint32:
        """Tells the view's fingerprints from others': an odd factor keeps any two views apart."""
        return np.uint32(self.view * 0x9E3779B1 % 2**32)


class Watermark(NamedTuple):
    """How far a bucket of a view has come: release, and version of the Delta table with that id.

    Words that a later version adds behind the table's id are left out.

    >>> str(Watermark.parse(b"3 17 t more")), Watermark.parse(b"9 1 t") < Watermark.parse(b"10 1 t")
    ('3 17 t', True)
    """

    release: int
    version: int
    table_id: str

    @classmethod
    def parse(cls, text: bytes) -> Watermark:
        """From what Redis holds."""
        release, version, table_id = text.decode().split(" ")[:3]
        return cls(int(release), int(version), table_id)

    def __str__(self) -> str:
        return f"{self.release} {self.version} {self.table_id}"


def queue_name(level: str, topic_id: int, *, fresh: bool = False) -> str:
    """How a queue is named in its key; its fresh videos are a list of their own.

    >>> queue_name("topic", 17), queue_name("parent", 3), queue_name("topic", 17, fresh=True)
    ('17', 'p3', '17:fresh')
    >>> queue_name("catalogue", 0)
    'all'
    """
    name = {TOPIC: f"{topic_id}", PARENT: f"p{topic_id}", CATALOGUE: "all"}[level]
    return f"{name}:fresh" if fresh else name


@dataclass(frozen=True)
class Structures:
    """Keys of what is no view: topic queues.

    >>> Structures("vt", Layout(16)).queue(7, 3)
    b'vt:queue:7:{u}3'
    """

    prefix: str
    layout: Layout

    def queue(self, load: int, name: int | str) -> bytes:
        """The list of a queue's videos, first to last; another load's queues have other keys.

        `name`: a topic's number, or that of another queue (:func:`queue_name`).
        """
        return f"{self.prefix}:queue:{load}:".encode() + self._tagged(str(name))

    def _tagged(self, name: str) -> bytes:
        raw = name.encode()
        return f"{{{self.layout.tags[crc32(raw) % self.layout.buckets]}}}".encode() + raw
