"""Versions of one value: what a reader sees of a chain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtopics.layout import CHAINED, LAYOUT, TOMBSTONE
from vidtopics.layout.chain import chained, lifted, load_of, versions, visible, with_load


def plain(load: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """A value by hand: layout and flags, schema, fingerprint, load, two times, payload."""
    return (
        bytes([LAYOUT | flags])
        + b"schm"
        + b"fing"
        + load.to_bytes(4, "little")
        + b"t" * 16
        + payload
    )


VALUES = st.builds(plain, st.integers(0, 9), st.binary(max_size=5), st.sampled_from([0, 16]))


def test_a_chain_by_hand() -> None:
    new, old = plain(7, b"new"), plain(4, b"o")
    chain = chained([new, old])
    assert chain == b"\x22" + new[1:] + old + b"\x20\x00\x00\x00"  # 29 + 3 = 0x20
    assert chained([plain(9), new, old]) == b"\x22" + plain(9)[1:] + chain + b"\x1d\x00\x00\x00"


@given(st.lists(VALUES, min_size=1, max_size=5), st.integers(0, 10))
def test_a_chain_comes_apart_and_the_newest_up_to_live_is_seen(
    parts: list[bytes], live: int
) -> None:
    chain = chained(parts)
    assert versions(chain) == parts
    assert visible(chain, live) == next((p for p in parts if p[9] <= live), None)


def test_versions_of_one_size_are_an_array() -> None:
    """What the vectorised reader builds on."""
    parts = [plain(n, b"12345") for n in (3, 2, 1)]
    chain = chained(parts)
    assert len(chain) == 3 * 34 + 2 * 4
    assert [chain[i * 34 + 1 : (i + 1) * 34] for i in range(3)] == [p[1:] for p in parts]


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        plain(1)[:-1],
        b"\x01" + plain(1)[1:],
        plain(1, flags=CHAINED),
        chained([plain(2), plain(1)])[:-1],
        chained([plain(2), plain(1)])[:-4] + b"\xff\x00\x00\x00",
        chained([plain(2), plain(1)])[:-4] + b"\x00\x00\x00\x00",
    ],
)
def test_a_damaged_value_is_an_error(damaged: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|head"):
        versions(damaged)


def test_the_load_of_a_value() -> None:
    assert load_of(plain(2**32 - 1)) == 2**32 - 1
    assert with_load(plain(3, b"x"), 9) == plain(9, b"x")


def test_a_value_of_layout_1_is_lifted() -> None:
    first = b"\x01\x00" + b"schm" + b"fing" + b"t" * 16 + b"payload"
    assert lifted(first) == plain(0, b"payload")
    ended = b"\x01\x01" + first[2:26]
    assert lifted(ended) == plain(0, flags=TOMBSTONE)
    assert lifted(plain(3)) == plain(3)
