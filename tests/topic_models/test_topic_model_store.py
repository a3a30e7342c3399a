"""Topic model versions: whole or absent, as they were saved, and in force by time and release."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vidtopics.errors import TableError
from vidtopics.failpoints import Crash, armed
from vidtopics.tables.releases import TOPIC_MODEL, Release
from vidtopics.topic_models import TopicModel, Version, encoders, in_force, load, save, versions


def model(as_of_us: int = 10, **changes: object) -> TopicModel:
    """A model with one of each kind of value."""
    version = Version(
        as_of_us=as_of_us,
        created_us=as_of_us + 1,
        trained_us=1_000,
        live=False,
        previous=0,
        key="k",
        encoder="net@1",
        comparable="c",
        settings={"topics": {"clusters": 2}, "seed": 7},
        epoch=1,
        next_topic_id=3,
        shape={"projection_width": 2, "classes": [["a", "ü"], []]},
        numbers={"threshold": 0.1 + 0.2},
        evaluation={"loss_primary": 1.5, "curve": [[1.0, 0.5]]},
        left_out=["nothing learned"],
    )
    return TopicModel(
        replace(version, **changes),
        {"w": np.arange(6, dtype=np.float32).reshape(2, 3).T},  # not in C order
        {"tag_mean": np.array([0.5, -0.5], np.float32)},
        pa.table(
            {"tag": ["ü", "b"], "tag_vector": pa.array([[1.0], [2.0]], pa.list_(pa.float32()))}
        ),
        pa.table({"topic_id": [1, 2], "label_terms": [["x"], []]}),
    )


def test_a_version_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = save(tmp_path, model())
    again = load(tmp_path, 1)
    assert (saved.number, again.version) == (1, saved)
    assert again.version == replace(model().version, number=1, files=saved.files)
    np.testing.assert_array_equal(again.joint["w"], model().joint["w"])
    np.testing.assert_array_equal(again.arrays["tag_mean"], model().arrays["tag_mean"])
    assert again.tags.equals(model().tags)
    assert again.topics.equals(model().topics)
    assert save(tmp_path, model()).number == 2
    assert [version.number for version in versions(tmp_path)] == [1, 2]


@pytest.mark.parametrize("point", ["model.files", "model.manifest"])
def test_a_kill_leaves_no_version_and_the_next_one_has_its_number(
    tmp_path: Path, point: str
) -> None:
    save(tmp_path, model())
    script = "from test_topic_model_store import *; save(Path(sys.argv[1]), model())"
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=os.environ | {"VIDTOPICS_FAILPOINT": point, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert [version.number for version in versions(tmp_path)] == [1]
    assert save(tmp_path, model()).number == 2
    assert sorted(p.name for p in (tmp_path / "models" / "topics").iterdir()) == ["1", "2"]


@pytest.mark.parametrize("name", ["joint.safetensors", "arrays.safetensors", "tags.arrow"])
def test_a_changed_or_absent_file_is_named(tmp_path: Path, name: str) -> None:
    file = tmp_path / "models" / "topics" / str(save(tmp_path, model()).number) / name
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(TableError, match=rf"{name}: expected bytes of SHA-256 \w+, found \w+\. "):
        load(tmp_path, 1)
    file.unlink()
    with pytest.raises(TableError, match=r"found no such file\. Mend: restore the folder"):
        load(tmp_path, 1)


def test_a_version_that_is_not_there_and_a_broken_manifest_are_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="expected a topic model version; there are none"):
        load(tmp_path, 3)
    save(tmp_path, model())
    with pytest.raises(TableError, match="there are 1, found no such"):
        load(tmp_path, 3)
    (tmp_path / "models" / "topics" / "1" / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(TableError, match=r"manifest\.json: expected a manifest"):
        versions(tmp_path)


def test_encoders_that_were_trained_lie_in_the_version(tmp_path: Path) -> None:
    plain = save(tmp_path, model())
    assert encoders(tmp_path, plain) is None

    def write(folder: Path) -> None:
        (folder / "image.safetensors").write_bytes(b"weights")

    version = save(tmp_path, model(), write)
    folder = encoders(tmp_path, version)
    assert folder is not None
    assert (folder / "image.safetensors").read_bytes() == b"weights"
    (folder / "image.safetensors").write_bytes(b"other")
    with pytest.raises(TableError, match=r"image\.safetensors: expected bytes of SHA-256"):
        encoders(tmp_path, version)


def test_a_crash_while_encoders_are_written_leaves_no_version(tmp_path: Path) -> None:
    with armed("model.files"), pytest.raises(Crash):
        save(tmp_path, model(), lambda folder: None)
    assert versions(tmp_path) == []


def number(version: Version | None) -> int:
    return version.number if version else 0


def test_the_latest_version_of_the_as_of_time_is_in_force(tmp_path: Path) -> None:
    assert in_force(tmp_path, as_of_us=99) is None
    for as_of_us in (10, 30, 20, 20):
        save(tmp_path, model(as_of_us))
    chosen = [number(in_force(tmp_path, as_of_us=at)) for at in (9, 10, 19, 20, 29, 30, 99)]
    assert chosen == [0, 1, 1, 4, 4, 2, 2]
    known = [number(in_force(tmp_path, as_of_us=99, known_by_us=at)) for at in (10, 11, 21, 31)]
    assert known == [0, 1, 4, 2]


def release(number: int, state: str, model_number: int, at: int = 0) -> Release:
    return Release(number, state, 0, at, {}, quality={TOPIC_MODEL: model_number})


def test_a_rollback_takes_back_versions_until_another_is_trained(tmp_path: Path) -> None:
    for as_of_us in (10, 20, 30):  # the third was trained and never released
        save(tmp_path, model(as_of_us))
    log = [release(1, "released", 1), release(2, "released", 2)]
    assert number(in_force(tmp_path, as_of_us=99, releases=log)) == 3
    log += [release(2, "rolled_back", 2, at=2_000), release(3, "released", 1)]
    assert number(in_force(tmp_path, as_of_us=99, releases=log)) == 1
    save(tmp_path, model(40, trained_us=3_000))
    assert number(in_force(tmp_path, as_of_us=99, releases=log)) == 4
