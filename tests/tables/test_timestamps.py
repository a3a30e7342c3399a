"""The one conversion of Arrow timestamps, held to pandas and to worked examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from vidtopics.errors import TableError
from vidtopics.timestamps import microseconds

UNITS = ["s", "ms", "us", "ns"]


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_and_zone_gives_the_instant_of_pandas(unit, zone):
    times = pd.to_datetime(["1969-12-31T23:59:58", "1970-01-01T00:00:00", "2026-03-29T01:30:00"])
    column = pa.array(times.tz_localize("UTC")).cast(pa.timestamp(unit, "UTC"))
    column = column.cast(pa.timestamp(unit, zone))
    expected = times.as_unit("us").asi8.tolist()
    assert microseconds(column).tolist() == expected
    assert microseconds(pa.chunked_array([column, column])).tolist() == 2 * expected


def test_nanoseconds_are_rounded_down_on_both_sides_of_1970():
    column = pa.array([-1_001, -1_000, -1, 0, 999, 1_000], pa.timestamp("ns"))
    assert microseconds(column).tolist() == [-2, -1, -1, 0, 0, 1]


@pytest.mark.parametrize("unit", UNITS)
def test_nulls_become_the_given_number(unit):
    column = pa.chunked_array([pa.array([1, None, 3], pa.timestamp(unit)).slice(1)])
    values = microseconds(column, null_us=-(2**62))
    scale = microseconds(pa.array([1], pa.timestamp("s")))[0] // 10 ** (3 * UNITS.index(unit))
    assert values.dtype == np.int64
    assert values.tolist() == [-(2**62), 3 * scale]


def test_an_empty_column_gives_no_number():
    assert microseconds(pa.chunked_array([], pa.timestamp("us", "UTC"))).tolist() == []


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1]), "^spine, at: expected timestamps, found int64"),
        (pa.array(["2026-01-01"]), "^spine, at: expected timestamps, found string"),
        (pa.array([0, None], pa.timestamp("us")), "^spine, at, row 8: expected a time, found null"),
        (pa.array([2**62], pa.timestamp("s")), "^spine, at: expected times that 64 bits"),
        (pa.array([-(2**62)], pa.timestamp("ms")), "^spine, at: expected times that 64 bits"),
    ],
)
def test_what_is_no_time_is_refused(column, message):
    with pytest.raises(TableError, match=message):
        microseconds(column, "spine, at", first_row=7)
