"""Encoding on executors: the bytes and commits of one process, and every cover its own problem."""

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.append(str(Path(__file__).parents[1] / "content"))
from tiny_encoders import weights_on_disk, write_delivery

from producers.content import weights
from spark_jobs import video_content_encoding
from spark_jobs.video_content_encoding import JOB
from vidtopics.contracts import VIDEO_CONTENT_ENCODING
from vidtopics.errors import EncoderError, MachineError
from vidtopics.ingest import Source, ingest
from vidtopics.jobs import executor_encoding
from vidtopics.jobs.job import Run
from vidtopics.settings import parse
from vidtopics.tables import Tables
from vidtopics.times import micros

VIDEOS, PART = 20, 8
AT = micros(datetime(2026, 2, 1, tzinfo=UTC))


@pytest.fixture
def settings(tmp_path):
    content = weights_on_disk(tmp_path, ["red", "night"])
    return parse({"content": content.model_dump()}, where="test")


@pytest.fixture
def delivery(tmp_path, monkeypatch):
    monkeypatch.setattr(video_content_encoding, "PART_ROWS", PART)
    write_delivery(tmp_path / "delivery", VIDEOS)
    return tmp_path / "delivery"


def home_of(delivery, settings, name):
    tables = Tables(delivery.parent / name)
    ingest(tables, Source("folder", delivery), settings.ingest)
    return Run.backfill(tables, settings, AT)


def rows(run):
    return run.tables.read(VIDEO_CONTENT_ENCODING).sort_by("content_hash")


def on_spark(run):
    return replace(run, on_spark=True)


def test_rows_and_commits_are_those_of_one_process(settings, delivery):
    local, remote = (home_of(delivery, settings, name) for name in ("local", "remote"))
    (delivery / "covers" / "3.png").unlink()
    (delivery / "covers" / "4.png").write_bytes(b"poison")
    (delivery / "covers" / "5.png").write_bytes((delivery / "covers" / "5.png").read_bytes()[:99])
    JOB.run(local)
    done = JOB.run(on_spark(remote))
    assert rows(remote).equals(rows(local))
    assert rows(remote)["has_image"].to_pylist().count(False) == 3
    left_out = "3 of 20 new covers: missing 1, truncated 1, unreadable 1"
    assert [JOB.last(run).facts["left_out"] for run in (local, remote)] == [left_out, left_out]
    keys, others = (
        [c.skip_key for c in run.tables.commits(VIDEO_CONTENT_ENCODING)] for run in (local, remote)
    )
    assert keys == others
    assert (len(keys), done.rows) == (3, VIDEOS)
    assert JOB.run(on_spark(remote)).skipped


def test_parts_that_were_published_stay_when_a_later_one_fails(settings, delivery, monkeypatch):
    whole, run = (home_of(delivery, settings, name) for name in ("whole", "run"))
    JOB.run(whole)
    real, calls = executor_encoding._encode_remotely, []

    def fail_third(context, task, part):
        calls.append(len(part))
        if len(part) == VIDEOS % PART:
            raise MachineError("a machine is gone")
        return real(context, task, part)

    monkeypatch.setattr(executor_encoding, "_encode_remotely", fail_third)
    with pytest.raises(MachineError, match="a machine is gone"):
        JOB.run(on_spark(run))
    assert len(rows(run)) == 2 * PART
    monkeypatch.setattr(executor_encoding, "_encode_remotely", real)
    assert JOB.run(on_spark(run)).rows == VIDEOS - 2 * PART
    assert rows(run).equals(rows(whole))


def test_covers_that_executors_alone_miss_are_an_error(settings, delivery, monkeypatch):
    run = home_of(delivery, settings, "home")
    task = executor_encoding.encode_part

    def elsewhere(of, columns):
        return task(of, ([f"/of another machine{path}" for path in columns[0]], columns[1]))

    monkeypatch.setattr(executor_encoding, "encode_part", elsewhere)
    with pytest.raises(MachineError, match=r"cover .*\.png: expected executors that read covers"):
        JOB.run(on_spark(run))
    assert len(rows(run)) == 0


def test_weights_that_changed_on_the_way_are_refused(settings, tmp_path, monkeypatch):
    content = settings.content
    task = executor_encoding.Task(weights.encoder_identity(content), content, "a", "w", 10**6)
    for name, file in (("image/w", "image.safetensors"), ("title", "title")):
        (tmp_path / "files" / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / "a" / name).symlink_to(tmp_path / file)
    monkeypatch.setattr("pyspark.SparkFiles.get", lambda name: str(tmp_path / "files" / name))
    received = executor_encoding._received(task)
    assert received.title_encoder.weights == str(tmp_path / "files" / "a" / "title")
    (tmp_path / "image.safetensors").write_bytes(b"other")
    with pytest.raises(EncoderError, match=r"encoders on an executor.*expected test_efficientnet@"):
        executor_encoding._received(task)


def test_a_task_computes_on_the_gpu_that_it_was_assigned(monkeypatch):
    def assign(resources):
        context = SimpleNamespace(resources=lambda: resources)
        monkeypatch.setattr("pyspark.TaskContext.get", lambda: context)

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assign({"gpu": SimpleNamespace(name="gpu", addresses=["3"])})
    assert executor_encoding.task_device() == "cuda:3"
    assign({})
    assert executor_encoding.task_device() == "cpu"
