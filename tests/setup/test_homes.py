"""Only `ingest` and `demo` make a home; every other verb wants one that is there."""

import json

import pytest
import topic_world as world
from test_cli import commands

from vidtopics import server
from vidtopics.cli import common

ARGUMENTS = {
    "erase": ["u", "--request", "r"],
    "export": ["u"],
    "features": ["v"],
    "recommend": ["u"],
    "join": ["spine.csv", "out.parquet"],
}
MAKERS = ("ingest", "demo", "doctor")  # doctor looks, and makes nothing
READERS = [
    path for path, flags in commands(common.build()) if "--home" in flags and path[0] not in MAKERS
]


def words(path, home):
    return [*path, *ARGUMENTS.get(path[0], []), "--home", str(home)]


@pytest.mark.parametrize("path", READERS, ids=" ".join)
def test_a_mistyped_home_is_named_and_nothing_is_made(path, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("REDIS_URL", raising=False)
    empty = tmp_path / "empty"
    empty.mkdir()
    for home, what in ((tmp_path / "typo", "nothing"), (empty, "another folder")):
        assert common.run(words(path, home)) == 2
        message = capsys.readouterr().err
        assert message.startswith(f"Error --home {home}: expected a home, ")
        assert f"found {what}" in message
    assert [p.name for p in tmp_path.rglob("*")] == ["empty"]


def test_doctor_makes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("REDIS_URL", raising=False)
    common.run(["doctor", "--home", str(tmp_path / "typo"), "--json"])
    findings = {f["name"]: f for f in json.loads(capsys.readouterr().out)}
    assert findings["home"]["found"].startswith(f"none yet at {tmp_path / 'typo'}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mark", common.MARKS)
def test_each_mark_makes_a_folder_a_home(tmp_path, mark):
    with pytest.raises(Exception, match="expected a home"):
        common._existing_home(tmp_path)
    (tmp_path / mark).mkdir(parents=True)
    assert common._existing_home(tmp_path) == tmp_path


def test_the_commands_remember_the_server_that_they_loaded(
    tmp_path, store, valkey, capsys, monkeypatch
):
    home = tmp_path / "home"
    world.build(home)

    def run(*arguments):
        status = common.run([*arguments, "--home", str(home)])
        return status, capsys.readouterr().err

    monkeypatch.setenv("REDIS_URL", valkey)
    assert run("materialize", "--dry-run")[0] == 0
    assert server.remembered(home) is None  # nothing was loaded
    assert run("materialize")[0] == 0
    assert server.remembered(home) == valkey
    monkeypatch.delenv("REDIS_URL")
    for arguments in (["features", "a"], ["reconcile"], ["materialize"], ["redis", "start"]):
        status, err = run(*arguments)
        assert (status, valkey in err, "--embedded" in err) == (2, True, True), err
    assert not (home / "redis").exists()
    try:
        assert run("redis", "start", "--embedded")[0] == 0
        status, err = run("materialize", "--embedded")
        assert status == 0
        assert f"loaded into {valkey} before, and into the embedded server now" in err
        assert run("features", "a")[0] == 0
    finally:
        server.stop(home)


def test_a_home_that_can_not_remember_says_so_and_the_load_stands(
    tmp_path, store, valkey, capsys, monkeypatch
):
    home = tmp_path / "home"
    world.build(home)
    monkeypatch.setenv("REDIS_URL", valkey)

    def fail(path, text):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(server, "write_whole", fail)
    assert common.run(["materialize", "--home", str(home)]) == 0
    assert f"The home can't remember {valkey}" in capsys.readouterr().err


def test_every_verb_that_takes_the_address_can_be_told_to_use_the_embedded_one():
    verbs = {path[0] for path, flags in commands(common.build()) if "--embedded" in flags}
    assert verbs == {
        "apply",
        "daemon",
        "demo",
        "erase",
        "events",
        "export",
        "features",
        "infer",
        "materialize",
        "recommend",
        "reconcile",
        "redis",
        "rollback",
        "serve",
    }


def test_no_password_is_printed(tmp_path, capsys, monkeypatch):
    (tmp_path / "tables").mkdir()
    monkeypatch.setenv("REDIS_URL", "redis://user:secret@127.0.0.1:1/0")
    for words in (["redis", "start"], ["features", "a"], ["materialize"], ["doctor"]):
        common.run([*words, "--home", str(tmp_path)])
        printed = "".join(capsys.readouterr())
        assert "127.0.0.1:1" in printed
        assert "secret" not in printed
