"""Jobs on a home in a bucket: the rows and figures of a folder, through kills and faults."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from benchmarks.s3_server import SECRET
from vidtopics.contracts import DERIVED, LOGBOOKS, TABLES
from vidtopics.storage import Address
from vidtopics.storage.copying import copy_home
from vidtopics.storage.mirrors import open_mirror
from vidtopics.tables import Tables
from vidtopics.tables.releases import newest_released, read_log
from vidtopics.times import micros

sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))

import small_world
from small_home import SETTINGS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]
T1, T2 = small_world.T1.isoformat(), small_world.T2.isoformat()
KILLS = 3


def environment_without_spark():
    return {name: value for name, value in os.environ.items() if name != "SPARK_MASTER"}


def vidtopics(*words, status=0):
    command = [sys.executable, "-m", "vidtopics", *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment_without_spark()
    )
    assert SECRET not in done.stdout + done.stderr
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def delivery(tmp_path_factory):
    root = tmp_path_factory.mktemp("delivery")
    small_world.write(root / "world")
    (root / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
    return root


@pytest.fixture(scope="module")
def folder(delivery, tmp_path_factory):
    """The home in a folder, run as of two times."""
    home = tmp_path_factory.mktemp("home") / "home"
    ingest(delivery, home)
    for at in (T1, T2):
        vidtopics("run", "--home", home, "--as-of", at)
    return home


def ingest(delivery, home):
    config = delivery / "settings.yaml"
    vidtopics("ingest", "folder", delivery / "world", "--home", home, "--config", config)


def opened(url):
    return Tables(open_mirror(Address.parse(url), models=True))


def rows(tables, table):
    """Without what the wall clock gives: when a row of the delivery became known, and by whom."""
    columns = [column.name for column in table.columns] + ["event_timestamp"]
    return sorted(
        repr(list(row.values())) for row in tables.read(table, columns=columns).to_pylist()
    )


def assert_same(tables, others):
    names = [table.name for table in TABLES.values() if others.exists(table)]
    assert len(names) > 18
    for table in TABLES.values():
        assert tables.exists(table) == others.exists(table)
        if table not in LOGBOOKS and not table.name.endswith("_rejected"):
            assert rows(tables, table) == rows(others, table), table.name
    ours, theirs = read_log(tables), read_log(others)
    assert [(r.release_id, r.state, r.as_of_us) for r in ours] == [
        (r.release_id, r.state, r.as_of_us) for r in theirs
    ]
    for own, other in zip(ours, theirs, strict=True):
        assert own.quality == other.quality
        assert own.versions.keys() == other.versions.keys()


def test_jobs_on_a_bucket_give_the_rows_and_figures_of_a_folder(folder, delivery, bucket, tmp_path):
    ingest(delivery, bucket.url())
    for at in (T1, T2):
        vidtopics("run", "--home", bucket.url(), "--as-of", at)
    tables = opened(bucket.url())
    assert_same(tables, Tables(folder))
    copy_home(Address.parse(bucket.url()), Address.parse(tmp_path / "back"))
    assert_same(Tables(tmp_path / "back"), Tables(folder))
    again = vidtopics("run", "--home", bucket.url(), "--as-of", T2, "--json")
    assert json.loads(again.stdout)["release"] is None
    moved = vidtopics("materialize", "--home", bucket.url(), "--embedded", "--json")
    assert {view["release"] for view in json.loads(moved.stdout)} == {2}
    vidtopics("rollback", "--to", 1, "--because", "a test", "--home", bucket.url(), "--embedded")
    assert "stopped" in vidtopics("redis", "stop", "--home", bucket.url()).stdout
    log = read_log(opened(bucket.url()))
    assert [(r.release_id, r.state) for r in log][-1] == (3, "released")


def assert_whole(url, copied):
    """What a reader meets at any moment: releases whose versions and model are all there."""
    copy_home(Address.parse(url), Address.parse(copied))
    tables = Tables(copied)
    for release in newest_released(tables):
        for name, version in release.versions.items():
            tables.read(TABLES[name], version=version)
        assert (copied / f"models/topics/{release.topic_model}/manifest.json").is_file()


def test_runs_that_are_killed_leave_whole_releases_and_the_next_goes_on(
    folder, delivery, bucket, tmp_path
):
    ingest(delivery, bucket.url())
    vidtopics("run", "--home", bucket.url(), "--as-of", T1)
    generator = random.Random(5)
    command = [sys.executable, "-m", "vidtopics", "run", "--home", bucket.url(), "--as-of", T2]
    for kill in range(KILLS):
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment_without_spark(),
        )
        time.sleep(generator.uniform(4, 20))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert_whole(bucket.url(), tmp_path / f"after-{kill}")
    vidtopics("run", "--home", bucket.url(), "--as-of", T2)
    assert_same(opened(bucket.url()), Tables(folder))


def test_a_store_that_loses_every_fifth_answer_gets_the_same_rows(
    folder, delivery, bucket, through_proxy
):
    """A request whose answer is lost was carried out: harder than a 503, which was not."""
    proxy = through_proxy("lose", every=5)
    ingest(delivery, bucket.url())
    vidtopics("run", "--home", bucket.url(), "--as-of", T1)
    tables, expected, at = opened(bucket.url()), Tables(folder), micros(small_world.T1)
    for table in DERIVED:
        columns = [column.name for column in table.columns]
        own, other = (home.as_of(table, at, columns=columns) for home in (tables, expected))
        assert sorted(map(repr, own.to_pylist())) == sorted(map(repr, other.to_pylist())), table
    assert read_log(tables)[0].quality == read_log(expected)[0].quality
    assert {request["fault"] for request in proxy.requests()} == {"none", "lose"}
