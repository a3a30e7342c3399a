"""Hashes of many ids are zlib's of each."""

from zlib import crc32

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vidtopics.layout import hashes
from vidtopics.layout.hashes import HashedIds

ONE_LENGTH = st.integers(0, 20).flatmap(
    lambda n: st.lists(st.binary(min_size=n, max_size=n), max_size=30)
)


@given(st.one_of(ONE_LENGTH, st.lists(st.binary(max_size=20), max_size=30)))
def test_the_same_as_zlib(ids):
    hashed = HashedIds.of(ids)
    assert hashed.hashes.dtype == np.uint32
    assert hashed.hashes.tolist() == [crc32(i) for i in ids]
    lengths = set(map(len, ids))
    assert hashed.length == (lengths.pop() if len(lengths) == 1 else None)


def test_short_ids_are_not_hashed_one_by_one(monkeypatch):
    """What the module is for."""
    calls = []
    hashes._added()
    monkeypatch.setattr(hashes, "crc32", lambda data: calls.append(data) or crc32(data))
    assert HashedIds.of([b"v%07d" % i for i in range(600)]).hashes[7] == crc32(b"v0000007")
    assert calls == [bytes(8)]  # what zeros have
