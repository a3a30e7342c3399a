"""Covers of a catalogue: found within the delivered folder, decoded once, hashed together with the title."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from vidtopics.images import Problem, decode_cover

BYTES_PER_PIXEL = (
    4  # an uncompressed image with alpha; a larger file holds no `max_pixels` of an honest image
)
HEADER_BYTES = 1 << 20


class Cover(NamedTuple):
    """What was found of a cover: absolute path (empty if it can't be shown), hash with its title, and what is wrong."""

    cover_path: str
    content_hash: str
    reason: str | None
    detail: str | None


def examine(root: Path, covers: Iterable[tuple[str, str]], max_pixels: int) -> list[Cover]:
    """Looks at (path below `root`, title) pairs; Pillow decodes outside the interpreter's lock, so threads help."""
    real_root = Path(os.path.realpath(root))
    with ThreadPoolExecutor() as pool:
        return list(
            pool.map(lambda pair: _examine(real_root, pair[0], pair[1], max_pixels), covers)
        )


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


def _examine(root: Path, cover: str, title: str, max_pixels: int) -> Cover:
    path = Path(os.path.realpath(root / cover))
    if os.path.isabs(cover) or not path.is_relative_to(root):
        return Cover(
            "",
            "",
            "cover_outside_folder",
            f"expected a cover below the folder, found {cover[:80]!r}",
        )
    data = _read(path, max_pixels * BYTES_PER_PIXEL + HEADER_BYTES) if cover else "missing"
    problem = decode_cover(data, max_pixels=max_pixels).problem if isinstance(data, bytes) else data
    if problem is None and isinstance(data, bytes):
        return Cover(str(path), content_hash(data, title), None, None)
    return Cover(
        "",
        content_hash(b"", title),
        f"{problem}_cover",
        f"expected a cover, found {cover[:80]!r} {problem}",
    )


def _read(path: Path, max_bytes: int) -> bytes | Problem:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "unreadable"
        return path.read_bytes() if status.st_size <= max_bytes else "bomb"
    except PermissionError:
        return "unreadable"
    except OSError:
        return "missing"
