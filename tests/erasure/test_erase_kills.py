"""SIGKILL at random moments of an erasure: the others stay whole, the next run ends it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import erasure_world as world
import pytest
import redis
from erasure_world import HER
from test_erase_user import rows_of_others

from vidtopics.cli import common, homes
from vidtopics.erasure.receipts import Receipts
from vidtopics.failpoints import POINTS, VARIABLE
from vidtopics.tables import Tables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROUNDS = 30
NAMED = [point for point in POINTS if point.startswith("erase.")]
COMMAND = "import sys; from vidtopics.cli import main; sys.argv[0] = 'vidtopics'; main()"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, valkey: str) -> Any:
    """A home, and what Redis has of it."""
    with redis.Redis.from_url(valkey) as store:
        store.flushall()
        home = world.build(tmp_path_factory.mktemp("made"), store)
        homes.keep(home.tables.home, home.settings)
        dumps = {key: store.dump(key) for key in store.scan_iter()}
    return home.tables.home, dumps, rows_of_others(Tables(home.tables.home))


def begin(home: Path, **environment: str) -> subprocess.Popen[bytes]:
    words = ["erase", "user", HER, "--request", "r", "--home", str(home)]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


def assert_whole(home: Path, others: dict[str, list[Any]]) -> None:
    """Every version has all rows of the others, and none twice."""
    now = rows_of_others(Tables(home))
    assert {name: now[name] for name in others} == others


def test_killed_anywhere_an_erasure_goes_on(made, tmp_path, valkey, store, monkeypatch):
    original, dumps, others = made
    monkeypatch.setenv("REDIS_URL", valkey)
    draw, kills, took_s, home = random.Random(7), 0, 0.0, tmp_path

    def restore(number: int) -> Path:
        store.flushall()
        for key, dump in dumps.items():
            store.restore(key, 0, dump)
        return Path(shutil.copytree(original, tmp_path / f"home{number}"))

    for number in range(ROUNDS + len(NAMED)):
        home = restore(number)
        if number == 0:
            began = time.monotonic()
            assert begin(home).wait() == 0
            took_s = time.monotonic() - began
        elif number < len(NAMED) + 1:
            assert begin(home, **{VARIABLE: NAMED[number - 1]}).wait() == -9
            kills += 1
        else:
            process = begin(home)
            time.sleep(draw.uniform(0.25, 1.0) * took_s)
            process.kill()
            kills += process.wait() == -9
        assert_whole(home, others)
        assert common.run(["erase", "user", HER, "--request", "r", "--home", str(home)]) == 0
        assert world.traces(home, HER) == []
        assert world.redis_traces(store, HER) == []
        assert_whole(home, others)
        receipt = Receipts(home).read("r")
        assert receipt is not None
        assert receipt.state == "done"
        assert receipt.erased["table impressions"]["rows"] >= 20
        shutil.rmtree(home)
    assert kills >= 20
    print(f"{kills} kills")
