"""Error rates over many synthetic experiments; `python -m benchmarks.experiments` has the tables.

Bounds are binomial at 99.9%, so that a correct analysis fails one test in a thousand seeds, and
these seeds are fixed.
"""

import numpy as np
import pytest
from scipy import stats

from benchmarks.experiments import calibrate, declare, peek, predict, within


def check_calibration(runs: int, users: int) -> None:
    none = calibrate(declare(), runs=runs, users=users, effect=0.0, seed=1)
    for place, comparison in enumerate(none.comparisons):
        rejected = float((none.p[:, place] <= 0.05).mean())
        assert within(rejected, runs, 0.05), (comparison, rejected)
        assert stats.kstest(none.p[:, place], "uniform").pvalue > 0.001, comparison


def check_coverage_and_power(runs: int, users: int, points: float) -> None:
    some = calibrate(declare(), runs=runs, users=users, effect=0.12, seed=2)
    powers = predict(declare(), users=users, effect=0.12, seed=3)
    for place, comparison in enumerate(some.comparisons):
        assert within(float(some.covered[:, place].mean()), runs, 0.95), comparison
        if comparison.metric in {"UVD", "AVD"}:
            power = float((some.p[:, place] <= 0.05).mean())
            assert power == pytest.approx(powers[comparison.metric], abs=points), comparison


def test_a_a_experiments_are_rejected_as_often_as_alpha_says():
    check_calibration(runs=200, users=600)


def test_intervals_cover_the_effect_and_power_is_as_predicted():
    check_coverage_and_power(runs=200, users=800, points=0.12)  # 3.5 standard errors of 200


def test_daily_looks_at_a_fixed_horizon_find_what_is_not_there_and_always_valid_ones_do_not():
    looks = peek(runs=150, users=600, days=10, seed=4)
    rates = {name: float((p.min(axis=1) <= 0.05).mean()) for name, p in looks.items()}
    assert rates["fixed"] > 0.09
    assert rates["sequential"] <= 0.05
    # each look alone is fine: it is looking often that isn't
    assert within(float((looks["fixed"][:, -1] <= 0.05).mean()), 150, 0.05)


@pytest.mark.slow
def test_a_thousand_a_a_experiments():
    check_calibration(runs=1000, users=2000)


@pytest.mark.slow
def test_coverage_and_power_of_five_hundred_experiments():
    check_coverage_and_power(runs=500, users=2000, points=0.05)


def test_an_effect_of_a_bounded_novelty_has_a_falling_slope():
    from benchmarks.experiment_worlds import make_log
    from vidtopics.experiments.analysis import compare

    log = make_log(declare(), np.random.default_rng(7), 4000, effect=0.6, novelty=0.1)
    row = compare(declare(), log, 7)[0]
    assert row["slope"]["high"] < 0
    assert row["by_day"][0]["relative"] > row["by_day"][-1]["relative"]
