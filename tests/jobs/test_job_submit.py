"""Jobs under spark-submit: on one machine, and on a cluster whose nodes have nothing of ours."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from small_home import T1, T2, SmallHome

from benchmarks import cluster_kills
from benchmarks.cluster_homes import JOBS as DISTRIBUTED
from benchmarks.s3_server import environment, s3_server
from benchmarks.spark_cluster import (
    ROOT,
    SMALL,
    SUBMIT,
    build_wheel,
    can_hide,
    driver_environment,
    spark_cluster,
    submission,
)
from vidtopics.contracts import (
    INPUTS,
    TABLES,
    TAG_EMBEDDING,
    TOPICS,
    VIDEO_COUNTS,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAG_EMBEDDING,
    Table,
)
from vidtopics.jobs.place import home_folder
from vidtopics.storage import Address
from vidtopics.storage.copying import copy_home
from vidtopics.tables import Tables
from vidtopics.times import moment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

JOBS = [name for name in DISTRIBUTED if name != "tag_cooccurrence"]  # a training's
NEEDS = (*INPUTS, TAG_EMBEDDING, VIDEO_JOINT_REPRESENTATION, TOPICS)


@pytest.fixture(scope="module")
def s3_variables():
    with s3_server() as port, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in environment(port).items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="cluster")
        yield environment(port)


@pytest.fixture(scope="module")
def driver_folder(tmp_path_factory) -> Path:
    """What the driver has: workers see an empty folder in its place."""
    return tmp_path_factory.mktemp("driver")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, s3_variables, driver_folder):
    hidden = [driver_folder] if can_hide() else []
    folder = tmp_path_factory.mktemp("cluster")
    with spark_cluster(folder, environment=s3_variables, hidden=hidden) as running:
        yield running


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def in_a_bucket(home: SmallHome, prefix: str) -> str:
    url = f"s3://cluster/{prefix}"
    copy_home(Address.parse(home.tables.home), Address.parse(url))
    return url


def test_a_submitted_job_leaves_the_same_rows(home, inputs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    job = shutil.copy(ROOT / "spark_jobs" / "video_counts.py", tmp_path / "elsewhere")
    properties = [part for item in SMALL.items() for part in ("--conf", "=".join(item))]
    arguments = ["--home", inputs.tables.home, "--as-of", moment(T1), "--config", inputs.config]
    command = [SUBMIT, "--master", "local[2]", *properties, "--properties-file"]
    command += [ROOT / "conf" / "spark-defaults.conf", job, *arguments]
    names = ("PYTHONPATH", "SPARK_MASTER", "SPARK_CONF_DIR", "SPARK_HOME")
    plain = {name: value for name, value in os.environ.items() if name not in names}
    python = {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=tmp_path / "elsewhere",
        env=plain | python | {"SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "video_counts: 1" in done.stdout  # rows
    assert inputs.rows(VIDEO_COUNTS) == home.rows(VIDEO_COUNTS, T1)


def run_on(cluster, code, driver_folder, program, *arguments, **variables):
    """The program under spark-submit, in a folder that the workers don't see."""
    program = shutil.copy(ROOT / "spark_jobs" / program, driver_folder)
    command = submission(cluster, code, Path(program), arguments)
    cache = {"XDG_CACHE_HOME": str(driver_folder / "cache")}
    return subprocess.run(
        command,
        cwd=driver_folder,
        env=driver_environment(cluster, variables | cache),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_a_run_on_a_cluster_with_its_home_in_a_bucket_leaves_the_same_rows(
    home, fork, cluster, code, driver_folder, s3_variables, monkeypatch, tmp_path
):
    url = in_a_bucket(fork(NEEDS), "run")
    wheel = shutil.copy(code, driver_folder)
    settings = shutil.copy(home.config, driver_folder)
    arguments = ["run", *JOBS, "--home", url, "--as-of", moment(T1), "--config", settings]
    done = run_on(cluster, wheel, driver_folder, "command.py", *arguments, **s3_variables)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remote = SmallHome(Tables(home_folder(url)), home.settings, home.config)
    for name in JOBS:
        table = TABLES[name]
        assert rows_at_t1(remote, table) == rows_at_t1(home, table) != [], name
        [commit] = remote.tables.commits(table)
        assert commit.skip_key == home.tables.commits(table)[0].skip_key
    logs = "".join(log.read_text(errors="replace") for log in cluster.folder.rglob("std*"))
    logs += done.stdout + done.stderr
    assert s3_variables["AWS_SECRET_ACCESS_KEY"] not in logs


def rows_at_t1(home: SmallHome, table: Table) -> list[dict]:
    if table.kind == "history":
        return home.rows(table, T1)
    return sorted(home.holds(table, T1), key=lambda row: [row[name] for name in table.key])


def test_executors_have_no_other_code(fork, cluster, code, driver_folder, s3_variables, tmp_path):
    home = fork(NEEDS)
    arguments = ["--home", in_a_bucket(home, "none"), "--as-of", moment(T1)]
    (tmp_path / "empty.py").write_text("")
    done = run_on(
        cluster,
        tmp_path / "empty.py",
        driver_folder,
        "video_tag_embedding.py",
        *arguments,
        "--config",
        home.config,
        **s3_variables,
        PYSPARK_DRIVER_PYTHON=sys.executable,
        PYTHONPATH=str(ROOT),
    )
    assert done.returncode == 2
    assert "No module named 'vidtopics'" in done.stderr
    assert "run again: nothing was published" in done.stdout


def test_whatever_happens_rows_are_the_same_or_none(fork, tmp_path):
    home = fork()
    shutil.copy(home.config, home.tables.home / "settings.yaml")
    (tmp_path / "scratch").mkdir()
    jobs = [VIDEO_TAG_EMBEDDING.name, VIDEO_COUNTS.name]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ENDPOINT_URL", "XDG_CACHE_HOME"):
            patch.setenv(name, "")  # what the benchmark sets is taken back
        tallies = cluster_kills.kill(home.tables.home, tmp_path / "scratch", 6, jobs, 3, T2)
    assert sum(tally.times for tally in tallies.values()) == 6
    assert [wrong for tally in tallies.values() for wrong in tally.wrong] == []
