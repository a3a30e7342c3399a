"""Files that ask for more than they are: images, YAML and Parquet, a few kB each."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def png(width: int, height: int) -> bytes:
    """A PNG of 70 bytes whose header claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg(width: int, height: int) -> bytes:
    """A JPEG of 8 x 8 pixels whose header claims a size."""
    data = bytearray(saved(Image.new("L", (8, 8)), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def webp(width: int, height: int) -> bytes:
    """A WebP animation of one frame of 16 x 16 pixels on a canvas that it claims."""
    frame = saved(Image.new("RGB", (16, 16)), "WEBP", lossless=True)[12:]
    place = bytes(6) + 2 * struct.pack("<I", 15)[:3] + bytes(4)
    canvas = bytes([2, 0, 0, 0]) + b"".join(struct.pack("<I", n - 1)[:3] for n in (width, height))
    parts = [(b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", place + frame)]
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in parts
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_frame(width: int, height: int) -> bytes:
    """A GIF of a small screen whose first frame claims a size."""
    data = bytearray(saved(Image.new("P", (10, 10)), "GIF"))
    frame = data.index(b",", 13)
    data[frame + 5 : frame + 9] = struct.pack("<HH", width, height)
    return bytes(data)


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG with `scans` scans of all pixels, 31 bytes each: "all zero" as one run."""
    data = saved(Image.new("L", (side, side)), "JPEG", progressive=True)
    second = [match.start() for match in re.finditer(b"\xff\xda", data)][1]
    runs, rest = divmod((side // 8) ** 2, 32_767)
    assert runs
    assert rest >= 16_384
    bits = "0" + "1" * 14
    bits = bits * runs + "0" + format(rest - 16_384, "014b")
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    table = b"\xff\xc4" + struct.pack(">HB", 20, 0x10) + bytes([1] + [0] * 15) + b"\xe0"
    scan = b"\xff\xda\0\x08\x01\x01\0\x01\x3f\0" + coded
    return data[:second] + table + scan * scans + b"\xff\xd9"


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image as a file's bytes."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def aliases(levels: int = 12, width: int = 10) -> str:
    """YAML in which each line stands for ten times as many values as the one before."""
    lines = [f"x0: &a0 [{', '.join('x' * width)}]"]
    for level in range(1, levels):
        lines.append(f"x{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    return "\n".join(lines) + "\n"


VIDEOS = (
    "video_id",
    "title",
    "cover",
    "primary_class",
    "secondary_class",
    "tags",
    "published_at",
)


def videos(path: Path, title: pa.Array, extra: int = 0) -> Path:
    """A catalogue in Parquet with these titles, and `extra` columns that nobody knows."""
    rows = len(title)
    columns = {name: pa.array(["a"] * rows) for name in VIDEOS}
    columns |= {"video_id": pa.array(np.arange(rows)).cast(pa.string()), "title": title}
    columns |= {"published_at": pa.array(["2026-01-01"] * rows)}
    columns |= {f"c{i}": pa.nulls(rows, pa.int8()) for i in range(extra)}
    pq.write_table(pa.table(columns), path, compression="zstd")
    return path


def repeated(text: str, rows: int) -> pa.Array:
    """A text that stands once in the file, as a dictionary's only value, for many rows."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))
