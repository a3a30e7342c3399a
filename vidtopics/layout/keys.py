"""Keys of views, watermarks and structures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class KeySpace:
    """The keys of one view in one generation. `buckets` is the number of hash slots that they share on a cluster."""

    prefix: str
    generation: int
    view: int
    buckets: int

    @cached_property
    def heads(self) -> list[bytes]:
        """What the keys of each bucket begin with."""
        return [f"{self.prefix}:{self.generation}:{self.view}:{{{b}}}".encode() for b in range(self.buckets)]

    def of(self, ids: Iterable[bytes]) -> list[bytes]:
        """The key of each id."""
        heads, buckets = self.heads, self.buckets
        return [heads[crc32(i) % buckets] + i for i in ids]

    def addresses(self, ids: Sequence[bytes]) -> tuple[list[bytes], NDArray[np.uint32]]:
        """:meth:`of` and :meth:`fingerprints` for the hash of one.

        >>> space = KeySpace("vt", 1, 2, buckets=16)
        >>> keys, fingerprints = space.addresses([b"v1"])
        >>> keys == space.of([b"v1"]), fingerprints == space.fingerprints([b"v1"])
        (True, array([ True]))
        """
        heads, buckets = self.heads, self.buckets
        hashes = list(map(crc32, ids))
        keys = [heads[h % buckets] + i for h, i in zip(hashes, ids, strict=True)]
        return keys, np.array(hashes, np.uint32) ^ self._mark

    def watermark(self, bucket: int) -> bytes:
        """Where a bucket's watermark lies, in the bucket's own slot."""
        return f"{self.prefix}:{self.generation}:w{self.view}:{{{bucket}}}".encode()

    def fingerprints(self, ids: Iterable[bytes]) -> NDArray[np.uint32]:
        """uint32[N]: hash of view and id."""
        return np.array(list(map(crc32, ids)), np.uint32) ^ self._mark

    @cached_property
    def _mark(self) -> np.uint32:
        """What tells the fingerprints of this view from those of others: an odd factor keeps any two views apart."""
        return np.uint32(self.view * 0x9E3779B1 % 2**32)


class Watermark(NamedTuple):
    """How far a bucket of a view has come: the release, and the version of the Delta table with that id.

    >>> str(Watermark.parse(b"3 17 t")), Watermark.parse(b"9 1 t") < Watermark.parse(b"10 1 t")
    ('3 17 t', True)
    """

    release: int
    version: int
    table_id: str

    @classmethod
    def parse(cls, text: bytes) -> Watermark:
        """From what Redis holds."""
        release, version, table_id = text.decode().split(" ")
        return cls(int(release), int(version), table_id)

    def __str__(self) -> str:
        return f"{self.release} {self.version} {self.table_id}"


@dataclass(frozen=True)
class Structures:
    """Keys of what is no view: topic queues, recent clicks, the ranking of topics."""

    prefix: str
    buckets: int

    def queue(self, epoch: int, topic_id: int) -> bytes:
        """The list of a topic's videos, first to last; topic IDs of another epoch have other keys."""
        return f"{self.prefix}:queue:{epoch}:{self._bucket(str(topic_id).encode())}{topic_id}".encode()

    def clicks(self, user_id: str) -> bytes:
        """The list of a user's clicked videos, newest first."""
        name = user_id.encode()
        return f"{self.prefix}:clicks:{self._bucket(name)}".encode() + name

    def _bucket(self, name: bytes) -> str:
        return f"{{{crc32(name) % self.buckets}}}"
