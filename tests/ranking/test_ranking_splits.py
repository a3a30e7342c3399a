"""Which rows a model learns from, is chosen on and is tested on."""

import numpy as np
import pytest

from consumers.ranking.daily import periods
from consumers.ranking.problems import split_rows
from consumers.ranking.splits import by_time, by_user

DAY_US = 86_400_000_000


def test_splits_by_hand():
    users, times = np.array([1, 1, 1, 1, 1, 2, 2]), np.array([50, 10, 20, 30, 40, 5, 6])
    split = by_user(users, times, share=0.2)  # of five one, of two none
    assert (split.train.tolist(), split.test.tolist()) == ([1, 2, 3, 4, 5, 6], [0])
    split = by_time(
        np.array([9, 1, 8, 2, 7, 3, 6, 4, 5, 10]), share=0.2, window_us=2
    )  # cut at 9: rows up to 7 are labelled
    assert (split.train.tolist(), split.test.tolist()) == ([1, 3, 4, 5, 6, 7, 8], [0, 9])


@pytest.mark.parametrize("times", [[1, 2, 3, 4], [1, 3, 3, 3], [2, 2, 2, 2]])
def test_without_a_window_each_row_is_in_one_part(times):
    split = by_time(np.array(times), share=0.5, window_us=0)
    before = [row for row, time in enumerate(times) if time < sorted(times)[2]]
    assert split.train.tolist() == before
    assert sorted([*split.train, *split.test]) == [0, 1, 2, 3]


def test_validation_lies_between_training_and_test_in_time():
    times = np.random.default_rng(0).permutation(1_000)
    rows = split_rows(
        lambda at, share: by_time(times[at], share=share, window_us=5),
        1_000,
        test=0.2,
        validation=0.1,
    )
    assert times[rows.fit].max() + 5 <= times[rows.validation].min()
    assert times[rows.validation].max() + 5 <= times[rows.test].min()
    assert set(rows.fit) | set(rows.validation) <= set(rows.train)
    assert (len(rows.test), len(rows.train)) == (200, 796)  # cut 800: rows up to 795 are labelled


def test_days_of_a_short_log_are_calendar_days():
    shown = np.repeat(np.arange(14), 3) * DAY_US + 5
    days = periods(shown, count=5, share=0.2)
    assert [len(within) for _, within in days] == [3] * 5
    assert [shown[within[0]] // DAY_US for _, within in days] == [9, 10, 11, 12, 13]
    assert all(shown[before].max() < shown[within].min() for before, within in days)


def test_what_goes_on_past_the_last_midnight_is_part_of_the_day_before():
    shown = np.append(np.repeat(np.arange(14), 30) * DAY_US + 5, [14 * DAY_US] * 2)
    days = periods(shown, count=5, share=0.2)
    assert [len(within) for _, within in days] == [30] * 4 + [32]


def test_days_of_a_long_log_are_equal_parts_of_its_end():
    shown = np.random.default_rng(1).permutation(np.arange(1_000) * 30 * DAY_US)
    days = periods(shown, count=5, share=0.2)
    assert [len(within) for _, within in days] == [40] * 5
    assert [len(before) for before, _ in days] == [800, 840, 880, 920, 960]
    assert all(shown[before].max() < shown[within].min() for before, within in days)
