"""`infer --follow` killed at any moment: no delivery is lost or repeated, releases are whole."""

from __future__ import annotations

import json
import math
import os
import random
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
import redis
from small_home import SmallHome
from test_job_kills import kill
from test_small_release import deliver, holding, serve

from vidtopics.contracts import DERIVED, IMPRESSIONS, VIDEO_CATALOG
from vidtopics.ingest import Source, ingest
from vidtopics.ingest.inbox import Inbox
from vidtopics.jobs.job import Run
from vidtopics.jobs.pipeline import find, run_jobs
from vidtopics.online import OnlineClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
POINTS = (
    *("inbox.taken", "inbox.begun", "publish.compared", "inbox.published", "inbox.noted"),
    *("release.read", "release.committed", "materialize.staged", "materialize.switched"),
)
RANDOM_KILLS = 2
PATIENCE_S = 300


class Zygote:
    """Starts the service as forks of a process that has imported everything, one at a time."""

    def __init__(self) -> None:
        here = Path(__file__).parent
        path = os.pathsep.join([str(here.parents[1]), os.environ["PYTHONPATH"]])
        self._process = subprocess.Popen(
            [sys.executable, here / "infer_zygote.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": path},
        )

    def start(self, home: SmallHome, log: Path, failpoint: str = "") -> Service:
        """The service, in a process group of its own; its log is added to `log`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = json.dumps([words(home), str(log), failpoint]) + "\n"
        self._process.stdin.write(line.encode())
        return Service(int(self._process.stdout.readline()), self._process.stdout)

    def end(self) -> None:
        """No more are started."""
        self._process.kill()
        self._process.communicate()


@dataclass
class Service:
    """A fork; what it ended with comes over its parent's output."""

    pid: int
    output: IO[bytes]
    status: int | None = None

    def poll(self) -> int | None:
        """The exit status, if it ended."""
        return self._read(0)

    def wait(self, timeout: float = 60) -> int:
        """The exit status."""
        status = self._read(timeout)
        assert status is not None, "it goes on"
        return status

    def _read(self, seconds: float) -> int | None:
        if self.status is None and select.select([self.output], [], [], seconds)[0]:
            self.status = int(self.output.readline())
        return self.status


@pytest.fixture
def zygote(valkey: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zygote]:
    """With the address of the embedded server, as all that the test starts."""
    monkeypatch.setenv("REDIS_URL", valkey)
    zygote = Zygote()
    yield zygote
    zygote.end()


def words(home: SmallHome) -> list[str]:
    """The command's."""
    return ["infer", "--follow", "--home", str(home.tables.home), "--config", str(home.config)]


def start(home: SmallHome, log: Path) -> subprocess.Popen[bytes]:
    """The command itself."""
    with log.open("a") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "vidtopics", *words(home)], start_new_session=True, stderr=stderr
        )


def wait_until(
    holds: Callable[[], bool], process: Service | subprocess.Popen[bytes], log: Path
) -> None:
    began = time.monotonic()
    while not holds():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() - began < PATIENCE_S, log.read_text()
        time.sleep(0.05)


def alike(one: Any, other: Any) -> bool:
    """Equal, but for how sums round that were decayed in thirteen steps rather than in one."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-9)
    return bool(one == other)


def test_kills_between_any_steps_lose_and_repeat_nothing(
    fork: Callable[..., SmallHome],
    store: redis.Redis,
    valkey: str,
    tmp_path: Path,
    zygote: Zygote,
) -> None:
    killed, undisturbed = fork(), fork()
    inbox, chance, log = Inbox(killed.tables.home), random.Random(17), tmp_path / "log"
    inbox.make()
    brought: list[Path] = []

    def bring() -> None:
        name = f"d{len(brought)}"
        brought.append(deliver(tmp_path / name, name))
        shutil.copytree(brought[-1], inbox.inbox / f".{name}")
        (inbox.inbox / f".{name}").rename(inbox.inbox / name)

    serve(killed)  # the home's own release
    client = OnlineClient.from_url(valkey)

    for point in POINTS:
        bring()
        process = zygote.start(killed, log, point)
        assert process.wait(PATIENCE_S) == -9, log.read_text()
        # What is live is whole: queues and topics of one release, known videos among them.
        known = client.read("video_topics", ["v010"])
        assert known.present.all()
        assert client.catalogue().epoch == known["topic_epoch"]
    for _ in range(RANDOM_KILLS):
        process = zygote.start(killed, log)
        bring()
        wait_until(lambda: not inbox.waiting(), process, log)
        time.sleep(chance.uniform(0, 3))
        kill(process)

    last = start(killed, log)
    names = [path.name for path in brought]

    def is_served() -> bool:
        return bool(client.read("video_topics", names).present.all())

    wait_until(is_served, last, log)
    wait_until(lambda: not inbox.unfinished(), last, log)
    last.terminate()
    assert last.wait(PATIENCE_S) == 0
    assert len(list((inbox.deliveries / "outcomes").iterdir())) == len(brought)

    for path in brought:
        ingest(undisturbed.tables, Source("folder", path), undisturbed.settings.ingest)
    run_jobs(Run.now(undisturbed.tables, undisturbed.settings), find([]))
    for table in DERIVED:
        assert alike(holding(killed, table), holding(undisturbed, table)), table.name
    for table in (VIDEO_CATALOG, IMPRESSIONS):
        mine, others = (home.tables.read(table).num_rows for home in (killed, undisturbed))
        assert mine == others, table.name
