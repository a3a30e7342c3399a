"""Bytes that don't fit make their own row unreadable, without an exception."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vidtopics.layout import Field, Schema, decode, encode

SCHEMA = Schema(
    (
        Field("n", "int64", "scalar", "int32"),
        Field("v", "float32", "vector", "float32"),
        Field("s", "string", "bytes"),
        Field("t", "string", "list"),
    )
)
FIXED = 29 + 1 + 4 + 3 * 4
ROWS = {
    "n": [1, 2, 3],
    "v": [[1, 2], [3, 4], [5, 6]],
    "s": ["one", "two", "three"],
    "t": [["a"], ["b", "bb"], []],
}


def values(created: list[int] | None = None) -> list[bytes]:
    return encode(
        SCHEMA,
        ROWS,
        fingerprints=np.zeros(3, np.uint32),
        event_us=1,
        created_us=created or [1, 1, 1],
    )


def ends(value: bytes, v: int, s: int, t: int) -> bytes:
    """The value with other ends of its three variable fields."""
    return value[: 29 + 5] + struct.pack("<3I", v, s, t) + value[FIXED:]


GOOD = values()[1]
# GOOD's v takes 8 bytes, s 3, t 4 + 2 * 4 + 3 = 15: they end at 8, 11, 26
DAMAGED = {
    "cut": GOOD[:-1],
    "a byte too long": GOOD + b"x",
    "cut within the fixed part": GOOD[: FIXED - 2],
    "a header alone": GOOD[:29],
    "ends that run backwards": ends(GOOD, 11, 8, 26),
    "a vector of seven bytes": ends(GOOD, 7, 11, 26),
    "a vector of three numbers": ends(GOOD + bytes(4), 12, 15, 30),
    "no UTF-8": GOOD.replace(b"two", b"\xff\xfe\xfd"),
    "more items than bytes": GOOD[: FIXED + 11] + struct.pack("<I", 2**31) + GOOD[FIXED + 15 :],
    "items that run backwards": GOOD[: FIXED + 11] + struct.pack("<3I", 2, 5, 3) + b"bbb",
    "items that end before the field": GOOD[: FIXED + 11] + struct.pack("<3I", 2, 1, 2) + b"bbb",
    "a list without its count": ends(GOOD[: FIXED + 11], 8, 11, 11),
}


def test_the_undamaged_value_is_as_these_tests_take_it() -> None:
    assert ends(GOOD, 8, 11, 26) == GOOD
    assert len(GOOD) == FIXED + 26


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_row_is_unreadable_and_its_neighbours_are_whole(name: str) -> None:
    first, _, last = values()
    decoded = decode(SCHEMA, [first, DAMAGED[name], last])
    assert decoded.readable.tolist() == [True, False, True]
    assert decoded.columns["n"].tolist() == [1, 0, 3]
    assert decoded.columns["v"].tolist() == [[1, 2], [0, 0], [5, 6]]
    assert decoded.columns["s"].tolist() == ["one", None, "three"]
    assert decoded.columns["t"].tolist() == [["a"], None, []]


@pytest.mark.parametrize("name", ["cut", "a vector of seven bytes", "a header alone"])
def test_a_damaged_row_does_not_set_the_width_of_the_others(name: str) -> None:
    """The row known last sets the width of vectors: a damaged one must not."""
    first, damaged, last = values([1, 9, 1])
    wrong = damaged[:22] + DAMAGED[name][22:]
    assert decode(SCHEMA, [first, wrong, last]).columns["v"].tolist() == [[1, 2], [0, 0], [5, 6]]


def test_a_damaged_row_alone() -> None:
    for value in DAMAGED.values():
        decoded = decode(SCHEMA, [value])
        if (
            value is not DAMAGED["a vector of three numbers"]
        ):  # nothing says here that it should have had two
            assert decoded.readable.tolist() == [False]
            assert decoded.columns["s"].tolist() == [None]


def test_of_two_widths_the_one_known_last_is_read() -> None:
    rows = {**ROWS, "v": [[1, 2], [3, 4, 5], [6, 7]]}
    for created, readable, vectors in (
        ([1, 2, 1], [False, True, False], [[0, 0, 0], [3, 4, 5], [0, 0, 0]]),
        ([1, 2, 3], [True, False, True], [[1, 2], [0, 0], [6, 7]]),
    ):
        decoded = decode(
            SCHEMA,
            encode(
                SCHEMA, rows, fingerprints=np.zeros(3, np.uint32), event_us=1, created_us=created
            ),
        )
        assert decoded.readable.tolist() == readable
        assert decoded.columns["v"].tolist() == vectors
        assert decoded.columns["n"].tolist() == [
            n * ok for n, ok in zip([1, 2, 3], readable, strict=True)
        ]


def test_a_null_vector_known_last_sets_no_width() -> None:
    rows = {**ROWS, "v": [[1, 2], [3, 4], None]}
    decoded = decode(
        SCHEMA,
        encode(SCHEMA, rows, fingerprints=np.zeros(3, np.uint32), event_us=1, created_us=[1, 1, 9]),
    )
    assert decoded.columns["v"].tolist() == [[1, 2], [3, 4], [0, 0]]
    assert (decoded.readable.tolist(), decoded.null["v"].tolist()) == (
        [True] * 3,
        [False, False, True],
    )


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.binary(max_size=8))
@example(FIXED, FIXED, b"")
def test_any_bytes_after_the_header_are_read_or_refused(
    start: int, stop: int, other: bytes
) -> None:
    """Whatever is cut out or put in, only that row can change."""
    first, _, last = values([9, 1, 9])
    decoded = decode(SCHEMA, [first, GOOD[:start] + other + GOOD[stop:], last])
    assert decoded.readable[[0, 2]].all()
    assert decoded.columns["s"][[0, 2]].tolist() == ["one", "three"]
    assert decoded.columns["v"][[0, 2]].tolist() == [[1, 2], [5, 6]]


def test_texts_whose_ends_run_backwards_are_unreadable() -> None:
    """The last end fits the length, so that nothing but the order tells."""
    schema = Schema((Field("a", "string", "bytes"), Field("b", "string", "bytes")))
    (good,) = encode(
        schema,
        {"a": ["one"], "b": ["two"]},
        fingerprints=np.zeros(1, np.uint32),
        event_us=1,
        created_us=1,
    )
    wrong = good[:31] + struct.pack("<2I", 7, 6) + good[39:]
    assert len(good) == len(wrong)
    assert decode(schema, [good, wrong]).readable.tolist() == [True, False]
    assert decode(schema, [good, wrong]).columns["a"].tolist() == ["one", None]
