"""What a run writes in a bucket's mirror reaches the bucket before what names it, or not at all."""

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest
import topic_world as world

from vidtopics import contracts
from vidtopics.cli import common, homes
from vidtopics.errors import ConflictError
from vidtopics.releases.lock import hold
from vidtopics.settings import load
from vidtopics.storage import Address
from vidtopics.storage.copying import copy_home
from vidtopics.storage.mirrors import open_mirror, refresh
from vidtopics.tables import Tables
from vidtopics.tables.releases import read_log

MANIFEST = "models/topics/2/manifest.json"
ARRAYS = "models/topics/2/arrays.safetensors"

KILLED = """
import os, signal, sys
from pathlib import Path
from vidtopics.releases.lock import hold
from vidtopics.storage.sending import send
mirror, *keys, point = sys.argv[1:]
with hold(Path(mirror), "vidtopics run"):
    for key in keys:
        Path(mirror, key).parent.mkdir(parents=True, exist_ok=True)
        Path(mirror, key).write_bytes(b"{}")
    if point:
        send(Path(mirror))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def machine(home, bucket, tmp_path, monkeypatch):
    """The mirror of one bucket on a machine by that name."""
    copy_home(Address.parse(home), Address.parse(bucket.url()))

    def open_on(name="a"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        return open_mirror(Address.parse(bucket.url()), models=True)

    return open_on


def write(mirror, key, content=b"{}"):
    (mirror / key).parent.mkdir(parents=True, exist_ok=True)
    (mirror / key).write_bytes(content)


def publish_topics(mirror, at=world.T + 1):
    world.publish(Tables(mirror), contracts.VIDEO_TOPICS, world.assigned({"a": [(7, 0.5)]}), at=at)


def puts(proxy):
    """Keys in the order in which the store had them."""
    paths = [r["path"] for r in proxy.requests() if r["method"] == "PUT" and r["status"] == 200]
    return [re.sub(r"^/[^/]+/home/|\?.*", "", path) for path in paths]


def test_models_come_before_manifests_and_both_before_the_entry_that_names_them(
    machine, bucket, through_proxy
):
    mirror = machine()
    proxy = through_proxy()
    with hold(mirror, "vidtopics run"):
        write(mirror, MANIFEST)
        write(mirror, ARRAYS, bytes(300_000))
        publish_topics(mirror)
        world.release(Tables(mirror), at=world.T + 1)
        write(mirror, "reports/need.json")
    order = [key for key in puts(proxy) if not key.startswith("run.")]
    entries = [i for i, key in enumerate(order) if key.startswith("tables/video_topics/_delta_log")]
    released = [i for i, key in enumerate(order) if key.startswith("tables/releases/_delta_log")]
    assert order.index(ARRAYS) < order.index(MANIFEST) < min(entries) < min(released)
    assert max(released) < order.index("reports/need.json")
    assert len(order) == len(set(order))
    read = {r["path"] for r in proxy.requests() if r["method"] == "GET"}
    assert not any(ARRAYS in path or MANIFEST in path for path in read)
    assert bucket.read(f"home/{ARRAYS}") == bytes(300_000)
    assert [row.release_id for row in read_log(Tables(machine("b")))] == [1, 2]
    assert (machine("b") / ARRAYS).read_bytes() == bytes(300_000)


def test_what_belongs_to_the_machine_stays_there(machine, bucket):
    mirror, before = machine(), bucket.contents()
    with hold(mirror, "vidtopics run"):
        for key in (
            "logs/served/2026-02-01.log",
            "models/training/step-1/state",
            "deliveries/day/covers/a.jpg",
            "models/topics/.2.part/arrays",
            "redis/dump.rdb",
            ".spill-1/block",
            "staging-1/delivery/clicks.parquet",
            "online.json",
        ):
            write(mirror, key)
    changed = bucket.contents().keys() ^ before.keys()
    assert changed <= {"run.lock", "run.clock"}
    assert (mirror / "logs/served/2026-02-01.log").exists()
    with hold(mirror, "vidtopics run"):
        assert (mirror / "models/training/step-1/state").exists()


def test_files_that_a_run_removed_or_replaced_are_so_in_the_bucket(machine, bucket):
    mirror = machine()
    with hold(mirror, "vidtopics maintain"):
        write(mirror, "models/ranking/model.json", b'{"name": 2}')
        (mirror / "models/topics/1/arrays.safetensors").unlink()
        (mirror / "models/topics/1/manifest.json").unlink()
    contents = bucket.contents()
    assert contents["models/ranking/model.json"] == b'{"name": 2}'
    assert not any(key.startswith("models/topics/1/") for key in contents)
    assert not (machine("b") / "models/topics/1").exists()


@pytest.mark.parametrize("point", [pytest.param("", marks=pytest.mark.slow), "mirror.sent"])
def test_what_a_run_that_died_had_not_sent_is_dropped_by_the_next(machine, bucket, point):
    """Its manifest never comes: no reader meets a model whose run nobody knows."""
    mirror = machine()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, mirror, ARRAYS, MANIFEST, point],
        env=os.environ | {"VIDTOPICS_FAILPOINT": point},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    killed = bucket.contents()
    assert (mirror / MANIFEST).exists()
    assert (ARRAYS in killed, MANIFEST in killed) == (bool(point), False)
    with hold(mirror, "vidtopics run"):
        assert not (mirror / MANIFEST).exists()
        assert (mirror / ARRAYS).exists() is bool(point)
        assert (mirror / "models/topics/1/manifest.json").exists()
    assert bucket.contents().keys() - {"run.clock"} == killed.keys()


def test_a_file_of_another_writer_is_never_replaced(machine, bucket):
    mirror = machine()
    for key, own in (
        (ARRAYS, "expected what this run began with"),
        ("models/ranking/model.json", ""),
    ):
        held = ExitStack()
        held.enter_context(hold(mirror, "vidtopics train"))
        bucket.put(f"home/{key}", b"another's")
        write(mirror, key, b"own")
        with pytest.raises(ConflictError, match=f"{key}: {own}"):
            held.close()
    contents = bucket.contents()
    assert contents[ARRAYS] == contents["models/ranking/model.json"] == b"another's"
    with hold(mirror, "vidtopics run"):
        assert (mirror / ARRAYS).read_bytes() == b"another's"


def test_a_reader_beside_a_run_takes_nothing_from_it(machine, bucket):
    """`serve` follows the bucket in the same folder while a run writes there."""
    mirror = machine()
    with hold(mirror, "vidtopics run"):
        write(mirror, ARRAYS, b"arrays")
        write(mirror, "models/ranking/model.json", b'{"name": 2}')
        refresh(mirror, models=True)
        assert (mirror / ARRAYS).read_bytes() == b"arrays"
        assert (mirror / "models/ranking/model.json").read_bytes() == b'{"name": 2}'
    assert bucket.contents()["models/ranking/model.json"] == b'{"name": 2}'


@pytest.mark.slow
def test_a_run_that_fails_keeps_what_it_wrote_before(machine, bucket):
    """As in a folder: a model that was trained is there although a job after it failed."""
    mirror = machine()
    with pytest.raises(ZeroDivisionError), hold(mirror, "vidtopics run"):  # noqa: PT012
        write(mirror, ARRAYS, b"arrays")
        write(mirror, MANIFEST)
        _ = 1 / 0
    assert bucket.contents()[MANIFEST] == b"{}"


def test_a_new_home_has_one_id_whoever_makes_it(bucket, tmp_path, monkeypatch):
    rows = world.assigned({"a": [(7, 0.5)]})
    mirrors = []
    for name in ("a", "b"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        mirrors.append(open_mirror(Address.parse(bucket.url()), models=True, may_be_new=True))

    def make(mirror, table):
        world.publish(Tables(mirror), table, rows)

    # Both find nothing there.
    tables = (contracts.VIDEO_TOPICS, contracts.VIDEO_TOPICS)
    threads = [
        threading.Thread(target=make, args=pair) for pair in zip(mirrors, tables, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = {(mirror / "home-id").read_text() for mirror in mirrors}
    assert ids == {bucket.contents()["home-id"].decode()}
    # Only the mirror of the cache folder that is set now follows the bucket.
    refresh(mirrors[1])
    assert Tables(mirrors[1]).read(contracts.VIDEO_TOPICS).num_rows == 1


def test_settings_are_kept_in_the_bucket_and_sent_once(machine, bucket, through_proxy):
    mirror, settings = machine(), load(None)
    homes.keep(mirror, settings)
    assert homes.settings(machine("b"), None) == settings
    proxy = through_proxy()
    homes.keep(machine("a"), settings)
    assert puts(proxy) == []


def test_a_home_that_a_copy_fills_is_not_written(machine, bucket, capsys):
    machine()
    bucket.put("home/copying.json", b'{"source": "host:/srv/home", "was_whole": true}')
    assert common.run(["run", "--home", bucket.url()]) == 2
    assert "a copy from host:/srv/home that isn't done" in capsys.readouterr().err
    assert common.run(["releases", "--home", bucket.url()]) == 0
