"""Text files as blocks of UTF-8, and which texts of an Arrow array are not UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

UTF32_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


class Mark(NamedTuple):
    """A byte order mark: the encoding that it stands for, and its size in bytes."""

    encoding: str
    size: int


_MARKS = {
    codecs.BOM_UTF8: Mark("utf-8", 3),
    codecs.BOM_UTF16_LE: Mark("utf-16-le", 2),
    codecs.BOM_UTF16_BE: Mark("utf-16-be", 2),
}


def byte_order_mark(head: bytes) -> Mark | None:
    """The byte order mark with which `head` starts, of UTF-8 or UTF-16; None if there is none."""
    return next((mark for sign, mark in _MARKS.items() if head.startswith(sign)), None)


def utf8_blocks(file: BinaryIO, read_bytes: int) -> Iterator[bytes]:
    r"""The text of a file as UTF-8 without byte order mark, `read_bytes` of the file at a time.

    UTF-16 with a byte order mark is translated. What isn't text (a lone surrogate, half a
    character) becomes bytes that aren't UTF-8, so that only its own row is refused.

    >>> from io import BytesIO
    >>> list(utf8_blocks(BytesIO("é,1\n".encode("utf-16")), 4))
    [b'\xc3\xa9,', b'1\n']
    """
    mark = byte_order_mark(file.read(3))
    file.seek(mark.size if mark else 0)
    blocks = iter(lambda: file.read(read_bytes), b"")
    if mark is None or mark.encoding == "utf-8":
        yield from blocks
        return
    decoder = codecs.getincrementaldecoder(mark.encoding)("surrogatepass")
    for block in blocks:
        yield decoder.decode(block).encode("utf-8", "surrogatepass")
    if decoder.getstate()[0]:
        yield b"\xff"


def undecodable(texts: pa.Array) -> npt.NDArray[np.bool_]:
    r"""True where a text (binary or string, null counts as fine) is not UTF-8.

    Whole arrays are validated at once and only halved where one fails: k bad texts among n cost k
    log n scans' starts.

    >>> undecodable(pa.array([b"a", b"caf\xe9", "é".encode()])).tolist()
    [False, True, False]
    """
    bad = np.zeros(len(texts), bool)
    pending = [(0, len(texts))]
    while pending:
        start, stop = pending.pop()
        if _decodes(texts.slice(start, stop - start)):
            continue
        if stop - start == 1:
            bad[start] = True
        else:
            middle = (start + stop) // 2
            pending += [(start, middle), (middle, stop)]
    return bad


def _decodes(texts: pa.Array) -> bool:
    try:
        texts.cast(pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True
