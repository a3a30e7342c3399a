"""Executors that die, and tasks that fail, change no byte of K-means and of encodings."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyspark
import pytest

sys.path.append(str(Path(__file__).parents[1] / "content"))
from tiny_encoders import weights_on_disk, write_delivery

from spark_jobs import video_content_encoding
from spark_jobs.video_content_encoding import JOB
from vidtopics.contracts import VIDEO_CONTENT_ENCODING
from vidtopics.ingest import Source, ingest
from vidtopics.jobs.job import Run
from vidtopics.settings import parse
from vidtopics.tables import Tables
from vidtopics.times import micros

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

AT = micros(datetime(2026, 2, 1, tzinfo=UTC))


def test_killed_executors_and_repeated_tasks_change_nothing(tmp_path, monkeypatch):
    content = weights_on_disk(tmp_path, ["red", "night"])
    settings = parse({"content": content.model_dump()}, where="test")
    write_delivery(tmp_path / "delivery", 20)
    local, remote = (Tables(tmp_path / name) for name in ("local", "remote"))
    for tables in (local, remote):
        ingest(tables, Source("folder", tmp_path / "delivery"), settings.ingest)
    monkeypatch.setattr(video_content_encoding, "PART_ROWS", 8)
    JOB.run(Run.backfill(local, settings, AT))
    # A local cluster's workers write below SPARK_HOME.
    for place in ("spark", "conf", "signs"):
        (tmp_path / place).mkdir()
    for part in Path(pyspark.__file__).parent.iterdir():
        (tmp_path / "spark" / part.name).symlink_to(part)
    (tmp_path / "conf" / "spark-defaults.conf").write_text("spark.executor.memory 1024m\n")
    done = subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("disturbed_executors.py"),
            tmp_path / "signs",
            remote.home,
            settings.model_dump_json(),
            str(AT),
        ],
        env=os.environ
        | {
            "SPARK_MASTER": "local-cluster[2,1,1024]",
            "SPARK_HOME": str(tmp_path / "spark"),
            "SPARK_CONF_DIR": str(tmp_path / "conf"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome == {"equal": [True] * 4, "steps": outcome["steps"], "rows": 20}
    assert outcome["steps"] >= 3
    signs = {path.name for path in (tmp_path / "signs").iterdir()}
    assert {"worker killed", "executor killed", "task failed", "encoder killed"} <= signs
    rows, others = (
        tables.read(VIDEO_CONTENT_ENCODING).sort_by("content_hash") for tables in (local, remote)
    )
    assert others.equals(rows)
