"""Decoding of cover images that nobody vouches for.

>>> decode_cover(None, max_pixels=100)
Decoded(image=None, problem='missing')
>>> decode_cover(b"no image", max_pixels=100).problem
'unreadable'
"""

from __future__ import annotations

from io import BytesIO
from typing import Literal, NamedTuple

from PIL import Image

Problem = Literal["missing", "unreadable", "truncated", "bomb"]

# Pillow knows dozens of formats, some of which start other programs; covers come in these.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")


class Decoded(NamedTuple):
    """An image in RGB, or the problem that left none."""

    image: Image.Image | None
    problem: Problem | None


def decode_cover(data: bytes | None, *, max_pixels: int) -> Decoded:
    """The cover as an RGB image, or why there is none; never raises for what the bytes hold.

    `missing`: no bytes. `unreadable`: no image of a known format. `bomb`: its header claims more than
    `max_pixels` pixels, and no pixel is decoded. `truncated`: a header, but its pixels end early or are damaged.

    >>> out = BytesIO()
    >>> Image.new("L", (4, 3)).save(out, "PNG")
    >>> decode_cover(out.getvalue(), max_pixels=12).image.size
    (4, 3)
    >>> decode_cover(out.getvalue(), max_pixels=11).problem
    'bomb'
    >>> decode_cover(out.getvalue()[:45], max_pixels=12).problem
    'truncated'
    """
    if not data:
        return Decoded(None, "missing")
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Decoded(None, "bomb")
    except Exception:  # decoders raise nearly anything on damaged bytes
        return Decoded(None, "unreadable")
    if image.width * image.height > max_pixels:
        return Decoded(None, "bomb")
    try:
        return Decoded(image.convert("RGB"), None)
    except Exception:
        return Decoded(None, "truncated")
