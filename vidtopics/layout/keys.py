"""Keys of views, watermarks and structures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from vidtopics.layout.layouts import Layout


class BulkHeads(dict[int, list[bytes]]):
    """For ids of a length: how a key of each bucket begins as an argument of a command."""

    def __init__(self, heads: Sequence[bytes]) -> None:
        self._heads = heads

    def __missing__(self, length: int) -> list[bytes]:
        made = self[length] = [
            b"\r\n$%d\r\n%b" % (len(head) + length, head) for head in self._heads
        ]
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

    def bulk_strings(self, ids: Sequence[bytes], hashes: Sequence[int]) -> list[bytes]:
        r"""The keys as arguments in Redis' protocol: two pieces for each id, to be joined.

        A line's end has to follow.

        Args:
            ids: N ids.
            hashes: N CRC-32 of theirs.

        >>> b"".join(KeySpace("vt", 1, 2, Layout(16)).bulk_strings([b"v1"], [crc32(b"v1")]))
        b'\r\n$13\r\nvt:1:2:{pv}v1'
        """
        heads, buckets, lengths = self._bulk_heads, self.buckets, set(map(len, ids))
        pieces = [b""] * (2 * len(ids))
        if len(lengths) == 1:
            own = heads[lengths.pop()]
            pieces[::2] = [own[h % buckets] for h in hashes]
        else:
            pieces[::2] = [heads[len(i)][h % buckets] for i, h in zip(ids, hashes, strict=True)]
        pieces[1::2] = ids
        return pieces

    def watermark(self, bucket: int) -> bytes:
        """Where a bucket's watermark lies, in the bucket's own slot."""
        tag = self.layout.tags[bucket]
        return f"{self.prefix}:{self.generation}:w{self.view}:{{{tag}}}".encode()

    def fingerprints(self, ids: Iterable[bytes]) -> NDArray[np.uint32]:
        """uint32[N]: hash of view and id."""
        return self.marked(list(map(crc32, ids)))

    def marked(self, hashes: Sequence[int]) -> NDArray[np.uint32]:
        """uint32[N]: the fingerprints of ids with these CRC-32."""
        return np.fromiter(hashes, np.uint32, len(hashes)) ^ self._mark

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


@dataclass(frozen=True)
class Structures:
    """Keys of what is no view: topic queues, recent clicks.

    >>> Structures("vt", Layout(16)).queue(7, 3), Structures("vt", Layout(16)).clicks("u")
    (b'vt:queue:7:{q6}3', b'vt:clicks:{dt}u')
    """

    prefix: str
    layout: Layout

    def queue(self, load: int, topic_id: int) -> bytes:
        """The list of a topic's videos, first to last; another load's queues have other keys."""
        return f"{self.prefix}:queue:{load}:".encode() + self._tagged(str(topic_id))

    def clicks(self, user_id: str) -> bytes:
        """The list of a user's clicked videos, newest first."""
        return f"{self.prefix}:clicks:".encode() + self._tagged(user_id)

    def _tagged(self, name: str) -> bytes:
        raw = name.encode()
        return f"{{{self.layout.tags[crc32(raw) % self.layout.buckets]}}}".encode() + raw
