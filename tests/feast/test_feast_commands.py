"""Feast's own commands over a copy of the repository: apply, materialize, list, serve, ui."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from feast_home import fill

from vidtopics import server
from vidtopics.online import OnlineClient, Status

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """A checkout with Feast's files alone, tables, and a Redis of its own; applied."""
    root = tmp_path_factory.mktemp("repo")
    for name in ("feature_store.yaml", ".feastignore"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(
        ROOT / "feature_repo", root / "feature_repo", ignore=shutil.ignore_patterns("__pycache__")
    )
    (root / "conftest.py").write_text(
        "raise SystemExit('feast imports files that are no feature repo')"
    )
    fill(root / ".vidtopics")
    url = server.start(root)
    try:
        yield root, url
    finally:
        server.stop(root)


class Feast:
    """Feast's command line in the repository, each command in a process of its own."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._zygote = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("feast_zygote.py")],
            cwd=root,
            env=os.environ | {"REDIS_URL": url, "PATH": path, "FEAST_USAGE": "False"},
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        """What the command prints; it has to succeed."""
        output = self._send(arguments, background=False)
        status = int(self._zygote.stdout.readline())
        assert status == 0, output.read_text()
        return output.read_text()

    def start(self, *arguments: str) -> Path:
        """A command that goes on; the file of what it prints."""
        return self._send(arguments, background=True)

    def end(self) -> None:
        """End all commands."""
        os.killpg(self._zygote.pid, signal.SIGKILL)
        self._zygote.wait()

    def _send(self, arguments: tuple[str, ...], *, background: bool) -> Path:
        output = self.root / f"{arguments[0]}.out"
        command = {"arguments": arguments, "output": str(output), "background": background}
        self._zygote.stdin.write(json.dumps(command) + "\n")
        self._zygote.stdin.flush()
        assert int(self._zygote.stdout.readline())
        return output


@pytest.fixture(scope="module")
def feast(repo):
    command = Feast(*repo)
    yield command
    command.end()


@pytest.fixture(scope="module")
def applied(feast) -> str:
    """What `feast apply` printed."""
    return feast.run("apply")


@pytest.fixture(scope="module")
def materialized(feast, applied) -> None:
    feast.run("materialize", "1970-01-01T00:00:00", "2026-06-01T00:00:00")


def test_apply_and_list(repo, feast, applied):
    root, _ = repo
    assert "Deploying infrastructure for video_topics" in applied
    assert (root / ".vidtopics" / "registry.db").is_file()
    listed = feast.run("feature-views", "list")
    assert [
        name
        for name in (
            "video_topics",
            "video_statistics",
            "video_tag_embedding",
            "video_joint_representation",
        )
        if name not in listed
    ] == []


@pytest.mark.usefixtures("materialized")
def test_materialize(repo):
    _, url = repo
    features = OnlineClient.from_url(url).read_views(
        ["video_topics", "video_statistics", "video_joint_representation"], ["a", "b", "c"]
    )
    topics = features["video_topics"]
    assert topics.status.tolist() == [Status.PRESENT, Status.NULL, Status.NOT_FOUND]
    assert topics["topic_ids"].tolist() == [[8, *[-1] * 7], [-1] * 8, [-1] * 8]
    assert features["video_statistics"]["video_exposures"].tolist() == [10, 4, 0]
    assert features["video_joint_representation"]["encoder_version"].tolist() == ["é1", "é1", None]


@pytest.mark.usefixtures("materialized")
def test_serve_and_ui_answer(feast):
    ports = [_free_port(), _free_port()]
    served = feast.start("serve", "--port", str(ports[0]))
    shown = feast.start("ui", "--port", str(ports[1]))
    request = {"feature_service": "ranking_v1", "entities": {"video_id": ["a", "b", "c"]}}
    answer = json.loads(_fetch(f"http://127.0.0.1:{ports[0]}/get-online-features", request, served))
    names = answer["metadata"]["feature_names"]
    ids = answer["results"][names.index("topic_ids")]
    assert ids["statuses"] == ["PRESENT", "NULL_VALUE", "NOT_FOUND"]
    assert ids["values"][0] == [8, *[-1] * 7]
    assert answer["results"][names.index("video_exposures")]["values"] == [10, 4, None]
    assert "<title>Feast" in _fetch(f"http://127.0.0.1:{ports[1]}/", None, shown)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _fetch(url: str, body: dict | None, output: Path) -> str:
    """What the address answers, as soon as something listens."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    until = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None
        except OSError:
            assert time.monotonic() < until, f"{url} doesn't answer: {output.read_text()}"
            time.sleep(0.3)
