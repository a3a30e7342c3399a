import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import tea_tasting as tt
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from vidtopics.errors import InputError
from vidtopics.experiments.checks import check_sample_ratio
from vidtopics.experiments.estimates import Sample, estimate_arms, join_small_strata
from vidtopics.experiments.intervals import (
    LogRatio,
    adjust_by_holm,
    fixed_lift,
    log_ratio,
    sequential_lift,
)
from vidtopics.experiments.novelty import estimate_slope


def draw_sample(users: int = 400, seed: int = 3) -> Sample:
    rng = np.random.default_rng(seed)
    level = rng.gamma(2, 1, users)
    arm = (rng.random(users) < 0.4).astype(np.int64)
    views, pre_views = (1.0 + rng.poisson(3 * level) for _ in range(2))
    return Sample(
        numerator=views * rng.gamma(3, level) * (1 + 0.1 * arm),
        denominator=views,
        arm=arm,
        stratum=np.zeros(users, np.int64),
        pre_numerator=pre_views * rng.gamma(3, level),
        pre_denominator=pre_views,
    )


def tea_tasting_result(sample: Sample, metric: object):
    table = pa.table(
        {
            "variant": sample.arm,
            "y": sample.numerator,
            "d": sample.denominator,
            "x": sample.pre_numerator,
            "e": sample.pre_denominator,
        }
    )
    return tt.Experiment(metric=metric).analyze(table)["metric"]


@pytest.mark.parametrize("cuped", [False, True])
@pytest.mark.parametrize("kind", ["mean", "ratio"])
def test_estimates_are_those_of_tea_tasting(kind, cuped):
    sample = draw_sample()
    if kind == "mean":
        ones = np.ones_like(sample.numerator)
        sample = replace(sample, denominator=ones, pre_denominator=ones)
        metric = tt.Mean("y", "x" if cuped else None)
    else:
        metric = tt.RatioOfMeans("y", "d", *(("x", "e") if cuped else ()))
    oracle = tea_tasting_result(sample, metric)
    if not cuped:
        sample = replace(sample, pre_numerator=None, pre_denominator=None)
    control, treatment = estimate_arms(sample, 2).arms
    lift = fixed_lift(log_ratio(control, treatment, "metric"), 0.05)
    ours = (control.mean, treatment.mean, lift.relative, lift.low, lift.high)
    theirs = (
        oracle.control,
        oracle.treatment,
        oracle.rel_effect_size,
        oracle.rel_effect_size_ci_lower,
        oracle.rel_effect_size_ci_upper,
    )
    assert ours == pytest.approx(theirs, rel=1e-9)
    error = math.sqrt(control.variance + treatment.variance)
    assert (treatment.mean - control.mean) / error == pytest.approx(oracle.statistic, rel=1e-9)


def test_strata_by_hand():
    """Stratum 0 is 4 of 6 users, stratum 1 is 2; all arms are weighted so, whatever they have."""
    values = np.array([1.0, 3.0, 2.0, 6.0, 10.0, 10.0, 20.0, 24.0])
    arm = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    stratum = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    # three more users of stratum 0 in control: shares 7/11 and 4/11
    values, arm = np.append(values, [2.0, 2.0, 2.0]), np.append(arm, [0, 0, 0])
    sample = Sample(values, np.ones(11), arm, np.append(stratum, [0, 0, 0]))
    control, treatment = estimate_arms(sample, 2).arms
    assert control.mean == pytest.approx(7 / 11 * 2 + 4 / 11 * 10)
    assert treatment.mean == pytest.approx(7 / 11 * 4 + 4 / 11 * 22)
    # variances: control s^2 = 2/4 of five, 0; treatment 8 of two, 8 of two
    assert control.variance == pytest.approx((7 / 11) ** 2 * 0.5 / 5)
    assert treatment.variance == pytest.approx((7 / 11) ** 2 * 4 + (4 / 11) ** 2 * 4)


def test_the_variance_of_an_adjusted_ratio_is_that_of_resampled_users():
    sample = draw_sample(1500)
    sample = replace(sample, stratum=(sample.pre_denominator > 5).astype(np.int64))
    control, treatment = estimate_arms(sample, 2).arms
    ratio = log_ratio(control, treatment, "metric")
    rng, draws = np.random.default_rng(1), []
    for _ in range(400):
        rows = rng.integers(0, 1500, 1500)
        arms = estimate_arms(
            Sample(**{name: column[rows] for name, column in vars(sample).items()}), 2
        ).arms
        draws.append(log_ratio(*arms, "metric").value)
    assert ratio.error == pytest.approx(np.std(draws), rel=0.12)  # 400 draws: 3.5% of error
    plain = estimate_arms(
        Sample(sample.numerator, sample.denominator, sample.arm, np.zeros_like(sample.arm)), 2
    ).arms
    assert ratio.error < 0.95 * log_ratio(*plain, "metric").error


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=60))
def test_joined_strata_are_large_enough_in_every_arm_or_one(rows):
    # each row is four users, so that strata of a handful of rows are large enough
    stratum, arm = (np.array(column).repeat(4) for column in zip(*rows, strict=True))
    joined = join_small_strata(stratum, arm, 3)
    counts = np.bincount(arm * (joined.max() + 1) + joined, minlength=3 * (joined.max() + 1))
    assert joined.max() == 0 or counts.min() >= 10
    for name in np.unique(stratum):  # a stratum is not torn
        assert len(np.unique(joined[stratum == name])) == 1


