"""CRC-32 of the ids of a request, all at once where they are short and of one length.

The hash of a text is linear: the exclusive or of what each byte, at its distance from the end, adds
to the hash of as many zeros. So a look-up per place stands for a call per id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

LONGEST = 16
"""Bytes of an id up to which look-ups take less time than calls."""


@dataclass(frozen=True)
class HashedIds:
    """N ids as keys end with them.

    Attributes:
        ids: their bytes.
        hashes: uint32[N], their CRC-32.
        length: of each of them in bytes, None where they are of several lengths.

    >>> hashed = HashedIds.of([b"v1", b"v2"])
    >>> hashed.length, hashed.hashes.tolist() == [crc32(b"v1"), crc32(b"v2")]
    (2, True)
    """

    ids: Sequence[bytes]
    hashes: NDArray[np.uint32]
    length: int | None

    @classmethod
    def of(cls, ids: Sequence[bytes]) -> HashedIds:
        """The ids with their hashes."""
        lengths = set(map(len, ids))
        length = lengths.pop() if len(lengths) == 1 else None
        if not length or length > LONGEST:
            return cls(ids, np.fromiter(map(crc32, ids), np.uint32, len(ids)), length)
        rows = np.frombuffer(b"".join(ids), np.uint8).reshape(-1, length)
        return cls(ids, _by_place(rows), length)


def _by_place(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """uint32[N] of uint8[N, L]."""
    width = rows.shape[1]
    at = np.add(rows.T, (np.arange(width)[::-1] * 256)[:, None], dtype=np.intp)
    hashes: NDArray[np.uint32] = np.bitwise_xor.reduce(_added().take(at), axis=0)
    return hashes ^ np.uint32(crc32(bytes(width)))


@cache
def _added() -> NDArray[np.uint32]:
    """uint32[LONGEST * 256]: what a byte adds, by the number of bytes behind it."""
    return np.array(
        [
            crc32(bytes([byte, *bytes(behind)])) ^ crc32(bytes(behind + 1))
            for behind in range(LONGEST)
            for byte in range(256)
        ],
        np.uint32,
    )
