"""The hash of a value: equal lists of texts hash alike wherever they lie, others don't."""

from dataclasses import replace

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from vidtopics.contracts import USER_RECENT_CLICKS
from vidtopics.tables.values import value_hash

lists = st.lists(st.lists(st.text("ab\0é", max_size=3), max_size=4), min_size=1, max_size=12)


def hashes(array: pa.Array) -> list[int]:
    table = replace(USER_RECENT_CLICKS, columns=(USER_RECENT_CLICKS.column("recent_video_ids"),))
    rows = {"recent_video_ids": array}
    return value_hash(table, pa.RecordBatch.from_pydict(rows)).tolist()


@given(lists, st.integers(0, 11))
def test_lists_of_texts_hash_alike_where_they_are_equal(values, start):
    array = pa.array(values, pa.list_(pa.string()))
    of_all = hashes(array)
    assert hashes(array.slice(start)) == of_all[start:]
    pairs = [(x, y) for x in range(len(values)) for y in range(x)]
    assert all((of_all[x] == of_all[y]) == (values[x] == values[y]) for x, y in pairs)
