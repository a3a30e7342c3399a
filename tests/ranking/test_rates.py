"""The smoothed click-through rate is the same for every kind of column, and a model's own."""

from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
from ranking_worlds import EPOCH, SETTINGS, inputs

from consumers.ranking.dataset import Dataset
from consumers.ranking.examples import numbers
from vidtopics.rates import Prior, smoothed_ctr
from vidtopics.tables import FOREVER

CLICKS, EXPOSURES = [0, 3, 5], [0, 30, 10]
EXPECTED = [0.2, 0.125, 0.35]  # (clicks + 10 * .2) / (exposures + 10)
PRIOR = Prior.of_totals(20, 100, exposures=10)


def test_arrays_frames_and_numbers_give_the_rate_by_hand():
    frame = pl.DataFrame({"c": CLICKS, "e": EXPOSURES})
    assert smoothed_ctr(np.array(CLICKS), np.array(EXPOSURES), PRIOR).tolist() == EXPECTED
    assert frame.select(smoothed_ctr(pl.col("c"), pl.col("e"), PRIOR))["c"].to_list() == EXPECTED
    assert [smoothed_ctr(c, e, PRIOR) for c, e in zip(CLICKS, EXPOSURES, strict=True)] == EXPECTED
    assert Prior.of_totals(0, 0, exposures=10).global_ctr == 0


def test_the_prior_of_a_model_is_that_of_the_rows_that_it_learns_from():
    data = Dataset.of(inputs(), SETTINGS, as_of_us=FOREVER, epoch=EPOCH)
    rows = np.arange(100, 400)
    assert asdict(data.vocabulary(rows).prior) == {
        "global_ctr": pytest.approx(data.clicked[rows].mean()),
        "exposures": SETTINGS.statistics.prior_exposures,
    }


def test_log_odds_are_those_of_the_smoothed_rate_and_of_nothing_where_nothing_is_known():
    counts = np.array([*EXPOSURES, np.nan]), np.array([*CLICKS, np.nan])
    column = numbers(*counts, PRIOR, np.array([0]), np.zeros(4, np.int64))[:, 1]
    odds = np.array([*EXPECTED, 0.5])
    assert column == pytest.approx(np.log(odds / (1 - odds)), abs=1e-6)
