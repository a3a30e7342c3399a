"""Fine-tuning that was killed ends with the weights that it would have had, bit for bit."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_videos import encoders, gradients, saved_weights, settings, tune, weights

from producers.content.training_state import Checkpoint, TrainingState
from vidtopics.errors import EncoderError, SettingsError
from vidtopics.jobs.checkpoints import MANIFEST, TENSORS, Checkpoints

PROCESS = Path(__file__).with_name("fine_tuning_process.py")
DROPOUT = 0.3
CHANGES = {"iterations": 12, "patience": 3, "check_every": 3}
IDENTITY = {"settings": "a", "videos": "b"}


def start(folder: Path, changes: dict, *, count: int = 1, rank: int = 0, dropout=DROPOUT):
    arguments = [folder, count, rank, dropout, json.dumps(changes)]
    return subprocess.Popen(
        [sys.executable, PROCESS, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def uninterrupted(changes: dict, dropout: float) -> dict[str, np.ndarray]:
    trained, threads = encoders(dropout), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tuned = tune(trained, settings(**changes), validation=np.arange(64) % 8 == 0)
    finally:
        torch.set_num_threads(threads)
    arrays = weights(trained, tuned) | gradients(trained, tuned)
    return {"losses": tuned.losses, "checks": np.array(list(tuned.checks.values())), **arrays}


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path):
    last_line = random.Random(7).randrange(4, 11)
    process = start(tmp_path, CHANGES)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == last_line:
            process.kill()
            break
    assert process.wait() == -signal.SIGKILL
    resumed = start(tmp_path, CHANGES)
    lines, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 0
    first = int(lines.split()[0])
    assert 3 <= first <= last_line + 2  # from a checkpoint, not from the start
    assert_same(saved_weights(tmp_path / "weights-0.npz"), uninterrupted(CHANGES, DROPOUT))


def test_a_training_that_ends_at_a_checkpoint_is_taken_over_as_it_is(tmp_path):
    files, trained = Checkpoints(tmp_path / "c", IDENTITY), encoders()
    content = settings(iterations=4)
    tuned = tune(trained, content, checkpoint=Checkpoint(4, files.save))
    again, log = encoders(), []
    result = tune(
        again, content, checkpoint=Checkpoint(4, files.save, files.last()), log=log.append
    )
    assert log == []
    assert_same(weights(again, result), weights(trained, tuned))


def state(step: int = 3) -> TrainingState:
    tensors = {"model.w": torch.tensor([1 / 3, 2.0]), "model.none": torch.empty(0, 2)}
    return TrainingState(step, tensors, np.float32([[0.1, 0.2, 1 / 3]] * step), {3: 0.1})


def test_a_state_comes_back_as_it_was_and_the_newest_alone_stays(tmp_path):
    files = Checkpoints(tmp_path / "c", IDENTITY)
    assert files.last() is None
    (tmp_path / "c" / "part-00000009").mkdir(parents=True)  # of a process that died
    for step in (3, 12):
        files.save(state(step))
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["step-00000012"]
    last = files.last()
    assert last is not None
    assert (last.step, last.checks) == (12, {3: 0.1})
    assert last.losses.dtype == np.float32
    np.testing.assert_array_equal(last.losses, state(12).losses)
    assert torch.equal(last.tensors["model.w"], state().tensors["model.w"])
    assert last.tensors["model.none"].shape == (0, 2)
    files.clear()
    assert files.last() is None


@pytest.mark.parametrize("file", [TENSORS, MANIFEST, ""])
def test_a_crash_while_writing_leaves_the_checkpoint_before(tmp_path, monkeypatch, file):
    """At each sync the files are as a crash there leaves them; the rename comes after the last."""
    files = Checkpoints(tmp_path / "c", IDENTITY)
    files.save(state(3))

    def crash(path: Path) -> None:
        if path.name == (file or "part-00000012"):
            raise KeyboardInterrupt

    monkeypatch.setattr("vidtopics.jobs.checkpoints.sync", crash)
    with pytest.raises(KeyboardInterrupt):
        files.save(state(12))
    last = files.last()
    assert last is not None
    assert last.step == 3


@pytest.mark.parametrize("name", IDENTITY)
def test_a_checkpoint_of_another_training_is_refused_by_name(tmp_path, name):
    Checkpoints(tmp_path, IDENTITY).save(state())
    with pytest.raises(EncoderError, match=f"found a checkpoint of other {name}. Mend: restore"):
        Checkpoints(tmp_path, {**IDENTITY, name: "c"}).last()


@pytest.mark.parametrize(("file", "expected"), [(TENSORS, "bytes of SHA-256"), (MANIFEST, "a man")])
def test_a_damaged_checkpoint_is_refused(tmp_path, file, expected):
    files = Checkpoints(tmp_path, IDENTITY)
    files.save(state())
    (tmp_path / "step-00000003" / file).write_bytes(b"x")
    with pytest.raises(EncoderError, match=f"step-00000003: expected {expected}"):
        files.last()


def test_two_processes_have_the_gradients_of_one(tmp_path):
    """Each has a part of the batch: 15 of 30 videos, in pieces of 4, the last of 3."""
    changes = {"iterations": 1, "batch_size": 30, "piece": 4, "patience": 2, "check_every": 1}
    both = [start(tmp_path, changes, count=2, rank=rank, dropout=0.0) for rank in (0, 1)]
    for process in both:
        process.communicate(timeout=120)
    assert [process.returncode for process in both] == [0, 0]
    first, second = (saved_weights(tmp_path / f"weights-{rank}.npz") for rank in (0, 1))
    assert_same(first, second)
    alone = uninterrupted(changes, 0.0)
    assert first.keys() == alone.keys()
    compared = [name for name in alone if name.startswith(("gradient.", "losses", "checks"))]
    assert len(compared) > 50
    for name in compared:
        np.testing.assert_allclose(first[name], alone[name], atol=1e-6, rtol=1e-5, err_msg=name)


def test_more_processes_than_videos_in_a_batch_are_refused(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 33)
    with pytest.raises(SettingsError, match=r"content\.processes: expected at .* 32, found 33"):
        tune(encoders(), settings())
