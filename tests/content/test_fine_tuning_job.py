"""Fine-tuning from a home's files: what it leaves there, what it goes on from, and in processes."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_videos import LIMIT, VIDEOS, WORDS, videos, weights
from tiny_encoders import weights_on_disk

from producers.content.fine_tuning import StepFacts
from vidtopics.errors import EncoderError, MachineError
from vidtopics.jobs.event_files import scalars
from vidtopics.jobs.fine_tuning import Task, fine_tune_encoders

CHANGES = {
    "batch_size": 30,
    "iterations": 4,
    "check_every": 2,
    "checkpoint_every": 4,
    "validation_share": 0.2,
}


@pytest.fixture
def task(tmp_path: Path) -> Task:
    covers, titles, targets, _ = videos()
    content = weights_on_disk(tmp_path, WORDS).model_copy(update=CHANGES)
    contents = [f"c{i}" for i in range(VIDEOS)]
    return Task(content, contents, covers, titles, targets, 7, LIMIT, tmp_path / "training")


def no_spark():
    raise AssertionError("one process needs no session")


def tune(task: Task):
    lines: list[str] = []
    *trained, tuned = fine_tune_encoders(task, lines.append, no_spark)
    return lines, tuned, weights(trained, tuned)


def test_it_reports_each_iteration_and_goes_on_from_its_last_checkpoint(task):
    lines, tuned, first = tune(task)
    steps = [line.split(":")[0] for line in lines if line.startswith("iteration")]
    assert steps == [f"iteration {i}/4" for i in range(1, 5)]
    assert list(tuned.checks) == [2, 4]
    assert 0 < task.validation.sum() < VIDEOS / 2
    lines, again, second = tune(task)
    assert not any(line.startswith("iteration") for line in lines)
    assert again.checks == tuned.checks
    assert all(np.array_equal(first[name], second[name]) for name in first)
    task.checkpoints.clear()
    assert task.checkpoints.last() is None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("settings", lambda task: {"seed": 8}),
        ("settings", lambda task: {"settings": task.settings.model_copy(update={"patience": 1})}),
        ("videos", lambda task: {"contents": [*task.contents[1:], "new"]}),
        ("videos", lambda task: {"targets": videos(seed=1)[2]}),
        ("first joint model", lambda task: {"initial_version": "another"}),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_by_name(task, name, change):
    from scipy.sparse import csr_array

    task.checkpoints.save(state())
    other = change(task)
    if "targets" in other:  # a label of one video is another
        label = task.targets.labels[0].toarray()
        label[0] = 1 - label[0]
        labels = (csr_array(label), *task.targets.labels[1:])
        other = {"targets": replace(task.targets, labels=labels)}
    with pytest.raises(EncoderError, match=f"a checkpoint of other {name}"):
        fine_tune_encoders(replace(task, **other), lambda line: None, no_spark)


def state():
    import torch

    from producers.content.training_state import TrainingState

    return TrainingState(1, {"model.w": torch.zeros(1)}, np.zeros((1, 3), np.float32), {})


def test_tensorboard_reads_the_curves(task):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, tuned, _ = tune(task)
    curves = EventAccumulator(str(task.folder / "tensorboard"))
    curves.Reload()
    for k, name in enumerate(("primary", "secondary", "tags")):
        points = curves.Scalars(f"loss/{name}")
        assert [point.step for point in points] == [1, 2, 3, 4]
        np.testing.assert_array_equal([p.value for p in points], tuned.losses[:, k])
    assert [p.step for p in curves.Scalars("loss/validation")] == [2, 4]


def test_without_tensorboard_training_says_so_and_goes_on(task, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    lines, _, _ = tune(task)
    assert lines[0] == "no file for TensorBoard: pip install 'vidtopics[tensorboard]'"
    assert lines[-1].startswith("iteration 4/4")
    assert not (task.folder / "tensorboard").exists()


def test_the_curves_of_an_iteration():
    facts = StepFacts(2, 4, (1.0, 2.0, 3.0), 5.5, 40.0, "CPU")
    assert scalars(facts) == {
        "loss/primary": 1.0,
        "loss/secondary": 2.0,
        "loss/tags": 3.0,
        "loss/validation": 5.5,
        "videos_per_second": 40.0,
    }
    assert "loss/validation" not in scalars(replace(facts, validation_loss=None))


@pytest.mark.slow
def test_two_processes_of_sparks_distributor_train_as_one(task, tmp_path):
    from vidtopics.jobs.session import session

    _, alone, _ = tune(task)
    content = task.settings.model_copy(update={"processes": 2})
    together = replace(task, settings=content, folder=tmp_path / "together")
    lines: list[str] = []

    def start_spark():
        return session("vidtopics")

    *_, tuned = fine_tune_encoders(together, lines.append, start_spark)
    assert [line.split(":")[0] for line in lines if "iteration" in line] == [
        f"iteration {i}/4" for i in range(1, 5)
    ]
    # The first batch before any step of Adam, which turns rounding into steps of its own.
    np.testing.assert_allclose(tuned.losses[0], alone.losses[0], rtol=1e-6)
    np.testing.assert_allclose(tuned.losses, alone.losses, rtol=1e-2)
    assert together.checkpoints.last().step == 4
    broken = replace(together, covers=[Unreadable()] * VIDEOS, folder=tmp_path / "broken")
    with pytest.raises(MachineError, match="fine-tuning in 2 processes: expected processes that"):
        fine_tune_encoders(broken, lines.append, start_spark)
    refused = replace(together, seed=8)
    with pytest.raises(EncoderError, match="a checkpoint of other settings"):
        fine_tune_encoders(refused, lines.append, start_spark)


class Unreadable:
    """No bytes: decoding dies of it in the other process."""
