"""The training set on Spark equals the streamed join, for thousands of random rows."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from released_home import DAY_US, START_US, fill

from consumers.training import join_stream
from vidtopics.contracts import EVENT_TIME, SERVICES, VIDEO_STATISTICS
from vidtopics.errors import TableError
from vidtopics.tables import Tables
from vidtopics.tables.pins import read_pins
from vidtopics.tables.schemas import TIMESTAMP

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
VIEWS = SERVICES["training_v1"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A release's statistics are read from a later version: files compacted and vacuumed."""
    feature_tables = Tables(tmp_path_factory.mktemp("training_set"))
    fill(feature_tables, 300, versions=4)
    statistics = feature_tables.delta(VIDEO_STATISTICS)
    statistics.optimize.compact()
    assert statistics.vacuum(0, dry_run=False, enforce_retention_duration=False)
    return feature_tables


def spine(n=20_000, kind=TIMESTAMP):
    rng = np.random.default_rng(9)
    at = pa.array(START_US + rng.integers(-DAY_US, 5 * DAY_US, n)).cast(kind)
    ids = [None if i == 310 else f"v{i}" for i in rng.integers(0, 311, n)]
    return pa.table(
        {"event_id": np.arange(n), "video_id": ids, EVENT_TIME: at, "clicked": rng.random(n) < 0.1}
    )


def test_a_submitted_training_set_equals_the_stream(tables, tmp_path):
    pq.write_table(spine(), tmp_path / "spine.parquet")
    shutil.copy(ROOT / "spark_jobs" / "training_set.py", tmp_path)
    command = [
        Path(sys.executable).with_name("spark-submit"),
        "--properties-file",
        ROOT / "conf" / "spark-defaults.conf",
        "--master",
        "local[2]",
        "--conf",
        "spark.sql.shuffle.partitions=2",
        "--conf",
        "spark.ui.enabled=false",
        tmp_path / "training_set.py",
        "--home",
        tables.home,
        "--spine",
        "spine.parquet",
        "--out",
        "joined",
    ]
    local = {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
    }
    plain = {
        k: v
        for k, v in os.environ.items()
        if k not in ("PYTHONPATH", "SPARK_MASTER", "SPARK_CONF_DIR", "SPARK_HOME")
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=tmp_path,
        env=plain | local,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-1_000:]
    assert "training_set: 20000 rows" in done.stdout
    delta = DeltaTable(tmp_path / "joined")
    joined = delta.to_pyarrow_table().sort_by("event_id")
    versions = tables.latest_release()["versions"]
    expected = join_stream(tables, spine().to_reader(), VIEWS, versions=versions).read_all()
    assert joined.column_names == expected.column_names
    assert joined.to_pylist() == expected.to_pylist()
    assert expected["topic_ids"].null_count not in (0, 20_000)
    pins, again = read_pins(tmp_path / "joined"), read_pins(expected)
    now = {name: replace(pin, pinned_us=0) for name, pin in pins.views.items()}
    assert now == {name: replace(pin, pinned_us=0) for name, pin in again.views.items()}


@pytest.fixture(scope="module")
def engine():
    from vidtopics.jobs.session import session

    return session("training set")


def test_times_without_a_zone_are_utc_or_refused(tables, engine, tmp_path):
    from spark_jobs.training_set import join, read

    views = [(VIDEO_STATISTICS, read(engine, tables.delta(VIDEO_STATISTICS)))]
    pq.write_table(spine(500, pa.timestamp("us")), tmp_path / "naive.parquet")
    naive = engine.read.parquet(str(tmp_path / "naive.parquet"))
    assert naive.schema[EVENT_TIME].dataType.simpleString() == "timestamp_ntz"
    joined = join(naive, views, full_feature_names=True).toArrow().sort_by("event_id")
    expected = join_stream(
        tables, spine(500).to_reader(), [VIDEO_STATISTICS], full_feature_names=True
    ).read_all()
    assert (
        joined.drop_columns(EVENT_TIME).to_pylist() == expected.drop_columns(EVENT_TIME).to_pylist()
    )
    engine.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        with pytest.raises(
            TableError,
            match="timestamp_ntz in a session whose zone is UTC, "
            "found timestamp_ntz in America/New_York",
        ):
            join(naive, views)
    finally:
        engine.conf.set("spark.sql.session.timeZone", "UTC")


def test_a_wrong_spine_is_told(tables, engine):
    from spark_jobs.training_set import join, read

    views = [(VIDEO_STATISTICS, read(engine, tables.delta(VIDEO_STATISTICS)))]
    with pytest.raises(TableError, match="expected the columns video_id"):
        join(engine.createDataFrame(spine(9).drop_columns("video_id")), views)
    with pytest.raises(TableError, match="expected each column once, found video_clicks twice"):
        join(engine.createDataFrame(spine(9).append_column("video_clicks", [range(9)])), views)
    null = engine.createDataFrame(
        pa.concat_tables([spine(9), spine(1).set_column(2, EVENT_TIME, pa.nulls(1, TIMESTAMP))])
    )
    with pytest.raises(
        Exception, match="event_timestamp: expected a time in every row, found null"
    ):
        join(null, views).collect()
