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


def environment(url: str) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"REDIS_URL": url, "PATH": path, "FEAST_USAGE": "False"}


def feast(repo, *arguments: str) -> str:
    root, url = repo
    done = subprocess.run(
        [Path(sys.executable).parent / "feast", *arguments],
        cwd=root,
        env=environment(url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_apply_materialize_and_list(repo):
    root, url = repo
    assert "Deploying infrastructure for video_topics" in feast(repo, "apply")
    assert (root / ".vidtopics" / "registry.db").is_file()
    listed = feast(repo, "feature-views", "list")
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
    feast(repo, "materialize", "1970-01-01T00:00:00", "2026-06-01T00:00:00")
    found = OnlineClient.from_url(url).read_views(
        ["video_topics", "video_statistics", "video_joint_representation"], ["a", "b", "c"]
    )
    topics = found["video_topics"]
    assert topics.status.tolist() == [Status.PRESENT, Status.NULL, Status.NOT_FOUND]
    assert topics["topic_ids"].tolist() == [[8, *[-1] * 7], [-1] * 8, [-1] * 8]
    assert found["video_statistics"]["video_exposures"].tolist() == [10, 4, 0]
    assert found["video_joint_representation"]["encoder_version"].tolist() == ["é1", "é1", None]


def test_serve_and_ui_answer(repo):
    ports = [_free_port(), _free_port()]
    root, url = repo
    commands = (["serve", "--port", str(ports[0])], ["ui", "--port", str(ports[1])])
    started = [
        subprocess.Popen(
            [Path(sys.executable).parent / "feast", *c],
            cwd=root,
            env=environment(url),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for c in commands
    ]
    try:
        request = {"feature_service": "ranking_v1", "entities": {"video_id": ["a", "b", "c"]}}
        answer = json.loads(
            _fetch(f"http://127.0.0.1:{ports[0]}/get-online-features", request, started[0])
        )
        names = answer["metadata"]["feature_names"]
        ids = answer["results"][names.index("topic_ids")]
        assert ids["statuses"] == ["PRESENT", "NULL_VALUE", "NOT_FOUND"]
        assert ids["values"][0] == [8, *[-1] * 7]
        assert answer["results"][names.index("video_exposures")]["values"] == [10, 4, None]
        page = _fetch(f"http://127.0.0.1:{ports[1]}/", None, started[1])
        assert "<title>Feast" in page
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _fetch(url: str, body: dict | None, process: subprocess.Popen) -> str:
    """What the address answers, as soon as something listens."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    until = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None
        except OSError:
            assert process.poll() is None, f"it ended with {process.returncode}"
            assert time.monotonic() < until, f"{url} doesn't answer"
            time.sleep(0.3)
