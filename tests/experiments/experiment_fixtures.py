"""An experiment's folder as tests write it."""

from pathlib import Path

import numpy as np

from benchmarks.experiment_worlds import write_log
from vidtopics.experiments.declaration import Experiment, read_experiment

YAML = """
name: topics in the ranker
salt: ranker-topics
arms:
  production: {share: 0.5}
  topics: {share: 0.5}
control: production
start: 2026-12-01
end: 2026-12-08
"""


def declare(**changes) -> Experiment:
    tree = {
        "name": "topics",
        "salt": "ranker-topics",
        "arms": {"production": {"share": 0.5}, "topics": {"share": 0.5}},
        "control": "production",
        "start": "2026-12-01T00:00:00Z",
        "end": "2026-12-08T00:00:00Z",
    }
    return Experiment.model_validate(tree | changes)


def write_experiment(folder: Path, users: int = 600, more: str = "", **settings) -> Experiment:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.yaml").write_text(YAML + more)
    experiment = read_experiment(folder)
    write_log(folder, experiment, np.random.default_rng(5), users, **settings)
    return experiment
