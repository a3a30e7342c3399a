"""Encoding commits as it goes: a run killed with SIGKILL keeps the parts that it published."""

import os
import signal
import subprocess
import sys
import weakref
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from tiny_encoders import weights_on_disk, write_delivery

from spark_jobs import video_content_encoding
from spark_jobs.video_content_encoding import JOB
from vidtopics.contracts import VIDEO_CONTENT_ENCODING
from vidtopics.failpoints import VARIABLE
from vidtopics.ingest import Source, ingest
from vidtopics.jobs.job import Run
from vidtopics.settings import Settings, parse
from vidtopics.tables import Tables
from vidtopics.times import micros

VIDEOS, PART = 20, 8
AT, LATER = (micros(datetime(2026, 2, day, tzinfo=UTC)) for day in (1, 2))
KILLED = """
import sys
from spark_jobs import video_content_encoding as job
from vidtopics.jobs.job import Run
from vidtopics.settings import parse
from vidtopics.tables import Tables
job.PART_ROWS = int(sys.argv[3])
settings = parse(__import__("json").loads(sys.argv[2]), where="test")
job.JOB.run(Run.backfill(Tables(sys.argv[1]), settings, int(sys.argv[4])))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    content = weights_on_disk(tmp_path, ["red", "night"])
    return parse({"content": content.model_dump()}, where="test")


@pytest.fixture
def home(tmp_path: Path, settings: Settings) -> Tables:
    write_delivery(tmp_path / "delivery", VIDEOS)
    tables = Tables(tmp_path / "home")
    ingest(tables, Source("folder", tmp_path / "delivery"), settings.ingest)
    return tables


def run(home: Tables, settings: Settings) -> Run:
    return Run.backfill(home, settings, AT)


def rows(home: Tables) -> pa.Table:
    return home.read(VIDEO_CONTENT_ENCODING).sort_by("content_hash")


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """How many contents each call of the encoders from now on is about."""
    from producers.content import encoding

    calls, real, outputs = [], encoding.encode, []

    def encode(image_encoder, title_encoder, covers, titles, **options):
        calls.append(len(titles))
        assert sum(output() is not None for output in outputs) <= 1  # the last part's alone
        made = real(image_encoder, title_encoder, covers, titles, **options)
        outputs.append(weakref.ref(made))
        return made

    monkeypatch.setattr(encoding, "encode", encode)
    monkeypatch.setattr(video_content_encoding, "PART_ROWS", PART)
    return calls


def test_a_killed_run_keeps_the_part_that_it_published(home, settings, encoded, tmp_path):
    undisturbed = Tables(tmp_path / "undisturbed")
    ingest(undisturbed, Source("folder", tmp_path / "delivery"), settings.ingest)
    JOB.run(run(undisturbed, settings))
    assert encoded == [8, 8, 4]
    encoded.clear()
    tree = settings.model_dump_json()
    died = subprocess.run(
        [sys.executable, "-c", KILLED, home.home, tree, str(PART), str(AT)],
        env=os.environ | {VARIABLE: "publish.committed"},
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert len(home.read(VIDEO_CONTENT_ENCODING)) == PART

    done = JOB.run(run(home, settings))
    assert not done.skipped
    assert (done.rows, sum(encoded)) == (VIDEOS - PART, VIDEOS - PART)
    times = ["event_timestamp", "created_timestamp"]
    assert rows(home).equals(rows(undisturbed)), rows(home).drop_columns(times)
    assert JOB.run(run(home, settings)).skipped


def test_each_part_is_published_before_the_next_is_encoded(
    home, settings, encoded, monkeypatch, tmp_path
):
    (tmp_path / "delivery" / "covers" / "3.png").unlink()
    published = []
    publish = Tables.publish

    def spy(self, table, part, commit, **options):
        published.append((len(encoded), len(part)))
        return publish(self, table, part, commit, **options)

    monkeypatch.setattr(Tables, "publish", spy)
    done = JOB.run(run(home, settings))
    assert published == [(1, 8), (2, 8), (3, 4)]
    assert done.rows == VIDEOS
    last = JOB.last(run(home, settings))
    assert last.version == done.version
    assert last.facts["left_out"] == "1 of 20 new covers: missing 1"


def test_nothing_new_loads_no_encoder(home, settings, encoded, monkeypatch):
    JOB.run(run(home, settings))
    monkeypatch.setattr("producers.content.weights.load_image_encoder", None)
    later = Run.backfill(home, settings, LATER)
    done = JOB.run(later)
    assert (done.rows, done.skipped) == (0, False)
