"""The point-in-time join against a plain O(N * M) oracle."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidtopics.joins import History, latest, matches

TIMES = st.integers(0, 12)
KEYS = st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, None]))
ROWS = st.lists(st.tuples(KEYS, TIMES, TIMES), max_size=12)
SPINE = st.lists(st.tuples(KEYS, TIMES), max_size=12)


def oracle(spine, rows, known_by, ttl, strictly):
    """One spine row after the other, one feature row after the other."""
    row_numbers = []
    for (key, t), known in zip(spine, known_by, strict=True):
        best, at = None, -1
        for i, (row_key, event, created) in enumerate(rows):
            if None in key or row_key != key or event > t or (strictly and event == t):
                continue
            if known is not None and created > known:
                continue
            if best is None or (event, created) >= best:
                best, at = (event, created), i
        expired = ttl and at >= 0 and best[0] < t - ttl
        row_numbers.append(-1 if expired else at)
    return row_numbers


def keys(pairs):
    return pa.table(
        {
            "user": pa.array([k[0] for k in pairs], pa.string()),
            "item": pa.array([k[1] for k in pairs], pa.int64()),
        }
    )


def times(values):
    return np.array(values, np.int64)


def run(spine, rows, **options):
    return matches(
        keys([k for k, _ in spine]),
        times([t for _, t in spine]),
        keys([r[0] for r in rows]),
        times([r[1] for r in rows]),
        times([r[2] for r in rows]),
        **options,
    ).tolist()


@settings(max_examples=120)
@given(
    SPINE,
    ROWS,
    st.sampled_from(["any", "cut", "spine", "earlier", "later"]),
    st.integers(0, 5),
    st.booleans(),
)
def test_equals_the_oracle(spine, rows, rule, ttl, strictly):
    at = times([t for _, t in spine])
    known_by = {"any": None, "cut": 6, "spine": at, "earlier": at - 2, "later": at + 3}[rule]
    plain = known_by.tolist() if isinstance(known_by, np.ndarray) else [known_by] * len(spine)
    row_numbers = run(spine, rows, known_by=known_by, ttl_us=ttl, strictly_before=strictly)
    assert row_numbers == oracle(spine, rows, plain, ttl, strictly)


CORRECTED = [(("a", 1), 10, 11), (("a", 1), 10, 30), (("a", 1), 20, 25), (("a", 1), 5, 40)]


@pytest.mark.parametrize(
    ("t", "expected"),
    [
        (9, -1),  # 5 holds, but is known from 40 on
        (10, -1),  # holds from 10 on, known from 11
        (11, 0),
        (24, 0),  # 20 holds already, but is known from 25
        (25, 2),
        (30, 2),  # a correction of 10 comes in: 20 is still the latest event
        (40, 2),
    ],
)
def test_known_by_the_time_asked_for(t, expected):
    assert run([(("a", 1), t)], CORRECTED, known_by=times([t])) == [expected]


def test_a_correction_wins_from_when_it_is_known():
    rows = CORRECTED[:2]
    spine = [(("a", 1), t) for t in (29, 30)]
    assert run(spine, rows, known_by=times([29, 30])) == [0, 1]
    assert run(spine, rows) == [1, 1]
    assert run(spine, rows, known_by=29) == [0, 0]


def test_ttl_is_inclusive():
    assert run([(("a", 1), t) for t in (110, 111)], [(("a", 1), 10, 10)], ttl_us=100) == [0, -1]


def test_the_latest_row_expires_even_where_an_older_one_was_corrected_later():
    # (10, created 99) is older as an event than (20, 21); the winner at 130 is (20, 21), which is
    # too old: nothing.
    assert run([(("a", 1), 130)], [(("a", 1), 10, 99), (("a", 1), 20, 21)], ttl_us=100) == [-1]


def test_rows_come_back_in_order_with_duplicates():
    spine = [(("b", 2), 5), (("a", 1), 5), (("b", 2), 5), (("c", 1), 5)]
    assert run(spine, [(("a", 1), 1, 1), (("b", 2), 1, 1)]) == [1, 0, 1, -1]


def test_microseconds_are_not_rounded():
    # beyond 2^50: a float64 of seconds, or a float32, would lose the last microsecond
    t = 1_767_225_600_000_001
    assert run([(("a", 1), t - 1), (("a", 1), t)], [(("a", 1), t, t)]) == [-1, 0]


def test_key_types_that_feast_and_arrow_hand_over():
    rows = pa.table({"user": pa.array(["x", "y"], pa.large_string())})
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        spine = pa.table({"user": pa.array(["y", "x", None], pa.string()).cast(kind)})
        assert matches(spine, times([1, 1, 1]), rows, times([1, 1]), times([1, 1])).tolist() == [
            1,
            0,
            -1,
        ]


def test_column_names_are_not_sql():
    name = 'at"; DROP TABLE spine --'
    table = pa.table({name: ["x"], "rank": [1]})
    assert matches(table, times([1]), table, times([1]), times([1])).tolist() == [0]


def test_many_rows_stay_aligned():
    random = np.random.default_rng(3)
    n, m = 300_000, 20_000
    spine, at = random.integers(0, 500, n), random.integers(0, 10_000, n)
    held, event = random.integers(0, 500, m), random.integers(0, 10_000, m)
    row_numbers = matches(pa.table({"k": spine}), at, pa.table({"k": held}), event, event)
    order = np.lexsort((event, held))
    codes, composite = held[order] * 10_000 + event[order], spine * 10_000 + at
    place = np.searchsorted(codes, composite, side="right") - 1
    right = (place >= 0) & (held[order][place] == spine)
    assert np.array_equal(row_numbers >= 0, right)
    assert np.array_equal(held[row_numbers[right]], spine[right])
    assert np.array_equal(event[row_numbers[right]], event[order][place[right]])


def test_wrong_use_is_told():
    table = pa.table({"k": ["x", "y"]})
    with pytest.raises(ValueError, match="one distance from spine_us"):
        matches(table, times([1, 2]), table, times([1, 1]), times([1, 1]), known_by=times([1, 5]))
    with pytest.raises(ValueError, match="found no k"):
        matches(table, times([1, 2]), table.rename_columns(["q"]), times([1, 1]), times([1, 1]))
    with pytest.raises(ValueError, match="equal length"):
        matches(table, times([1]), table, times([1, 1]), times([1, 1]))


@settings(max_examples=60)
@given(
    SPINE,
    ROWS,
    st.lists(st.tuples(st.sampled_from([None, 6, "spine"]), st.booleans()), min_size=2, max_size=4),
)
def test_a_history_answers_many_questions(spine, rows, questions):
    """Whatever was asked before, under another rule or of another part of the spine."""
    history = History(
        keys([r[0] for r in rows]), times([r[1] for r in rows]), times([r[2] for r in rows])
    )
    for known_by, strictly in questions:
        for part in (spine[:5], spine[5:]):
            at = times([t for _, t in part])
            known = at if known_by == "spine" else known_by
            plain = at.tolist() if known_by == "spine" else [known_by] * len(part)
            row_numbers = history.matches(
                keys([k for k, _ in part]), at, known_by=known, strictly_before=strictly
            )
            assert row_numbers.tolist() == oracle(part, rows, plain, 0, strictly)


def test_times_that_do_not_fit_beside_a_key_in_one_number():
    far = 2**61
    rows = [(("a", 1), -far, 0), (("b", 1), far, 0), (("a", 1), far, 0)]
    assert run([(("a", 1), -far), (("a", 1), far), (("b", 1), 0)], rows) == [0, 2, -1]


def test_key_columns_of_another_type_are_told():
    with pytest.raises(ValueError, match="expected large_string, as in the rows, found int64"):
        matches(pa.table({"k": [1]}), times([1]), pa.table({"k": ["1"]}), times([1]), times([1]))


def test_whole_numbers_match_whatever_their_width():
    rows = pa.table({"k": pa.array([1, 2], pa.int32())})
    assert matches(
        pa.table({"k": pa.array([2, 3], pa.uint8())}),
        times([1, 1]),
        rows,
        times([1, 1]),
        times([1, 1]),
    ).tolist() == [1, -1]


def test_keys_in_several_chunks():
    chunks = pa.chunked_array([["x", "y"], ["y", None, "z"]])
    rows = pa.table({"k": chunks})
    spine = pa.table({"k": pa.chunked_array([["z"], ["y", "q"]])})
    assert matches(
        spine, times([9] * 3), rows, times([1, 2, 3, 4, 5]), times([0] * 5)
    ).tolist() == [4, 2, -1]


def test_null_is_an_entity_for_latest():
    """Feast's materialisation moves such rows too; a join never matches them."""
    table = pa.table({"a": ["x", None, None, "x"], "b": [1, 1, 1, None]})
    assert latest(table, times([1, 1, 2, 1]), times([0] * 4)).tolist() == [0, 2, 3]
