"""Saved models: whole or absent, named by the hash of their bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from producers.content.joint_model import JointModel, JointShape
from producers.content.weights import file_hash
from vidtopics.errors import EncoderError
from vidtopics.jobs.model_files import load_model, model_file, save_model

METADATA = {"projection_width": 3, "classes": [["a", "ü"], []]}


def saved(directory: Path) -> tuple[str, dict[str, torch.Tensor]]:
    tensors = {"b": torch.arange(6.0).view(2, 3).T, "a": torch.tensor([1, 2])}
    return save_model(directory, tensors, METADATA), tensors


def test_model_comes_back_as_it_went(tmp_path: Path) -> None:
    version, tensors = saved(tmp_path / "models")
    state, metadata = load_model(tmp_path / "models", version)
    assert metadata == METADATA
    assert state.keys() == tensors.keys()
    assert all(torch.equal(state[k], tensors[k]) for k in tensors)


def test_a_joint_model_represents_as_before_it_was_saved(tmp_path: Path) -> None:
    shape = JointShape(
        image_width=4,
        title_width=3,
        projection_width=2,
        experts=2,
        expert_width=2,
        tower_width=2,
        classes=(("a",), ("b", "ü"), ("c",)),
    )
    model = JointModel(shape).eval()
    restored = JointModel.restore(
        *load_model(tmp_path, save_model(tmp_path, model.state_dict(), vars(shape)))
    )
    inputs = (
        torch.randn(5, 4),
        torch.randn(5, 3),
        torch.ones(5, dtype=torch.bool),
        torch.ones(5, dtype=torch.bool),
    )
    assert restored.shape == shape
    assert torch.equal(restored.represent(*inputs), model.represent(*inputs))


def test_version_is_the_content_and_nothing_half_written_stays(tmp_path: Path) -> None:
    version, tensors = saved(tmp_path)
    assert version == saved(tmp_path)[0] == file_hash(model_file(tmp_path, version))
    assert save_model(tmp_path, tensors, {**METADATA, "projection_width": 4}) != version
    assert {f.suffix for f in tmp_path.iterdir()} == {".safetensors"}


def test_a_crash_before_the_rename_leaves_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", crash)
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("position", [0, 8, -1])
def test_a_tampered_file_is_refused(tmp_path: Path, position: int) -> None:
    version, _ = saved(tmp_path)
    data = bytearray(model_file(tmp_path, version).read_bytes())
    data[position] ^= 1
    model_file(tmp_path, version).write_bytes(data)
    with pytest.raises(EncoderError, match=f"expected bytes of SHA-256 {version[:16]}, found"):
        load_model(tmp_path, version)


def test_an_absent_version_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="expected a saved joint model, found No such file"):
        load_model(tmp_path, "0" * 64)
