"""Vectors of large catalogues: in scratch files and in parts, with the same result."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_home import T1, T2

from producers.tags import pooling
from producers.topics import carrying, products
from spark_jobs import video_joint_representation, video_topics
from vidtopics import files
from vidtopics.contracts import (
    INPUTS,
    TOPICS,
    VIDEO_CONTENT_ENCODING,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAG_EMBEDDING,
    VIDEO_TOPICS,
)
from vidtopics.files import empty_rows
from vidtopics.jobs import topic_blocks
from vidtopics.jobs.encodings import gather_vectors
from vidtopics.jobs.inputs import lists
from vidtopics.jobs.pipeline import find, train_topics
from vidtopics.tables.row_groups import RowGroup

WIDTH = 3


@pytest.fixture
def in_files(monkeypatch):
    """Every array lies in a file, every part has few rows."""
    monkeypatch.setattr(files, "LEAST_MAPPED", 1)
    monkeypatch.setattr(topic_blocks, "PART_ROWS", 7)
    monkeypatch.setattr(video_joint_representation, "PART_ROWS", 7)
    monkeypatch.setattr(pooling, "ROWS", 5)
    monkeypatch.setattr(products, "CHUNK_ELEMENTS", 64)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """24 rows in three files of two row groups, and their vectors."""
    folder = tmp_path_factory.mktemp("stored")
    values = np.arange(24 * WIDTH, dtype=np.float32).reshape(24, WIDTH)
    for part in range(3):
        rows = values[8 * part : 8 * part + 8]
        table = pa.table({"image": lists(rows), "title": lists(-rows[:, :1])})
        pq.write_table(table, folder / f"{part}.parquet", row_group_size=4)
    return ds.dataset(folder), values


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 23), max_size=30), st.booleans())
def test_rows_in_any_order_are_gathered(stored, tmp_path_factory, numbers, in_file):
    dataset, values = stored
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "LEAST_MAPPED", 1 if in_file else 2**28)
        image, title = gather_vectors(
            dataset,
            np.array(numbers, np.int64),
            ("image", "title"),
            tmp_path_factory.getbasetemp(),
        )
    if numbers:
        assert isinstance(image, np.memmap) == in_file
        assert np.array_equal(image, values[numbers])
        assert np.array_equal(title, -values[numbers, :1])
    else:
        assert image.shape == title.shape == (0, 0)


def test_row_groups_without_a_row_are_not_read(stored, tmp_path, monkeypatch):
    dataset, _ = stored
    read, batches = [], RowGroup.batches

    def noted(group, *arguments):
        read.append(group.first_row)
        return batches(group, *arguments)

    monkeypatch.setattr(RowGroup, "batches", noted)
    gather_vectors(dataset, np.array([21, 5, 6]), ("title",), tmp_path)
    assert read == [4, 20]


def test_a_scratch_file_has_no_name_and_dies_with_its_process(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from vidtopics import files\n"
        "files.LEAST_MAPPED = 1\n"
        "rows = files.empty_rows(Path(sys.argv[1]), 1000, 8); rows[:] = 1\n"
        "assert not os.listdir(sys.argv[1]), os.listdir(sys.argv[1])\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch, in_files):
    def refuse(*of):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match="No space left") as full:
        empty_rows(tmp_path, 4, 4)
    assert full.value.filename == str(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_training_over_files_gives_the_same_version(home, fork, in_files):
    """The first training, and one that goes on from it."""
    again = fork([*INPUTS, VIDEO_CONTENT_ENCODING], models=False)
    for at in (T1, T2):
        train_topics(again.at(at))
        version, expected = again.at(at).model.version, home.at(at).model.version
        assert version.weights == expected.weights
        assert version.numbers == expected.numbers
        assert version.evaluation == expected.evaluation
        assert again.at(at).model.topics.equals(home.at(at).model.topics)


def test_the_joint_job_over_files_publishes_the_same_rows(home, fork, in_files):
    again = fork([*INPUTS, VIDEO_CONTENT_ENCODING, TOPICS])
    [job] = find([VIDEO_JOINT_REPRESENTATION.name])
    job.run(again.at(T1))
    published, expected = (h.rows(VIDEO_JOINT_REPRESENTATION, T1) for h in (again, home))
    assert [row["joint_embedding"] for row in published] == [
        row["joint_embedding"] for row in expected
    ]
    assert [row["value_hash"] for row in published] == [row["value_hash"] for row in expected]
    assert not list(again.tables.home.glob(".joint-*"))


def test_topics_in_parts_are_the_same_rows(home, fork, in_files, monkeypatch):
    """All videos anew, seven at a time, as where there is no last result."""
    held, assigned = [], video_topics.assigned

    def noted(model, blocks):
        held.append(len(blocks.joint))
        return assigned(model, blocks)

    monkeypatch.setattr(video_topics, "assigned", noted)
    again = fork([TOPICS, VIDEO_TAG_EMBEDDING, VIDEO_JOINT_REPRESENTATION])
    [job] = find([VIDEO_TOPICS.name])
    job.run(again.at(T1))
    published, expected = (h.rows(VIDEO_TOPICS, T1) for h in (again, home))
    assert [without_times(row) for row in published] == [without_times(row) for row in expected]
    assert sum(held) == len(published)
    assert set(held[:-1]) == {7}


def without_times(row):
    return {name: value for name, value in row.items() if not name.endswith("timestamp")}


def test_topics_are_carried_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(40, 4)).astype(np.float32)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    first = rng.integers(1, 4, 40)
    none = np.empty(0, np.int64)
    old = carrying.Topics(
        np.arange(1, 4),
        np.eye(4, dtype=np.float32)[:3],
        np.ones(3, int),
        np.ones(3, np.float32),
        np.zeros(3, int),
        none,
        none,
        4,
        1,
        1,
    )
    whole = carrying.carry_topics(old, a, first)
    monkeypatch.setattr(products, "CHUNK_ELEMENTS", 12)
    parts = carrying.carry_topics(old, a, first)
    assert np.allclose(whole.centroids, parts.centroids, atol=1e-7)
    assert whole.sizes.tolist() == parts.sizes.tolist()
