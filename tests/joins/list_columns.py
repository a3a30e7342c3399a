"""Columns of lists of every kind, as hypothesis draws them."""

import pyarrow as pa
from hypothesis import strategies as st

KINDS = [
    pa.list_(pa.int64()),
    pa.list_(pa.field("element", pa.float32())),
    pa.large_list(pa.int16()),
    pa.list_(pa.bool_()),
    pa.list_(pa.string()),
    pa.list_(pa.int32(), 2),
    pa.list_(pa.list_(pa.int8())),
]
ITEMS = {
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=3),
    pa.list_(pa.int8()): st.lists(st.integers(0, 9)),
}


@st.composite
def columns(draw):
    kind = draw(st.sampled_from(KINDS))
    item = ITEMS.get(kind.value_type, st.integers(-9, 9))
    some = st.one_of(item, st.none()) if draw(st.booleans()) else item
    width = 2 if pa.types.is_fixed_size_list(kind) else draw(st.integers(0, 3))
    uneven = draw(st.booleans()) and not pa.types.is_fixed_size_list(kind)
    row = st.lists(some, min_size=0 if uneven else width, max_size=width)
    rows = draw(st.lists(st.one_of(row, st.none()) if draw(st.booleans()) else row, max_size=8))
    cut = draw(st.integers(0, len(rows)))
    # A slice, as batches of a file are: its offsets don't begin at zero.
    padded = pa.array([*rows[:1], *rows], kind)[len(rows[:1]) :]
    return pa.chunked_array([padded[:cut], padded[cut:]])
