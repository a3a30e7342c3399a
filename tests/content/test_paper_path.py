"""The paper's path from end to end on tiny encoders: fine-tune, encode, cluster, assign."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tiny_encoders import weights_on_disk, write_delivery

from producers.content.weights import encoder_identity
from vidtopics.contracts import VIDEO_CONTENT_ENCODING, VIDEO_TOPICS
from vidtopics.failpoints import Crash, armed
from vidtopics.ingest import Source, ingest
from vidtopics.jobs.fine_tuning import training_folder
from vidtopics.jobs.job import Run
from vidtopics.jobs.pipeline import find, run_jobs, train_topics
from vidtopics.settings import parse
from vidtopics.tables import Tables
from vidtopics.times import micros
from vidtopics.topic_models import load

VIDEOS = 24
TOPICS = "video_topics"
AT = micros(datetime(2026, 2, 1, tzinfo=UTC))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    content = weights_on_disk(tmp_path, ["red", "night"]).model_copy(
        update={"iterations": 6, "warm_iterations": 3, "batch_size": 12, "holdout_share": 0.2}
    )
    tree = {
        "content": content.model_dump(),
        "tags": {"dimensions": 4, "walk_length": 5, "min_videos": 1},
        "topics": {"clusters": 3},
    }
    settings = parse(tree, where="test")
    write_delivery(tmp_path / "delivery", VIDEOS)
    tables = Tables(tmp_path / "home")
    ingest(tables, Source("folder", tmp_path / "delivery"), settings.ingest)
    return Run.backfill(tables, settings, AT)


def encodings(run: Run, encoder: str) -> list[dict]:
    rows = run.tables.read(VIDEO_CONTENT_ENCODING).to_pylist()
    return [row for row in rows if row["encoder"] == encoder]


def test_trained_encoders_go_into_the_version_and_encode_what_comes_later(run, tmp_path):
    """Topics come from encoders that learned; a later run encodes new videos with the same."""
    lines: list[str] = []
    version = train_topics(replace(run, progress=lines.append)).version
    base = encoder_identity(run.settings.content)
    assert version.encoder != base
    assert {"encoders/image_encoder.safetensors", "encoders/title_encoder/model.safetensors"} <= {
        *version.files
    }
    assert [line.split(":")[0] for line in lines if line.startswith("iteration")] == [
        f"iteration {i}/6" for i in range(1, 7)
    ]
    assert version.evaluation["iterations"] == 6
    assert version.evaluation["loss_primary"] >= 0
    assert not (training_folder(run.tables.home) / "checkpoints").exists()
    assert (len(encodings(run, base)), len(encodings(run, version.encoder))) == (0, VIDEOS)
    assert not train_topics(run).is_new

    run_jobs(run, find(["video_tag_embedding", "video_joint_representation", "topics", TOPICS]))
    topics = run.tables.as_of(VIDEO_TOPICS, AT)
    assert len(topics) == VIDEOS

    write_delivery(tmp_path / "second", VIDEOS + 2)
    ingest(run.tables, Source("folder", tmp_path / "second"), run.settings.ingest)
    later = Run.now(run.tables, run.settings)
    run_jobs(later, find(["video_content_encoding"]))
    assert (len(encodings(run, base)), len(encodings(run, version.encoder))) == (0, VIDEOS + 2)


def test_a_training_that_dies_before_its_version_is_whole_ends_with_the_same(run, tmp_path):
    """The encodings that it published are those of the encoders that come out again."""
    with armed("model.files"), pytest.raises(Crash):
        train_topics(run)
    published = run.tables.read(VIDEO_CONTENT_ENCODING)
    version = train_topics(run).version
    assert run.tables.read(VIDEO_CONTENT_ENCODING).equals(published)
    assert {row["encoder"] for row in published.to_pylist()} == {version.encoder}
    assert load(run.tables.home, version.number).version == version
