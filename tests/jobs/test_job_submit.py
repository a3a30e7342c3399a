"""Jobs under spark-submit: from another directory, and on executors with shipped code alone."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyspark
import pytest
from small_home import T1

from vidtopics.contracts import (
    TAG_EMBEDDING,
    TOPICS,
    VIDEO_CATALOG,
    VIDEO_COUNTS,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAG_EMBEDDING,
    VIDEO_TAGS,
    VIDEO_TOPICS,
    Table,
)
from vidtopics.times import moment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
SUBMIT = Path(sys.executable).with_name("spark-submit")
# Without these, session and executors take a cluster's defaults: 200 partitions for 128 videos.
SMALL = {
    "spark.sql.shuffle.partitions": 2,
    "spark.databricks.delta.snapshotPartitions": 2,
    "spark.executor.memory": "1024m",
    "spark.ui.enabled": "false",
}
CLUSTER = ["--master", "local-cluster[2,1,1024]"]

# A Python with all libraries, but without the checkout: what a cluster's node has. The editable
# install is a finder on sys.meta_path; sitecustomize runs after it was put there.
SITECUSTOMIZE = """
import sys
sys.meta_path = [
    f for f in sys.meta_path if not getattr(f, "__module__", "").startswith("__editable__")
]
"""


@pytest.fixture
def node_python(tmp_path) -> Path:
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    python = tmp_path / "node" / "python"
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH="{tmp_path}/node${{PYTHONPATH:+:$PYTHONPATH}}"'
        f' exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    process = subprocess.run(
        [python, "-c", "import pyarrow, producers"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'producers'" in process.stderr
    return python


@pytest.fixture
def spark_home(tmp_path) -> Path:
    """Spark as installed; a local cluster's workers write below SPARK_HOME, here the test's."""
    (tmp_path / "spark").mkdir()
    for part in Path(pyspark.__file__).parent.iterdir():
        (tmp_path / "spark" / part.name).symlink_to(part)
    return tmp_path / "spark"


@pytest.fixture
def shipped(tmp_path) -> Path:
    """The three packages as one zip."""
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        for package in ("vidtopics", "producers", "spark_jobs"):
            for path in sorted((ROOT / package).rglob("*")):
                if path.suffix in (".py", ".conf"):
                    archive.write(path, path.relative_to(ROOT))
    return tmp_path / "code.zip"


def submit(
    home, table: Table, tmp_path: Path, *options: str | Path, **env: str | Path
) -> subprocess.CompletedProcess[str]:
    """Submits a copy of the job file as of T1 from a directory where nothing is."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    job = shutil.copy(ROOT / "spark_jobs" / f"{table.name}.py", elsewhere)
    arguments = ["--home", home.tables.home, "--as-of", moment(T1), "--config", home.config]
    settings = ["--properties-file", ROOT / "conf" / "spark-defaults.conf"]
    settings += [part for key, value in SMALL.items() for part in ("--conf", f"{key}={value}")]
    plain = {
        k: v
        for k, v in os.environ.items()
        if k not in ("PYTHONPATH", "SPARK_MASTER", "SPARK_CONF_DIR", "PYSPARK_PYTHON", "SPARK_HOME")
    }
    local = {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
    }
    return subprocess.run(
        [str(part) for part in (SUBMIT, *settings, *options, job, *arguments)],
        cwd=elsewhere,
        env=plain | local | {k: str(v) for k, v in env.items()},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_submitted_job_leaves_the_same_rows(home, inputs, tmp_path):
    done = submit(inputs, VIDEO_COUNTS, tmp_path, "--master", "local[2]")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "video_counts: 1" in done.stdout  # rows
    assert inputs.rows(VIDEO_COUNTS) == home.rows(VIDEO_COUNTS, T1)


NEEDS = {
    VIDEO_TAG_EMBEDDING.name: (VIDEO_CATALOG, VIDEO_TAGS, TAG_EMBEDDING),
    VIDEO_TOPICS.name: (TOPICS, VIDEO_TAG_EMBEDDING, VIDEO_JOINT_REPRESENTATION),
}


@pytest.mark.parametrize("table", [VIDEO_TAG_EMBEDDING, VIDEO_TOPICS], ids=lambda t: t.name)
def test_executors_run_the_code_that_is_shipped(
    home, fork, tmp_path, table, node_python, spark_home, shipped
):
    remote = fork(NEEDS[table.name])
    done = submit(
        remote,
        table,
        tmp_path,
        *CLUSTER,
        "--py-files",
        shipped,
        PYSPARK_PYTHON=node_python,
        SPARK_HOME=spark_home,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert remote.rows(table) == home.rows(table, T1)


def test_executors_have_no_other(fork, tmp_path, node_python, spark_home):
    remote = fork(NEEDS[VIDEO_TAG_EMBEDDING.name])
    done = submit(
        remote,
        VIDEO_TAG_EMBEDDING,
        tmp_path,
        *CLUSTER,
        PYSPARK_PYTHON=node_python,
        SPARK_HOME=spark_home,
    )
    assert done.returncode != 0
    assert "No module named 'producers'" in done.stdout + done.stderr
    assert remote.rows(VIDEO_TAG_EMBEDDING) == []


def test_a_driver_runs_the_code_that_is_shipped(home, fork, tmp_path, node_python, shipped):
    remote = fork(NEEDS[VIDEO_TAG_EMBEDDING.name])
    options = ("--py-files", shipped, "--master", "local[2]")
    done = submit(
        remote,
        VIDEO_TAG_EMBEDDING,
        tmp_path,
        *options,
        PYSPARK_PYTHON=node_python,
        PYSPARK_DRIVER_PYTHON=node_python,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert remote.rows(VIDEO_TAG_EMBEDDING) == home.rows(VIDEO_TAG_EMBEDDING, T1)
    assert [c.skip_key for c in remote.tables.commits(VIDEO_TAG_EMBEDDING)] == [
        c.skip_key for c in home.tables.commits(VIDEO_TAG_EMBEDDING)[:1]
    ]
