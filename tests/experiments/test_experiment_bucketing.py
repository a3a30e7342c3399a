import hashlib

import numpy as np
import pytest
from scipy import stats

from vidtopics.errors import SettingsError
from vidtopics.experiments import arm, bucket
from vidtopics.experiments.bucketing import bucket_ranges

USERS = [f"user-{number}" for number in range(20_000)]


def test_a_bucket_is_the_documented_function_of_the_hash():
    head = hashlib.sha256(b"salt:\xc3\xbc1").hexdigest()[:16]
    assert bucket("ü1", "salt", 8) == int(head, 16) * 8 // 2**64


def test_buckets_are_uniform_and_independent_between_salts():
    buckets = np.array([[bucket(user, salt, 10) for user in USERS] for salt in ("a", "b")])
    for row in buckets:
        assert stats.chisquare(np.bincount(row, minlength=10)).pvalue > 0.001
    table = np.zeros((10, 10))
    np.add.at(table, (buckets[0], buckets[1]), 1)
    assert stats.chi2_contingency(table).pvalue > 0.001
    # ids that follow each other don't get buckets that do
    pairs = np.zeros((10, 10))
    np.add.at(pairs, (buckets[0][:-1], buckets[0][1:]), 1)
    assert stats.chi2_contingency(pairs).pvalue > 0.001


def test_arms_have_their_shares_and_the_rest_is_in_none():
    ranges = bucket_ranges({"control": 0.1, "topics": 0.3}, 1000)
    assert ranges == {"control": range(100), "topics": range(100, 400)}
    arms = [arm(user, "salt", 1000, ranges) for user in USERS]
    counts = [arms.count(name) for name in ("control", "topics", None)]
    assert stats.chisquare(counts, np.array([0.1, 0.3, 0.6]) * len(USERS)).pvalue > 0.001


@pytest.mark.parametrize("shares", [{"a": 0.5, "b": 0.6}, {"a": 0.0005, "b": 0.5}, {"a": 0.0}])
def test_shares_that_no_buckets_have_are_refused(shares):
    with pytest.raises(SettingsError, match=r"arms\.[ab]\.share: expected a whole number of 1000"):
        bucket_ranges(shares, 1000)


def test_a_share_in_tenths_is_exact():
    assert bucket_ranges({"a": 0.3, "b": 0.7}, 10) == {"a": range(3), "b": range(3, 10)}