def test_a_constant_covariate_takes_nothing_away():
    sample = draw_sample()
    constant = replace(sample, pre_numerator=sample.pre_denominator)
    assert estimate_arms(constant, 2).coefficient == 0


def test_a_mean_of_0_has_no_relative_difference():
    sample = Sample(np.array([0.0, 0, 1, 2]), np.ones(4), np.array([0, 0, 1, 1]), np.zeros(4, int))
    with pytest.raises(InputError, match="UVD: expected a mean above 0 in both arms"):
        log_ratio(*estimate_arms(sample, 2).arms, "UVD")


@given(st.floats(-5, 5), st.floats(0.001, 1), st.floats(0.002, 0.3), st.sampled_from([0.01, 0.05]))
def test_an_always_valid_interval_excludes_0_where_p_is_below_alpha(z, error, effect, alpha):
    ratio = LogRatio(z * error, error, math.inf)
    lift = sequential_lift(ratio, alpha, effect)
    if abs(lift.p - alpha) > 1e-6:
        assert (lift.p <= alpha) == (lift.low > 0 or lift.high < 0)
    assert lift.p >= fixed_lift(ratio, alpha).p


def test_an_always_valid_p_is_the_inverse_mixture_of_likelihood_ratios():
    value, error, tau = 0.08, 0.02, math.log1p(0.05)

    def likelihood_ratio(effect: float) -> float:
        density = stats.norm.pdf(value, effect, error) / stats.norm.pdf(value, 0, error)
        return float(density * stats.norm.pdf(effect, 0, tau))

    mixture, _ = integrate.quad(likelihood_ratio, -0.5, 0.5, points=[0, value])
    lift = sequential_lift(LogRatio(value, error, math.inf), 0.05, 0.05)
    assert lift.p == pytest.approx(1 / mixture, rel=1e-6)


def test_an_always_valid_interval_is_the_asymptotic_confidence_sequence():
    """Waudby-Smith et al. 2021, theorem 2.2, of n values with deviation sigma."""
    n, sigma, alpha, tau = 5000, 3.0, 0.05, math.log1p(0.02)
    rho = tau / sigma  # n rho^2 = tau^2 / (sigma^2 / n)
    spread = n * rho**2 + 1
    half = sigma * math.sqrt(2 * spread / (n * rho) ** 2 * math.log(math.sqrt(spread) / alpha))
    lift = sequential_lift(LogRatio(0.0, sigma / math.sqrt(n), math.inf), alpha, 0.02)
    assert math.log1p(lift.high) == pytest.approx(half, rel=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.2))
def test_holm_rejects_what_its_steps_reject(p_values, alpha):
    adjusted = adjust_by_holm(p_values)
    rejected, remaining = set(), sorted(range(len(p_values)), key=lambda i: p_values[i])
    while remaining and p_values[remaining[0]] * len(remaining) <= alpha:
        rejected.add(remaining.pop(0))
    assert {i for i, p in enumerate(adjusted) if p <= alpha} == rejected


def test_the_sample_ratio_by_hand():
    check = check_sample_ratio({"a": 5100, "b": 9900}, [1 / 3, 2 / 3])
    # (5100 - 5000)^2 / 5000 + (9900 - 10000)^2 / 10000 = 2 + 1 = 3, one degree of freedom
    assert check.p == pytest.approx(stats.chi2.sf(3, 1))
    assert check.outcome == "passed"


def test_a_slope_is_that_of_log_ratios_over_days_with_an_error_over_users():
    rng = np.random.default_rng(2)
    users, days = 3000, 5
    level = rng.gamma(3, 1, (users, 1))
    is_treated = (np.arange(users) % 2).astype(np.int64)
    factor = 1 + is_treated[:, None] * np.linspace(0.2, 0.0, days)
    daily = level * rng.gamma(4, 0.25, (users, days)) * factor
    slope = estimate_slope(daily, np.ones((users, days)), is_treated, 0.05)
    assert slope is not None
    ratios = np.log(daily[is_treated == 1].mean(axis=0) / daily[is_treated == 0].mean(axis=0))
    assert slope.per_day == pytest.approx(np.polyfit(np.arange(days), ratios, 1)[0])
    draws = []
    for seed in range(200):
        rows = np.random.default_rng(seed).integers(0, users, users)
        resampled = estimate_slope(daily[rows], np.ones((users, days)), is_treated[rows], 0.05)
        draws.append(resampled.per_day)
    assert (slope.high - slope.low) / 2 / 1.96 == pytest.approx(np.std(draws), rel=0.2)
    assert slope.p < 1e-6
