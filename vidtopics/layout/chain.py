"""Versions of one value: what is live, what was live, and what isn't yet, under one key.

A value whose head has the flag CHAINED is::

    head | older value (whole, perhaps chained itself) | length of the head u4

so that versions of one schema of fixed size are an array. They fall by (event, created) time. A
reader shows the newest whose load is at most the view's live one; load 0 (Feast's writes and
pushes) is always visible, so nothing lies behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from vidtopics.layout.schema import CHAINED, END, HEADER, LAYOUT, LAYOUTS, TOMBSTONE

LOAD = slice(9, 13)
TAIL = END.itemsize


def versions(value: bytes) -> list[bytes]:
    r"""The versions of a value as values of their own, newest first.

    Raises:
        ValueError: the value is damaged.

    >>> new, old = (bytes([2, *bytes(8), n]) + bytes(19) + b"payload" for n in (7, 4))
    >>> value = chained([new, old])
    >>> len(value), versions(value) == [new, old]
    (76, True)
    """
    parts: list[bytes] = []
    while True:
        if len(value) < HEADER.itemsize or value[0] & LAYOUTS != LAYOUT:
            raise ValueError("no header of this layout")
        if not value[0] & CHAINED:
            return [*parts, value]
        length = int.from_bytes(value[-TAIL:], "little")
        if not HEADER.itemsize <= length <= len(value) - TAIL - HEADER.itemsize:
            raise ValueError("a head that ends elsewhere")
        parts.append(_marked(value[:length], value[0] & ~CHAINED))
        value = value[length:-TAIL]


def chained(parts: Sequence[bytes]) -> bytes:
    """One value of one or more versions, newest first: the inverse of :func:`versions`."""
    *heads, value = parts
    for head in reversed(heads):
        value = _marked(head, head[0] | CHAINED) + value + len(head).to_bytes(TAIL, "little")
    return value


def visible(value: bytes, live: int) -> bytes | None:
    """The newest version that readers see where `live` is the view's live load; None: none.

    Raises:
        ValueError: the value is damaged.

    >>> new, old = (bytes([2, *bytes(8), n]) + bytes(19) for n in (7, 4))
    >>> value = chained([new, old])
    >>> visible(value, 7) == new, visible(value, 6) == old, visible(value, 3)
    (True, True, None)
    """
    return next((part for part in versions(value) if load_of(part) <= live), None)


def load_of(value: bytes) -> int:
    """The load that wrote a value."""
    return int.from_bytes(value[LOAD], "little")


def with_load(value: bytes, load: int) -> bytes:
    """The value as that load writes it.

    >>> load_of(with_load(bytes(29), 7))
    7
    """
    return value[: LOAD.start] + load.to_bytes(4, "little") + value[LOAD.stop :]


def lifted(value: bytes) -> bytes:
    """A value of layout 1, whose header had a byte of flags and no load, as one of this layout.

    What isn't of layout 1 is given back.
    """
    if value[:1] != b"\x01":
        return value
    mark = LAYOUT | (TOMBSTONE if value[1:2] == b"\x01" else 0)
    return bytes([mark]) + value[2:10] + bytes(4) + value[10:]


def _marked(value: bytes, mark: int) -> bytes:
    return bytes([mark]) + value[1:]
