"""A publish that names rows as reused leaves what one of all rows leaves, byte for byte."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import at, rows_of, statistics

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH, VIDEO_STATISTICS
from vidtopics.errors import ContractError
from vidtopics.tables import Tables

STATISTICS = replace(VIDEO_STATISTICS, engine="deltalake")
NAMES = ["video_id", EVENT_TIME, CREATED_TIME, VALUE_HASH]
RUNS = st.lists(
    st.tuples(
        st.integers(1, 9),
        st.integers(0, 9),
        st.dictionaries(st.sampled_from("abc"), st.integers(1, 2)),
        st.sets(st.sampled_from("abc")),
    ),
    min_size=2,
    max_size=5,
)


def stored(tables: Tables, values: dict[str, int], names: set[str]) -> pa.Table:
    """One row for each of the videos that has this value in the table, at whatever time."""
    rows = tables.read(STATISTICS)
    of_value = [
        number
        for video in sorted(names & values.keys())
        for number in [
            i
            for i, row in enumerate(rows.select(["video_id", "video_exposures"]).to_pylist())
            if row == {"video_id": video, "video_exposures": values[video]}
        ][:1]
    ]
    return rows.select(NAMES).take(pa.array(of_value, pa.int64()))


@settings(max_examples=25, deadline=None)
@given(runs=RUNS)
def test_what_is_reused_is_published_as_if_it_were_computed(tmp_path_factory, runs):
    whole, partly = (Tables(tmp_path_factory.mktemp("home")) for _ in range(2))
    for event, delay, values, names in runs:
        commit = at(event, event + delay)
        whole.publish(STATISTICS, statistics(values), commit)
        reused = stored(partly, values, names)
        computed = {v: n for v, n in values.items() if v not in reused["video_id"].to_pylist()}
        partly.publish(STATISTICS, statistics(computed), commit, reused=reused)
        answers = [rows_of(tables, STATISTICS, "video_exposures") for tables in (whole, partly)]
        assert answers[0] == answers[1]


def test_a_reused_row_that_a_later_one_hides_is_written_again(tmp_path):
    """a was 1, then 2: a run as of 3 that reuses the first row says 1 again, with its values."""
    tables = Tables(tmp_path)
    for event, value in ((1, 1), (2, 2)):
        tables.publish(STATISTICS, statistics({"a": value}), at(event))
    first = stored(tables, {"a": 1}, {"a"})
    tables.publish(STATISTICS, statistics({}), at(3), reused=first)
    rows = rows_of(tables, STATISTICS, "video_exposures")
    assert rows == [("a", 1, 2, 1), ("a", 2, 3, 2), ("a", 3, 4, 1)]
    hashes = pc.value_counts(tables.read(STATISTICS)[VALUE_HASH]).field("counts")
    assert sorted(hashes.to_pylist()) == [1, 2]


def test_a_row_that_is_reused_and_computed_is_refused(tmp_path):
    tables = Tables(tmp_path)
    tables.publish(STATISTICS, statistics({"a": 1}), at(1))
    reused = stored(tables, {"a": 1}, {"a"})
    with pytest.raises(ContractError, match="expected each key once, found it twice"):
        tables.publish(STATISTICS, statistics({"a": 1}), at(2), reused=reused)
    assert tables.publish(STATISTICS, statistics({}), at(2), reused=reused).rows == 0
