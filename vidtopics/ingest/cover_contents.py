"""What is told of a cover by its bytes, wherever they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import NamedTuple

from vidtopics.images import Problem, decode_cover, header_problem

# An uncompressed image with alpha; a larger file holds no `max_pixels` of an honest image.
BYTES_PER_PIXEL = 4
HEADER_BYTES = 1 << 20


class Cover(NamedTuple):
    """What is known of a cover.

    Its absolute path (empty if it can't be shown), its hash with the title, and a reason with
    detail where it is refused, missing, damaged, or lies under another spelling of its path.
    """

    cover_path: str
    content_hash: str
    reason: str | None
    detail: str | None


class Delivered(NamedTuple):
    """A cover's path below the folder, the title, and contents that the video has had.

    `known`: content hashes of the catalogue's rows with a cover. Bytes that give one of them were
    decoded when that row came.
    """

    path: str
    title: str
    known: Collection[str] = ()


def largest(max_pixels: int) -> int:
    """The bytes that an image of so many pixels has at most; a larger file isn't read."""
    return max_pixels * BYTES_PER_PIXEL + HEADER_BYTES


def content_hash(cover: bytes, title: str) -> str:
    """Hash (BLAKE2b, 128 bits, hex) of cover bytes and title, each with its length before it.

    >>> content_hash(b"ab", "c") == content_hash(b"a", "bc")
    False
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in (cover, title.encode()):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def problem_of(data: bytes | Problem, max_pixels: int, *, is_known: bool) -> Problem | None:
    """Why a cover can't be shown; of one that was decoded before, what its header says alone."""
    if not isinstance(data, bytes):
        return data
    if is_known:
        return header_problem(data, max_pixels=max_pixels)
    return decode_cover(data, max_pixels=max_pixels).problem
