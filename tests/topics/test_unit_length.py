"""Rows brought to length 1."""

from __future__ import annotations

import numpy as np

from producers.unit_length import lengths, to_unit_length


def test_squares_past_float32_do_not_overflow():
    rows = np.array([[3e30, 4e30], [3e-30, 4e-30]], np.float32)
    np.testing.assert_allclose(lengths(rows), [5e30, 5e-30], rtol=1e-6)
    np.testing.assert_allclose(to_unit_length(rows), [[0.6, 0.8], [0.6, 0.8]], rtol=1e-6)


def test_a_zero_row_stays_and_no_row_is_an_answer():
    assert to_unit_length(np.zeros((1, 3), np.float32)).tolist() == [[0, 0, 0]]
    assert to_unit_length(np.zeros((0, 3), np.float32)).shape == (0, 3)
