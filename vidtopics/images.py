"""Decoding of cover images that nobody vouches for; ingestion and encoding share it."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
"""What a cover may be. Pillow's other readers stay closed (EPS would start Ghostscript)."""

MAX_SCANS = 100
"""Of a JPEG; encoders make ten. One of 30 bytes costs a pass over all pixels when it is decoded."""
BYTES_PER_PIXEL, HEADER_BYTES = 4, 1 << 20
"""A file beyond `max_pixels` times the one and the other holds no honest image: that many bytes are
an uncompressed image with transparency, and what stands before it."""
Problem = Literal["missing", "unreadable", "truncated", "bomb"]
T = TypeVar("T")
_SCAN = re.compile(rb"\xff\xda\x00[\x08\x0a\x0c\x0e][\x01-\x04]")


@dataclass(frozen=True, eq=False)
class Cover:
    """A decoded cover, or why there is none: exactly one of the two is set.

    * `pixels`: uint8, (height, width, 3), RGB, upright.
    * `problem`: `missing` (no bytes), `unreadable` (not an image of :data:`FORMATS`), `truncated`
      (the image ends early or its data are damaged), `bomb` (claims too many pixels, or a JPEG has
      too many scans).
    """

    pixels: NDArray[np.uint8] | None = None
    problem: Problem | None = None


def largest(max_pixels: int) -> int:
    """The bytes that an image of so many pixels has at most; a larger file isn't read."""
    return max_pixels * BYTES_PER_PIXEL + HEADER_BYTES


def read_cover(path: str | Path, *, max_pixels: int) -> bytes | Problem:
    """The bytes of a cover's file, or why they can't be had; a pipe or a device is never read.

    Returns:
        `missing`: there is no such file; `unreadable`: it may not be read, or is no regular file;
        `bomb`: it is larger than an image of `max_pixels` can be.

    >>> read_cover("/dev/zero", max_pixels=12), read_cover("/no/such/cover", max_pixels=12)
    ('unreadable', 'missing')
    """
    try:
        # Without O_NONBLOCK a pipe that nobody writes to would hold the caller for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except PermissionError:
        return "unreadable"
    except (OSError, ValueError):  # ValueError: a NUL byte
        return "missing"
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return "unreadable"
        if status.st_size > largest(max_pixels):
            return "bomb"
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)
    finally:
        os.close(descriptor)


def decode_cover(data: bytes | None, *, max_pixels: int) -> Cover:
    """The first frame of an image file as RGB; never raises for bad bytes.

    Args:
        data: the file's bytes; None if there is no cover.
        max_pixels: an image whose header claims more (width times height) is not decoded; nor is
            one that Pillow itself takes for a decompression bomb, or a JPEG of more than
            :data:`MAX_SCANS` scans.

    >>> file = io.BytesIO()
    >>> Image.new("CMYK", (4, 3)).save(file, "JPEG")
    >>> decode_cover(file.getvalue(), max_pixels=12).pixels.shape
    (3, 4, 3)
    >>> decode_cover(file.getvalue(), max_pixels=11).problem
    'bomb'
    >>> decode_cover(b"GIF of a cat", max_pixels=12).problem
    'unreadable'
    >>> decode_cover(None, max_pixels=12).problem
    'missing'
    """
    if data is None:
        return Cover(problem="missing")
    opened = _open(data, max_pixels, lambda image: _rgb(ImageOps.exif_transpose(image)))
    return Cover(problem=opened) if isinstance(opened, str) else Cover(pixels=opened)


def header_problem(data: bytes, *, max_pixels: int) -> Problem | None:
    """What is wrong with a cover by its header alone: of bytes that were decoded once, enough.

    >>> file = io.BytesIO()
    >>> Image.new("L", (4, 3)).save(file, "PNG")
    >>> header_problem(file.getvalue(), max_pixels=12), header_problem(b"", max_pixels=12)
    (None, 'unreadable')
    """
    return _open(data, max_pixels, lambda image: None)


def _open(data: bytes, max_pixels: int, use: Callable[[Image.Image], T]) -> T | Problem:
    """What `use` makes of an image, or why it can't."""
    problem: Problem
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            many_scans = image.format == "JPEG" and len(_SCAN.findall(data)) > MAX_SCANS
            if image.width * image.height <= max_pixels and not many_scans:
                return use(image)
            problem = "bomb"
    except UnidentifiedImageError:
        problem = "unreadable"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        problem = "bomb"
    except (OSError, EOFError):
        problem = "truncated"
    except Exception:  # Pillow's readers raise whatever hostile bytes lead them to
        problem = "unreadable"
    return problem


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """`(H, W, 3)`; 16 bits keep their high byte, transparency lies on white."""
    if image.mode.startswith("I"):  # Pillow's own conversion clips 16 bits at 255
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(image.convert("RGB"))
