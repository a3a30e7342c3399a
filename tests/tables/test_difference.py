"""Publishing writes few rows and never changes an answer.

One worked example per rule, and the oracle over random runs.
"""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Oracle, stored

from vidtopics.tables.difference import RunTimes, complete_run

Row = tuple[str, int, int, int | None]
HISTORY = pa.schema(
    [
        ("id", pa.string()),
        ("event_us", pa.int64()),
        ("created_us", pa.int64()),
        ("value_hash", pa.int64()),
    ]
)


class Store:
    """The rows that runs leave behind, by the SQL that publishing uses."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.runs: list[RunTimes] = []
        self.con = duckdb.connect()

    def run(self, event: int, created: int, values: dict[str, int]) -> list[Row]:
        created = max(
            [created, *(r.created_us + 1 for r in self.runs if r.event_us == event)]
        )  # as Tables.publish does
        history = [
            {"id": i, "event_us": e, "created_us": c, "value_hash": v or 0}
            for i, e, c, v in self.rows
        ]
        con = self.con
        con.register("history", pa.Table.from_pylist(history, schema=HISTORY))
        asserted = [{"id": i, "value_hash": v} for i, v in values.items()]
        con.register(
            "asserted",
            pa.Table.from_pylist(
                asserted, schema=pa.schema([("id", pa.string()), ("value_hash", pa.int64())])
            ),
        )
        following = min(
            (r for r in self.runs if r.event_us > event),
            key=lambda r: (r.event_us, r.created_us),
            default=None,
        )
        changes = con.sql(complete_run(("id",), RunTimes(event, created), following)).fetchall()
        before = {(i, e, c): v for i, e, c, v in self.rows}
        value = {
            "new": lambda r: values[r[0]],
            "tombstone": lambda r: None,
            "reassert": lambda r: before[r[0], r[4], r[5]],
        }
        written = sorted((r[0], r[2], r[3], value[r[1]](r)) for r in changes)
        self.rows += written
        self.runs.append(RunTimes(event, created))
        return written


def test_only_changed_values_are_written() -> None:
    store = Store()
    assert store.run(10, 11, {"a": 1, "b": 2}) == [("a", 10, 11, 1), ("b", 10, 11, 2)]
    assert store.run(20, 21, {"a": 1, "b": 3}) == [("b", 20, 21, 3)]


def test_an_entity_that_is_no_longer_named_gets_one_tombstone_and_may_come_back() -> None:
    store = Store()
    store.run(10, 11, {"a": 1, "b": 2})
    assert store.run(20, 21, {"b": 2}) == [("a", 20, 21, None)]
    assert store.run(30, 31, {"b": 2}) == []
    assert store.run(40, 41, {"a": 1, "b": 2}) == [("a", 40, 41, 1)]


def test_a_late_correction_writes_the_next_known_value_again() -> None:
    store = Store()
    store.run(10, 11, {"a": 1})
    store.run(30, 31, {"a": 1})  # unchanged, so nothing was written at 30
    assert store.run(20, 50, {"a": 2}) == [("a", 20, 50, 2), ("a", 30, 50, 1)]
    assert [stored(store.rows, "a", t, 60) for t in (10, 20, 29, 30)] == [1, 2, 2, 1]
    assert [stored(store.rows, "a", t, 49) for t in (10, 20, 29, 30)] == [1, 1, 1, 1]


def test_a_late_correction_leaves_a_later_written_value_alone() -> None:
    store = Store()
    store.run(10, 11, {"a": 1})
    store.run(30, 31, {"a": 3})
    assert store.run(20, 50, {"a": 2}) == [("a", 20, 50, 2)]


def test_a_video_first_seen_late_ends_at_the_next_run_that_did_not_know_it() -> None:
    store = Store()
    store.run(30, 31, {"b": 5})
    assert store.run(20, 50, {"a": 2, "b": 5}) == [
        ("a", 20, 50, 2),
        ("a", 30, 50, None),
        ("b", 20, 50, 5),
    ]


def test_a_second_run_at_the_same_time_is_known_after_the_first() -> None:
    store = Store()
    store.run(10, 11, {"a": 1})
    assert store.run(10, 11, {"a": 2}) == [("a", 10, 12, 2)]
    assert store.run(10, 11, {"a": 2}) == []


def test_a_value_known_later_does_not_hide_one_known_before() -> None:
    """A backfill that is known earlier has to say its value, though it is the same.

    A live run wrote a: 1 as of 10, known at 90; the backfill is known from 21.
    """
    store = Store()
    store.run(10, 90, {"a": 1})
    assert store.run(20, 21, {"a": 1}) == [("a", 20, 21, 1)]


VALUES = st.dictionaries(st.sampled_from("abc"), st.integers(1, 3))


def check(runs: list[tuple[int, int, dict[str, int]]]) -> None:
    store, oracle = Store(), Oracle()
    for event, created, values in runs:
        store.run(event, created, values)
        oracle.run(event, created, values)
    times = sorted({x for e, c, _ in oracle.runs for x in (e, c)} | {0, 10_000})
    for entity in "abc":
        for t in times:
            for k in times:
                assert stored(store.rows, entity, t, k) == oracle.holds(entity, t, k), (
                    runs,
                    entity,
                    t,
                    k,
                )
    keys = [row[:3] for row in store.rows]
    assert len(keys) == len(set(keys))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 6), VALUES), max_size=6))
def test_live_runs_in_any_order_answer_like_the_oracle(
    runs: list[tuple[int, dict[str, int]]],
) -> None:
    """Each run is known after the one before it; its event time may lie anywhere in the past."""
    check([(event * 10, 1000 + 10 * i, values) for i, (event, values) in enumerate(runs)])


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 6), VALUES), max_size=6))
def test_a_backfilled_schedule_in_any_order_answers_like_the_oracle(
    runs: list[tuple[int, dict[str, int]]],
) -> None:
    """Each run is known a fixed delay after its event time, whenever it ran."""
    check([(event * 100, event * 100 + 30, values) for event, values in runs])


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_a_schedule_gives_the_same_answers_in_every_order(order: tuple[int, ...]) -> None:
    values = {1: {"a": 1, "b": 1}, 2: {"a": 1}, 3: {"a": 2, "c": 1}}
    check([(i * 100, i * 100 + 30, values[i]) for i in order])
