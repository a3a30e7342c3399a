"""The users of deploy/redis-users.acl: each does its own work on a server, and nothing else."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest
import redis
from events_home import SETTINGS, SmallHome, now_us
from live_worlds import Shown
from small_store import put, value

from benchmarks.redis_nodes import Node, valkey_server
from vidtopics.cli import homes
from vidtopics.cli.common import run
from vidtopics.materialization import StoreWriter
from vidtopics.online import OnlineClient
from vidtopics.online.connections import connect

FILE = Path(__file__).parents[2] / "deploy" / "redis-users.acl"
LINES = [line for line in FILE.read_text().splitlines() if line.startswith("user ")]
ROLES = [line.split()[1] for line in LINES[2:]]
NOBODY = "#" + 64 * "0"
ONE_MORE = {
    "online": [("SET", "vt:1:1:{s}v1", "x"), ("XADD", "vt:events:dead:{s}", "*", "a", "1")],
    "serve": [
        ("SET", "vt:1:1:{s}v1", "x"),
        ("EVAL", "return 1", "0"),
        ("DEL", "vt:events:dead:{s}"),
    ],
    "sender": [("XRANGE", "vt:events:dead:{s}", "-", "+"), ("GET", "vt:1:1:{s}v1")],
    "events": [("SET", "vt:1:1:{s}v1", "x"), ("SET", "vt:{directory}:release", "9"), ("SCAN", "0")],
    "jobs": [("SET", "other:1", "x"), ("KEYS", "*"), ("CONFIG", "SET", "save", ""), ("SHUTDOWN",)],
    "feast": [
        ("XADD", "vt:events:dead:{s}", "*", "a", "1"),
        ("SET", "vt:live:1", "x"),
        ("KEYS", "*"),
    ],
}
"""Commands that each role lacks, and keys that aren't its own."""


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A server with the users of the file, whose passwords are SECRET."""
    folder = tmp_path_factory.mktemp("roles")
    password = "#" + sha256(b"SECRET").hexdigest()
    (folder / "users.acl").write_text("\n".join(LINES).replace(NOBODY, password) + "\n")
    node = Node(folder / "redis", binary=valkey_server(), aclfile=str(folder / "users.acl"))
    yield node
    node.kill()


@pytest.fixture
def admin(node):
    with redis.Redis.from_url(as_user(node, "admin")) as connection:
        connection.flushall()
        connection.acl_log_reset()
        yield connection


def as_user(node, name):
    return node.url.replace("redis://", f"redis://{name}:SECRET@")


def test_every_role_has_a_line_and_none_a_password():
    assert list(ONE_MORE) == ROLES
    assert LINES[0] == "user default off"
    assert all(line.split()[2:4] == ["on", NOBODY] for line in LINES[1:])
    granted = [word for line in LINES[2:] for word in line.split()[4:] if word[0] in "+-@&"]
    assert all(re.fullmatch(r"\+[a-z]+(\|[a-z]+)?", word) for word in granted)  # no category


@pytest.mark.parametrize("role", ROLES)
def test_one_command_more_is_refused(node, admin, role):
    with connect(as_user(node, role)) as connection:
        everybody = [("FLUSHALL",), ("ACL", "LIST"), ("CONFIG", "SET", "maxmemory", "1")]
        for command in (*ONE_MORE[role], *everybody):
            with pytest.raises(redis.exceptions.NoPermissionError):
                connection.execute_command(*command)


def test_the_loads_of_feast_are_read_by_the_reader(node, admin):
    with connect(as_user(node, "feast")) as feast, connect(as_user(node, "online")) as online:
        put(feast, {"a": value(3)})
        features = OnlineClient(online).read("topics", ["a", "b"])
        assert features["topic_count"].tolist() == [3, 0]
        put(feast, {"x": value(5)}, view="dropped")
        assert StoreWriter(feast).drop("dropped") > 0
    assert admin.acl_log() == []


class Roles:
    """A home whose verbs are run as one role or another."""

    def __init__(self, node, admin, monkeypatch, folder):
        self.node, self.admin, self.monkeypatch = node, admin, monkeypatch
        self.small = SmallHome(folder)
        self.release("d1")
        homes.keep(self.small.tables.home, SETTINGS)

    def release(self, event):
        shown = Shown(event, "u1", "v1", now_us() - 9_000_000, 1, now_us() - 8_000_000)
        self.small.deliver([shown])
        self.small.release()

    def run(self, role, *words, expected=0):
        self.monkeypatch.setenv("REDIS_URL", as_user(self.node, role))
        assert run([*words, "--home", str(self.small.tables.home)]) == expected
        assert self.admin.acl_log() == []  # nothing was asked for that it may not do


@pytest.fixture
def roles(node, admin, monkeypatch, tmp_path):
    return Roles(node, admin, monkeypatch, tmp_path)


def test_each_role_does_its_work(roles, tmp_path):
    roles.run("jobs", "materialize")
    roles.run("jobs", "reconcile")
    roles.run("online", "features", "v1")
    file = tmp_path / "today.jsonl"
    event = {"kind": "impression", "event_id": "f1", "user_id": "u1", "video_id": "v2"}
    file.write_text(json.dumps(event | {"event_timestamp": now_us() / 1e6}) + "\n{}\n")
    roles.run("sender", "events", "replay", str(file), expected=1)  # one is a dead letter
    roles.run("events", "events", "apply", "--once")
    for verb in (["status"], ["tail", "--last", "1"]):
        roles.run("events", "events", *verb)


@pytest.mark.slow
def test_later_releases_rollback_and_erasure_are_the_jobs_work(roles):
    roles.run("jobs", "materialize")
    roles.run("events", "events", "apply", "--once")
    roles.release("d2")
    roles.run("jobs", "materialize")
    roles.run("jobs", "rollback", "--because", "a test")
    roles.run("jobs", "materialize", "--full")
    roles.run("jobs", "erase", "user", "u1", "--request", "r1")
    roles.run("jobs", "doctor", "--role", "online")
