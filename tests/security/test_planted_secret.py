"""A planted password is found nowhere: outputs, files, logs, figures, titles of processes."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256

import psutil
import pytest
import redis
from events_home import SETTINGS, SmallHome, now_us
from live_worlds import Shown
from serving_world import release, service_over, serving, store_model

from benchmarks.redis_nodes import Node, valkey_server
from consumers.serving.keys import ApiKey, KeyRing
from vidtopics.cli import homes
from vidtopics.cli.common import run
from vidtopics.online.connections import connect

SECRET = "pl4nted-s3cret"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    node = Node(tmp_path_factory.mktemp("secret"), binary=valkey_server())
    with redis.Redis.from_url(node.url) as admin:
        admin.execute_command("ACL", "SETUSER", "jobs", "on", f">{SECRET}", "~*", "&*", "+@all")
        admin.config_set("requirepass", "another")
    yield node
    node.kill()


@pytest.fixture(scope="module")
def url(node):
    return node.url.replace("redis://", f"redis://jobs:{SECRET}@")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    small = SmallHome(tmp_path_factory.mktemp("planted"))
    small.deliver([Shown("d1", "u1", "v1", now_us() - 9_000_000, 1, now_us() - 8_000_000)])
    small.release()
    homes.keep(small.tables.home, SETTINGS)
    return small.tables.home


def with_secret(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if SECRET.encode() in path.read_bytes()]


def test_no_output_and_no_file_of_the_home_shows_the_secret(home, url, monkeypatch, capfd):
    monkeypatch.setenv("REDIS_URL", url)
    for verb in (["materialize"], ["features", "v1"], ["doctor", "--role", "online"], ["releases"]):
        assert run([*verb, "--home", str(home)]) == 0
    assert run(["features", "v1", "--home", str(home), "--json"]) == 0
    monkeypatch.setenv("REDIS_URL", url.replace(SECRET, f"{SECRET}-wrong"))
    assert run(["materialize", "--home", str(home)]) == 2
    monkeypatch.setenv("REDIS_URL", f"redis://jobs:{SECRET}@127.0.0.1:1/0")
    assert run(["features", "v1", "--home", str(home)]) == 2
    monkeypatch.setenv("REDIS_URL", f"redis://jobs:{SECRET}@[::1:99999999/0?nonsense={SECRET}")
    assert run(["features", "v1", "--home", str(home)]) == 2
    output = capfd.readouterr()
    assert "present" in output.out
    assert SECRET not in output.out + output.err
    assert with_secret(home) == []


def test_no_title_of_a_process_and_no_log_shows_the_secret(home, url, monkeypatch):
    monkeypatch.setenv("REDIS_URL", url)
    with connect(url) as store:
        store.flushall()
    assert run(["materialize", "--home", str(home), "--full"]) == 0
    words = [sys.executable, "-m", "vidtopics", "events", "apply", "--once", "--home", str(home)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    titles = []
    while process.poll() is None:
        try:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
            titles += [" ".join(member.cmdline()) for member in family]
        except psutil.NoSuchProcess:
            break
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert any("events apply" in title for title in titles)
    assert SECRET not in "".join(titles) + output.decode()
    assert with_secret(home) == []


def test_no_answer_of_the_service_shows_the_secret(url, tmp_path, caplog):
    caplog.set_level("DEBUG")
    with connect(url) as store:
        store.flushall()
        release(store, 1)
        store_model(tmp_path, 1)
        digest = sha256(SECRET.encode()).hexdigest()
        keys = KeyRing({"web": ApiKey(sha256=digest, scopes=frozenset({"read"}), rate=1_000)})
        texts = []
        with serving(service_over(store, tmp_path), keys) as caller:
            bearer = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
            body = {"user_id": "ann"}
            assert caller.ask("POST", "/recommend", body, bearer)[0] == 200
            assert caller.ask("POST", f"/{SECRET}", body, bearer)[0] == 404
            for path in ("/metrics", "/ready", "/openapi.json", "/live"):
                status, headers, text = caller.ask("GET", path)
                assert status == 200
                texts.append(f"{headers} {text}")
        store.flushall()
    said = "".join(texts)
    assert "vidtopics_serving" in said
    for word in (SECRET, digest, "ann", "redis://", str(tmp_path)):
        assert word not in said
    lines = "".join(json.dumps(vars(record), default=str) for record in caplog.records)
    assert "/recommend" in lines
    assert SECRET not in lines
    assert digest not in lines
