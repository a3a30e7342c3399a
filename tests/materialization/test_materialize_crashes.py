"""A run that dies anywhere, run again, leaves every key and value of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from online_home import OnlineHome, dump, dying_at, lease_ends, stages

from vidtopics.failpoints import VARIABLE, Crash, Point, armed

Dump = dict[bytes, Any]


def step(home: OnlineHome, *, number: int) -> None:
    """The rows of one release: new values, ends, late rows, other queues and clicks."""
    n = number * 100
    home.statistics(
        *[(f"v{i}", number, number, n + i) for i in range(1, 20, number)], ("v3", 0, number, 7)
    )
    home.topics(*[(f"v{i}", number, number, None if i == number else n + i) for i in range(1, 9)])
    home.joint(*[(f"v{i}", number, number, n + i) for i in range(1, 5)])
    home.clicks(**{f"u{i}": [f"v{i + number}"] for i in range(number, 6)})
    home.queues({t: [f"v{t + number}", f"v{t}"] for t in range(number, 5)}, epoch=number)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[OnlineHome]:
    """A home after its first and its second release."""
    return stages(
        tmp_path_factory.mktemp("stages"), [partial(step, number=number) for number in (1, 2)]
    )


@pytest.fixture(scope="module")
def undisturbed(homes: list[OnlineHome], valkey: str) -> list[Dump]:
    """Everything in Redis after each release."""
    contents = []
    with redis.Redis.from_url(valkey) as store:
        store.flushall()
        for home in homes:
            home.run(store)
            contents.append(dump(store))
    assert contents[0] != contents[1]
    return contents


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("point", ["materialize.batch", "materialize.view"])
def test_a_crash_at_a_failpoint(
    homes: list[OnlineHome], undisturbed: list[Dump], store: redis.Redis, point: Point, at: int
) -> None:
    for home in homes[:at]:
        home.run(store)
    with pytest.raises(Crash), armed(point):
        homes[at].run(store)
    assert dump(store) != undisturbed[at]
    for home, expected in zip(homes[at:], undisturbed[at:], strict=True):
        home.run(store)
        assert dump(store) == expected


@pytest.mark.parametrize("at", [0, 1])
def test_a_crash_in_place_of_a_command(
    homes: list[OnlineHome],
    undisturbed: list[Dump],
    store: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    """Every eleventh of a run; small batches, so that there are many."""
    monkeypatch.setattr("vidtopics.materialization.writer.BATCH", 2)
    before = undisturbed[0] if at else {}
    command, died = 1, True
    while died:
        store.flushall()
        for home in homes[:at]:
            home.run(store)
        assert dump(store) == before
        with dying_at(command, monkeypatch):
            try:
                homes[at].run(store)
                died = False
            except Crash:
                pass
        lease_ends(store)
        homes[at].run(store)
        assert dump(store) == undisturbed[at], f"command {command}"
        command += 11
    assert command > 60


CHILD = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import redis
from online_home import OnlineHome
sent, real = [0], redis.Connection.send_packed_command
def send(*arguments, **named):
    sent[0] += 1
    if sent[0] == {command}:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*arguments, **named)
redis.Connection.send_packed_command = send
OnlineHome(Path({home!r})).run(redis.Redis.from_url({url!r}))
"""


@pytest.mark.slow
def test_processes_that_are_killed(
    homes: list[OnlineHome], undisturbed: list[Dump], store: redis.Redis, valkey: str
) -> None:
    """Three at once, each in a database of its own: two at failpoints, one at a command."""
    kills = [("materialize.batch", 0), ("materialize.view", 0), ("", 33)]
    stores = [redis.Redis.from_url(f"{valkey}/{i}") for i in range(1, 4)]
    children = []
    for i, (point, command) in enumerate(kills):
        homes[0].run(stores[i])
        url = f"{valkey}/{i + 1}"
        code = CHILD.format(
            tests=str(Path(__file__).parent), command=command, home=str(homes[1].root), url=url
        )
        children.append(
            subprocess.Popen([sys.executable, "-c", code], env={**os.environ, VARIABLE: point})
        )
    assert [child.wait(60) for child in children] == [-signal.SIGKILL] * 3
    for other in stores:
        assert dump(other) != undisturbed[1]
        lease_ends(other)
        homes[1].run(other)
        assert dump(other) == undisturbed[1]
