import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vidtopics.errors import MachineError
from vidtopics.jobs.session import defaults, session

HERE = Path(__file__).parent
# 07:30 UTC on that day is 02:30 in New York, an hour that the clock change leaves out.
TIMES = ["2026-03-08T07:30:00.123456+00:00", "2026-07-01T00:00:00.000001+00:00"]


def run(script: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, HERE / script, *args]
    return subprocess.run(
        command, env=os.environ | env, capture_output=True, text=True, check=True, timeout=240
    )


@pytest.fixture(scope="module")
def engines(tmp_path_factory) -> tuple[dict, str]:
    """What Spark and delta-rs read of each other's tables in New York's zone, and stderr."""
    done = run(
        "two_engines.py", str(tmp_path_factory.mktemp("engines")), *TIMES, TZ="America/New_York"
    )
    return json.loads(done.stdout), done.stderr


@pytest.mark.slow
def test_each_engine_reads_the_others_times_under_another_time_zone(engines):
    facts, _ = engines
    expected = [
        int((datetime.fromisoformat(t) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
        for t in TIMES
    ]
    assert facts["local_offset_hours"] == -5
    assert facts["spark_reads_spark"] == expected
    assert facts["spark_reads_deltalake"] == expected
    assert facts["deltalake_reads_spark"] == expected
    assert facts["parquet_type"] == "INT64"


@pytest.mark.slow
def test_a_session_is_utc_uses_this_python_and_is_made_once(engines):
    facts, _ = engines
    assert facts["zone"] == "UTC"
    assert facts["python"] == os.environ.get("PYSPARK_PYTHON", sys.executable)
    assert facts["same_session"]


@pytest.mark.slow
def test_a_working_directory_of_any_name_gets_all_that_spark_writes_and_no_folder_beside(engines):
    facts, _ = engines
    assert facts["odd_folder_rows"] == [1, 2, 3]
    assert facts["folders"] == ["by_deltalake", "by_spark", "log"]


@pytest.mark.slow
def test_files_and_folders_of_spark_follow_the_umask(engines):
    facts, _ = engines
    assert facts["modes"] == ["0o100640", "0o40750"]


@pytest.mark.slow
def test_nothing_is_written_to_the_terminal(engines):
    facts, stderr = engines
    assert stderr == ""
    assert facts["log"]


def test_a_jvm_without_delta_is_refused_with_the_missing_flag():
    message = run("without_delta.py").stdout
    assert "--properties-file conf/spark-defaults.conf" in message
    assert f"--packages {defaults()['spark.jars.packages']}" in message


def test_a_jvm_that_does_not_start_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr("pyspark.SparkContext._gateway", None)
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(
        MachineError, match=r"expected a Java virtual machine.*bin/java.*vidtopics doctor"
    ):
        session("a job")


def test_the_package_carries_the_settings_of_conf():
    root = HERE.parents[1]
    packaged = root / "vidtopics" / "jobs" / "spark-defaults.conf"
    assert packaged.read_bytes() == (root / "conf" / "spark-defaults.conf").read_bytes()
    assert all(
        key.startswith("spark.") and value == value.strip() for key, value in defaults().items()
    )


def test_a_stopped_session_leaves_no_jvm_and_another_can_start(engines):
    facts, _ = engines
    assert (facts["left"], facts["second_count"]) == ([], 4)
