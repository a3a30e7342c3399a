import numpy as np
import pytest

from vidtopics.simulation.philox import Stream, normals, philox, uniforms

# kat_vectors of Random123: counter, key, answer of philox4x32-10.
KNOWN = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_the_known_answers_of_random123(counter, key, answer):
    words = philox(*(int(w, 16) for w in f"{key} {counter}".split()))
    assert " ".join(f"{int(w):08x}" for w in words) == answer


def test_a_row_depends_on_its_counter_alone():
    many = normals(7, Stream.ITEM, np.arange(1000), 6)
    few = normals(7, Stream.ITEM, np.array([999, 3]), 6)
    assert np.array_equal(few, many[[999, 3]])


def test_seed_stream_row_and_day_each_change_every_number():
    base = uniforms(7, 1, np.arange(50), 4)
    others = [uniforms(8, 1, np.arange(50), 4), uniforms(7, 2, np.arange(50), 4)]
    others += [uniforms(7, 1, np.arange(50, 100), 4), uniforms(7, 1, np.arange(50), 4, day=1)]
    assert all((base != other).all() for other in others)


def test_moments_of_uniforms_and_normals():
    u, z = uniforms(3, 1, np.arange(50_000), 4), normals(3, 1, np.arange(50_000), 4)
    # 200,000 draws: standard errors .00065 and .0022; five of them.
    assert abs(u.mean() - 0.5) < 0.0033
    assert abs(u.var() - 1 / 12) < 0.001
    assert abs(z.mean()) < 0.011
    assert abs(z.std() - 1) < 0.008
    assert np.abs(np.corrcoef(z.T) - np.eye(4)).max() < 0.025


def test_stream_numbers_are_distinct():
    assert len({int(s) for s in Stream}) == len(Stream.__members__)
