"""The benchmark of requests says which target is met, and by which quantile."""

import numpy as np
import pytest

from benchmarks.recommend import BARE, LIVE, PARTS, RECALL, WHOLE, Times, report_of, show


def times(recall, whole):
    """200 calls of each step; `recall` and `whole`: milliseconds of most, and of 4 in 200."""
    steps = dict.fromkeys((BARE, *PARTS), (0.5, 0.5)) | {RECALL: recall, WHOLE: whole}
    steps |= {LIVE: (1.1 * whole[0], whole[1])}
    walls = {name: np.array([usual] * 196 + [late] * 4) for name, (usual, late) in steps.items()}
    return {name: Times(wall, wall / 2) for name, wall in walls.items()}


@pytest.mark.parametrize(
    ("recall", "whole", "met"),
    [
        ((2.9, 7.9), (9.9, 19.9), [True, True, True, True]),
        ((3.1, 7.9), (9.9, 20.1), [False, True, True, False]),
        ((2.9, 8.1), (10.1, 19.9), [True, False, False, True]),
    ],
)
def test_which_targets_are_met(recall, whole, met):
    report = report_of(times(recall, whole))
    assert [row["met"] for row in report["targets"]] == met
    assert report["steps"][WHOLE]["cpu_p50_ms"] == pytest.approx(whole[0] / 2, abs=0.01)
    assert report["steps"][RECALL]["ratio_p50"] == pytest.approx(recall[0] / 0.5, abs=0.01)
    assert report["events"] == {"wall": 1.1, "cpu": 1.1}
    lines = show({"model": "m", "users": 1, "candidates": 600, "load": 0.1, **report})
    assert lines[-5].endswith("1.10 of the time, 1.10 of the CPU of a request without")
    verdicts = ["met" if good else "missed" for good in met]
    assert [line.rsplit(", ", 1)[1] for line in lines[-4:]] == verdicts
