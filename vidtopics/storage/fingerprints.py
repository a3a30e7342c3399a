"""What tells that two objects hold the same bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

PART = 8 * 2**20
"""Bytes of a part of a multipart upload; the tag of such an object depends on it."""
_MD5 = re.compile(r"[0-9a-f]{32}(-\d+)?")


@dataclass(frozen=True)
class Fingerprint:
    """Size and SHA-256 of an object's bytes, and the MD5 tags that S3 gives them."""

    size: int
    sha256: str
    tags: frozenset[str]

    def has_tag(self, tag: str | None) -> bool:
        """Whether a store's tag says that it holds these bytes; one of another kind says nothing.

        >>> Fingerprint.of([b"hel", b"lo"]).has_tag('"5d41402abc4b2a76b9719d911017c592"')
        True
        >>> Fingerprint.of([b"hello"]).has_tag("CKzd9u6w"), Fingerprint.of([b""]).has_tag(None)
        (False, False)
        """
        return md5_tag(tag) in self.tags

    @classmethod
    def of(cls, blocks: Iterable[bytes]) -> Fingerprint:
        """Of bytes that come in blocks."""
        digests = Digests()
        for block in blocks:
            digests.update(block)
        return digests.fingerprint()


class Digests:
    """The fingerprint of bytes that pass by."""

    def __init__(self) -> None:
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._part = hashlib.md5(usedforsecurity=False)
        self._parts: list[bytes] = []

    def update(self, block: bytes) -> None:
        """The next bytes."""
        self._sha256.update(block)
        self._md5.update(block)
        rest = memoryview(block)
        while rest:
            piece = rest[: PART - self._size % PART]
            self._part.update(piece)
            self._size += len(piece)
            rest = rest[len(piece) :]
            if self._size % PART == 0:
                self._end_part()

    def fingerprint(self) -> Fingerprint:
        """Of all bytes; none may follow."""
        if self._size % PART or not self._parts:
            self._end_part()
        joined = hashlib.md5(b"".join(self._parts), usedforsecurity=False).hexdigest()
        tags = {self._md5.hexdigest(), f"{joined}-{len(self._parts)}"}
        return Fingerprint(self._size, self._sha256.hexdigest(), frozenset(tags))

    def _end_part(self) -> None:
        self._parts.append(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)


def md5_tag(tag: str | None) -> str | None:
    """A store's tag where it is an MD5 by its form; None for any other.

    >>> md5_tag('"5d41402abc4b2a76b9719d911017c592-3"'), md5_tag("0x8DC1"), md5_tag(None)
    ('5d41402abc4b2a76b9719d911017c592-3', None, None)
    """
    text = (tag or "").strip('"')
    return text if _MD5.fullmatch(text) else None
