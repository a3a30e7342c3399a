"""Some hundred SIGKILLs at random moments: the run after each leaves what undisturbed runs do."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import redis
from online_home import KEEP, OnlineHome, dump, lease_ends, stages
from test_materialize_crashes import step

from vidtopics import server
from vidtopics.online import OnlineClient
from vidtopics.online.connections import connect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROUNDS = 40  # of three kills each
SERVER_KILLS = 24
Plan = list[tuple[int, bool]]
PLAN: Plan = [
    (0, False),
    (1, False),
    (1, True),
]  # the first release, the second, and all of it anew


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[OnlineHome]:
    return stages(
        tmp_path_factory.mktemp("stages"), [partial(step, number=number) for number in (1, 2)]
    )


def content(store: redis.Redis) -> dict[Any, Any]:
    """Every key and value; those of live generations under the view's number alone."""
    everything = dump(store)
    live = {e["number"]: e["generation"] for e in everything[b"vt:{directory}:views"].values()}
    live_content: dict[Any, Any] = {}
    for key, value in everything.items():
        parts = key.split(b":", 3)
        if parts[1].isdigit():
            assert live[int(parts[2].lstrip(b"w"))] == int(parts[1]), (
                f"{key!r} of a generation that is not live"
            )
            live_content[parts[2], parts[3]] = value
        elif key.endswith(b"}:held"):  # a rollback, but for its second
            live_content[key] = json.loads(value) | {"since": ""}
        elif not key.endswith((b"}:directory", b"}:views", b"}:sources")):
            live_content[key] = value
    live_content["sources"] = {
        n: {k: v for k, v in s.items() if k != "generation"}
        for n, s in everything[b"vt:{directory}:sources"].items()
    }
    return live_content


@pytest.fixture(scope="module")
def expected(homes: list[OnlineHome], valkey: str) -> list[dict[Any, Any]]:
    """After each step of the plan."""
    contents = []
    with redis.Redis.from_url(valkey) as store:
        store.flushall()
        for at, full in PLAN:
            homes[at].run(store, full=full)
            contents.append(content(store))
    assert contents[0] != contents[1] == contents[2]
    return contents


@pytest.fixture
def zygote() -> Iterator[subprocess.Popen[str]]:
    script = Path(__file__).with_name("kill_zygote.py")
    child = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(script.parents[2])},
    )
    assert child.stdout is not None
    assert child.stdout.readline().startswith("ready")
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def run_and_kill(
    zygote: subprocess.Popen[str], home: OnlineHome, url: str, what: str, after_s: float | None
) -> tuple[bool, float]:
    """Whether the run died of it, and its seconds."""
    assert zygote.stdin is not None
    assert zygote.stdout is not None
    zygote.stdin.write(f"{home.root} {url} {what}\n")
    zygote.stdin.flush()
    pid, began = int(zygote.stdout.readline()), time.monotonic()
    if after_s is not None:
        time.sleep(after_s)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    status = int(zygote.stdout.readline())
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL, time.monotonic() - began


def test_kills_of_the_materialiser(
    homes: list[OnlineHome],
    expected: list[dict[Any, Any]],
    store: redis.Redis,
    valkey: str,
    zygote: subprocess.Popen[str],
) -> None:
    lasts = []
    for at, full in PLAN:  # how long each step takes
        lasts.append(run_and_kill(zygote, homes[at], valkey, _what(full), None)[1])
    chance, died = random.Random(7), 0
    for _ in range(ROUNDS):
        store.flushall()
        for (at, full), last, expected_content in zip(PLAN, lasts, expected, strict=True):
            killed, _ = run_and_kill(
                zygote, homes[at], valkey, _what(full), chance.uniform(0, last)
            )
            died += killed
            lease_ends(store)
            homes[at].run(store)
            assert content(store) == expected_content
    print(f"{died} of {ROUNDS * len(PLAN)} runs died")
    assert died > ROUNDS * len(PLAN) * 0.2


def _what(full: bool) -> str:
    return "full" if full else "run"


@pytest.mark.parametrize("what", ["back", "run"])
def test_kills_of_a_rollback_and_of_the_run_that_drops_what_was_retained(
    homes: list[OnlineHome],
    store: redis.Redis,
    valkey: str,
    zygote: subprocess.Popen[str],
    what: str,
) -> None:
    """Readers have one release or the other; done again, it leaves what it leaves undisturbed."""

    def prepare() -> None:
        store.flushall()
        for home in homes:
            home.run(store, KEEP)

    prepare()
    whole = {json.dumps(seen(store))}
    last = run_and_kill(zygote, homes[1], valkey, what, None)[1]
    expected, goal = content(store), json.dumps(seen(store))
    whole.add(goal)
    chance, died = random.Random(7), 0
    for _ in range(ROUNDS // 2):
        prepare()
        killed, _ = run_and_kill(zygote, homes[1], valkey, what, chance.uniform(0, last))
        died += killed
        lease_ends(store)
        assert json.dumps(seen(store)) in whole
        assert not run_and_kill(zygote, homes[1], valkey, what, None)[0]
        assert (json.dumps(seen(store)), content(store)) == (goal, expected)
    print(f"{died} of {ROUNDS // 2} runs died")
    assert died > ROUNDS // 2 * 0.2


def seen(store: redis.Redis) -> list[list[object]]:
    """What readers have of both views and the queues."""
    client, ids = OnlineClient(store), [f"v{i}" for i in range(20)]
    features = client.read_views(["video_statistics", "video_topics"], ids)
    return [
        features["video_statistics"]["video_exposures"].tolist(),
        features["video_topics"]["topic_ids"].tolist(),
        [client.catalogue().epoch],
    ]


def test_kills_of_redis(
    homes: list[OnlineHome], expected: list[dict[Any, Any]], tmp_path: Path
) -> None:
    """The server is started again with its data, and the run is made again."""
    chance, failed = random.Random(7), 0
    url = server.start(tmp_path)
    try:
        for i in range(SERVER_KILLS):
            with connect(url, timeout_s=20) as store:
                store.flushall()
                at, full = PLAN[i % 3]
                for before in range(at + full):
                    homes[before].run(store)
                failed += _killed_under(tmp_path, homes[at], store, full, chance.uniform(0, 0.3))
            url = server.start(tmp_path)
            with connect(url, timeout_s=20) as store:
                lease_ends(store)
                homes[at].run(store)
                assert content(store) == expected[i % 3]
    finally:
        server.stop(tmp_path)
    print(f"{failed} of {SERVER_KILLS} runs lost their server")
    assert failed > SERVER_KILLS * 0.2


def _killed_under(folder: Path, home: OnlineHome, store: Any, full: bool, after_s: float) -> bool:
    """Whether the run noticed that its server died."""
    pid = json.loads((folder / "redis" / "server.json").read_text())["pid"]
    errors = []

    def run() -> None:
        try:
            home.run(store, full=full)
        except redis.RedisError as error:
            errors.append(error)

    thread = Thread(target=run)
    thread.start()
    time.sleep(after_s)
    os.kill(pid, signal.SIGKILL)
    thread.join()
    return bool(errors)
