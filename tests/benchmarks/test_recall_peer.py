"""The benchmark of recall's figures: lists that reach all lengths, and what fails it."""

import json
import sys

import numpy as np
import pytest

from benchmarks import recall_metrics


def test_nothing_is_compared_without_rectools(monkeypatch, capsys):
    monkeypatch.delenv("RECTOOLS_PYTHON", raising=False)
    assert recall_metrics.main(["--requests", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "skipped: RECTOOLS_PYTHON names no Python with RecTools (pip install rectools==0.19.0)"
    ]


def test_the_lists_have_hits_short_ones_and_long_ones():
    lists = recall_metrics.draw(40)
    lengths = [len(videos) for videos in lists["ranked"]]
    assert min(lengths) < recall_metrics.LENGTHS[0] < max(lengths) <= recall_metrics.LENGTHS[1]
    figures = recall_metrics.figures(lists)
    assert 0 < figures["coverage"][0] < 1
    assert 0 < np.mean(figures["hit rate 50"]) < np.mean(figures["hit rate 600"]) < 1


@pytest.mark.parametrize(("gap", "status"), [(0, 0), (1e-8, 1)])
def test_one_list_that_differs_fails(gap, status, monkeypatch, tmp_path):
    """Means alone would hide it: two lists are off by as much, one up and one down."""
    peer = tmp_path / "peer.py"
    peer.write_text(
        "import sys\nprint(open(sys.argv[0].replace('peer.py', 'figures.json')).read())\n"
    )
    figures = recall_metrics.figures(recall_metrics.draw(2))
    first, second = figures["NDCG 50"]
    changed = {**figures, "NDCG 50": [first + gap, second - gap]}
    (tmp_path / "figures.json").write_text(json.dumps(changed))
    monkeypatch.setenv("RECTOOLS_PYTHON", sys.executable)
    monkeypatch.setattr(recall_metrics, "PEER", peer)
    assert recall_metrics.main(["--requests", "2"]) == status
