"""`conf/paper.yaml` trains what reaches z, at the paper's shapes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

STEP = Path(__file__).with_name("paper_step.py")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_step_of_the_papers_preset_at_its_own_shapes():
    """Untrained weights know no class: a task's loss is near the logarithm of its classes."""
    step = subprocess.run(
        [sys.executable, STEP, "8", "1"], check=True, capture_output=True, text=True
    )
    report = json.loads(step.stdout)
    assert report["encoder"] == (
        "inception_resnet_v2@random weights, seed 7/299px+title@random weights, seed 7/32tokens"
    )
    assert (report["widths"], report["experts"]) == ([1536, 768], 12)
    assert report["classes"] == [50, 367, 12_000]
    (losses,) = report["losses"]
    np.testing.assert_allclose(losses, np.log(report["classes"]), atol=0.3)
    assert report["moved_share"] == 1
    assert report["peak_bytes"] < 6 * 2**30
