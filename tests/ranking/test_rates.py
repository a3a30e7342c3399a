"""The smoothed click-through rate is the same for every kind of column, and a model's own."""

from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
from taste_worlds import SETTINGS, source

from vidtopics.rates import Prior, smoothed_ctr

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
    log, rows = source(rows=500), np.arange(100, 400)
    assert asdict(log.vocabulary(rows).prior) == {
        "global_ctr": pytest.approx(log.frame.clicked[rows].mean()),
        "exposures": SETTINGS.statistics.prior_exposures,
    }


def test_log_odds_are_those_of_the_smoothed_rate_of_what_was_known():
    log = source(rows=400, videos=20)
    known = log.vocabulary(np.arange(400))
    examples, frame = log.examples(known), log.frame
    column = examples.numbers[:, examples.names.index("video_log_odds")]
    videos = frame.impressions["video_id"].to_pylist()
    for row in (0, 57, 399):  # all impressions and clicks before it are known at its time
        before = [i for i in range(row) if videos[i] == videos[row]]
        clicks = int(frame.clicked[before].sum())
        rate = smoothed_ctr(clicks, len(before), known.prior)
        assert column[row] == pytest.approx(np.log(rate / (1 - rate)), abs=1e-4)
