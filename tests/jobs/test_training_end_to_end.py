"""The whole path with encoders that are trained too: a version carries them, runs use them."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
import pytest

sys.path.append(str(Path(__file__).parents[1] / "content"))
from tiny_encoders import weights_on_disk, write_delivery

from vidtopics import topic_models
from vidtopics.contracts import TOPICS, VIDEO_CONTENT_ENCODING, VIDEO_TOPICS
from vidtopics.ingest import Source, ingest
from vidtopics.jobs.job import Run
from vidtopics.jobs.pipeline import find, run_jobs, train_topics
from vidtopics.settings import parse
from vidtopics.tables import Tables
from vidtopics.times import micros
from vidtopics.topic_models.model import JOINT

AT = micros(datetime(2026, 2, 1, tzinfo=UTC))
VIDEOS = 20


@pytest.fixture
def run(tmp_path: Path) -> Run:
    content = weights_on_disk(tmp_path, ["red", "night"]).model_dump()
    content |= {"iterations": 3, "batch_size": 8, "patience": 0, "holdout_share": 0.2}
    tree = {"content": content, "tags": {"dimensions": 4}, "topics": {"clusters": 2}}
    settings = parse(tree, where="test")
    write_delivery(tmp_path / "delivery", VIDEOS)
    tables = Tables(tmp_path / "home")
    ingest(tables, Source("folder", tmp_path / "delivery"), settings.ingest)
    return Run.backfill(tables, settings, AT)


def test_a_version_carries_the_encoders_that_were_trained_and_runs_encode_with_them(
    run: Run, tmp_path: Path
) -> None:
    decision = run_jobs(run, find([]))
    assert decision is not None
    assert decision.state == "released"
    [version] = topic_models.versions(run.tables.home)
    folder = topic_models.encoders(run.tables.home, version)
    assert folder is not None
    left = {path.name for path in (run.tables.home / "models" / "training").iterdir()}
    assert left <= {"tensorboard"}
    encoded = run.tables.read(VIDEO_CONTENT_ENCODING)
    assert pc.unique(encoded["encoder"]).to_pylist() == [version.encoder]
    assert len(encoded) == VIDEOS
    assert len(run.read(VIDEO_TOPICS)) == VIDEOS
    assert len(run.read(TOPICS)) >= 1

    # What the settings name now is none of a run's business: the version has its own weights.
    (tmp_path / "image.safetensors").unlink()
    write_delivery(tmp_path / "more", VIDEOS + 2)
    ingest(run.tables, Source("folder", tmp_path / "more"), run.settings.ingest)
    later = replace(run, as_of_us=AT + 86_400_000_000)
    run_jobs(later, find([]))
    encoded = run.tables.read(VIDEO_CONTENT_ENCODING)
    assert pc.unique(encoded["encoder"]).to_pylist() == [version.encoder]
    assert len(encoded) == VIDEOS + 2
    assert len(later.read(VIDEO_TOPICS)) == VIDEOS + 2


def test_a_second_training_keeps_space_and_encoders_and_encodes_what_is_new(
    run: Run, tmp_path: Path
) -> None:
    first = train_topics(run).version
    write_delivery(tmp_path / "more", VIDEOS + 2)
    ingest(run.tables, Source("folder", tmp_path / "more"), run.settings.ingest)
    later = replace(run, as_of_us=AT + 86_400_000_000)
    second = train_topics(later).version
    assert (second.number, second.previous, second.epoch) == (2, first.number, first.epoch)
    assert (second.encoder, second.comparable) == (first.encoder, first.comparable)
    learned = [{n: h for n, h in v.files.items() if "encoders/" in n} for v in (first, second)]
    assert learned[0] == learned[1] != {}
    assert second.files[JOINT] == first.files[JOINT]
    old, new = (topic_models.load(run.tables.home, v.number) for v in (first, second))
    assert old.arrays["tag_mean"].tolist() == new.arrays["tag_mean"].tolist()
    encoded = run.tables.commits(VIDEO_CONTENT_ENCODING)
    assert [commit.rows for commit in encoded] == [VIDEOS, 2]
    run_jobs(later, find([]))
    assert sum(commit.rows for commit in run.tables.commits(VIDEO_CONTENT_ENCODING)) == VIDEOS + 2
    assert len(later.read(VIDEO_TOPICS)) == VIDEOS + 2
