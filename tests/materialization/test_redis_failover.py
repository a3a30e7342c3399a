"""Failovers of a real cluster in the midst of runs, to a replica that lacks what came last."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event, Thread, Timer, get_ident
from typing import Any

import pytest
import redis
from online_home import OnlineHome, lease_ends, stages
from test_materialize_kills import content

from benchmarks.redis_nodes import (
    Node,
    cluster_of,
    cut_off,
    in_step,
    owner,
    promote,
    replica_of,
    valkey_server,
    wait,
)
from vidtopics.errors import StoreError
from vidtopics.materialization.reconcile import reconcile
from vidtopics.online import OnlineClient, Status
from vidtopics.online.connections import Connection, connect
from vidtopics.settings import OnlineSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROUNDS = 12
SETTINGS = OnlineSettings(buckets=16, keep=timedelta(0))
VIDEOS = [f"v{i}" for i in range(1_500)]
USERS = [f"u{i}" for i in range(60)]
TOPICS = range(40)
OPTIONS = {
    "cluster_replica_no_failover": "yes",
    "repl_diskless_sync_delay": "0",
    "cluster_node_timeout": "2000",
}
PLAN = [(0, False), (1, False), (1, True)]  # a first load, an update, all anew
# Step of the plan, command at which the replica is cut off, and at which the primary dies. Of the
# last a run learns when it looks again; the others left keys of generations that nobody knew.
FOUND: list[tuple[int, int, int, bool]] = [
    (1, 56, 76, False),
    (2, 36, 83, False),
    (1, 105, 118, False),
    (2, 96, 100, False),
    (0, 124, 149, False),
]
LAST = 30  # commands of a run that come after it has looked again, and some before


def exposures(video: int, release: int) -> int:
    """Say video and release; the second release changes every other video."""
    return video + 10_000 * (release if video % release == 0 else 1)


def step(home: OnlineHome, *, number: int) -> None:
    home.statistics(
        *[
            (v, number, number, exposures(i, number))
            for i, v in enumerate(VIDEOS)
            if i % number == 0
        ]
    )
    home.topics(*[(v, number, number, i % 100) for i, v in enumerate(VIDEOS[: 500 * number])])
    home.clicks(**{u: [f"v{i + number}", "v"] for i, u in enumerate(USERS)})
    home.queues({t: [f"v{t + number}", f"v{t}"] for t in TOPICS}, epoch=number)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[OnlineHome]:
    return stages(
        tmp_path_factory.mktemp("stages"), [partial(step, number=number) for number in (1, 2)]
    )


@pytest.fixture
def expected(homes: list[OnlineHome], store: redis.Redis) -> list[dict[Any, Any]]:
    """What a load of each release into an empty store leaves."""
    contents = []
    for home in homes:
        store.flushall()
        home.run(store, SETTINGS)
        contents.append(content(Copy(store)))
    return contents


@dataclass
class Pair:
    """A primary, its replica, and the other primaries of their cluster."""

    primary: Node
    replica: Node
    others: list[Node]
    url: str = field(init=False)

    def __post_init__(self) -> None:
        nodes = [*self.others, self.primary, self.replica]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{n.port}" for n in nodes)

    def fail_over(self, *, late: bool) -> None:
        """Kill the primary; its replica takes its slots, at once or after others have noticed."""
        self.primary.kill()
        if late:
            Timer(0.2, promote, [self.replica]).start()
        else:
            promote(self.replica)
            self.known()

    def known(self) -> None:
        """Wait until the others know who serves the slots."""
        for node in self.others:
            with redis.Redis.from_url(node.url) as connection:
                wait(
                    lambda c=connection: owner(c, 0) == self.replica.port,
                    "a replica that took over",
                )

    def mend(self) -> None:
        """The dead one comes back as the replica of the other."""
        self.known()
        self.primary.start()
        self.primary, self.replica = self.replica, self.primary
        wait(lambda: in_step(self.primary, self.replica), "a replica that has all again")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """The primary of the directory and of six buckets."""
    with (
        cluster_of(tmp_path / "primaries", binary=valkey_server(), **OPTIONS) as nodes,
        replica_of(nodes[0], tmp_path / "replica", binary=valkey_server(), **OPTIONS) as replica,
    ):
        yield Pair(nodes[0], replica, nodes[1:])


@contextmanager
def at_commands(
    patch: pytest.MonkeyPatch, moments: dict[int, Callable[[], None]]
) -> Iterator[list[int]]:
    """Something happens before this thread's n-th sending; the list counts what was sent."""
    sent, real, this_thread = [0], redis.Connection.send_packed_command, get_ident()

    def send(*arguments: Any, **named: Any) -> None:
        if get_ident() == this_thread:
            sent[0] += 1
            if happens := moments.pop(sent[0], None):
                with patch.context() as inner:
                    inner.setattr(redis.Connection, "send_packed_command", real)
                    happens()
        real(*arguments, **named)

    with patch.context() as outer:
        outer.setattr(redis.Connection, "send_packed_command", send)
        yield sent


class Copy:
    """All keys of a store, read at once: what `dump` asks for."""

    def __init__(self, store: Any) -> None:
        self._keys = list(store.scan_iter(count=1000))
        self.kinds = dict(
            zip(self._keys, self._asked(store, lambda pipe, key: pipe.type(key)), strict=True)
        )
        read = {
            b"string": lambda pipe, key: pipe.get(key),
            b"list": lambda pipe, key: pipe.lrange(key, 0, -1),
            b"hash": lambda pipe, key: pipe.hgetall(key),
        }
        values = self._asked(store, lambda pipe, key: read[self.kinds[key]](pipe, key))
        self.values = dict(zip(self._keys, values, strict=True))

    def _asked(self, store: Any, ask: Callable[[Any, bytes], object]) -> list[Any]:
        with store.pipeline(transaction=False) as pipe:
            for key in self._keys:
                ask(pipe, key)
            return list(pipe.execute())

    def scan_iter(self, **_: object) -> list[bytes]:
        return self._keys

    def type(self, key: bytes) -> bytes:
        return bytes(self.kinds[key])

    def get(self, key: bytes, *_: object) -> Any:
        return self.values[key]

    hgetall = lrange = get


class Reader(Thread):
    """Reads over and over with one client; keeps wrong answers, counts answers and errors."""

    def __init__(self, url: str, *, loaded: bool) -> None:
        super().__init__(daemon=True)
        self.client = OnlineClient.from_url(url, timeout_s=0.5)
        self.loaded = loaded
        self.counts: Counter[str] = Counter()
        self.wrong: list[object] = []
        self.done = Event()
        self.start()

    def run(self) -> None:
        turn = 0
        while not self.done.wait(0.003):
            turn += 1
            try:
                self.look(turn)
                self.counts["answers"] += 1
            except redis.RedisError:
                self.counts["errors"] += 1
            except StoreError:
                self.counts["nothing there"] += 1

    def look(self, turn: int) -> None:
        ids = range(turn % 7, len(VIDEOS), 7)
        features = self.client.read("video_statistics", [VIDEOS[i] for i in ids])
        for i, status, n in zip(
            ids, features.status, features["video_exposures"].tolist(), strict=True
        ):
            if not (
                n in (exposures(i, 1), exposures(i, 2))
                if status == Status.PRESENT
                else not self.loaded
            ):
                self.wrong.append((VIDEOS[i], Status(status), n))
        user, topic = turn % len(USERS), turn % len(TOPICS)
        clicks = self.client.recent_clicks(USERS[user])
        if clicks not in ([f"v{user + 1}", "v"], [f"v{user + 2}", "v"]) and (clicks or self.loaded):
            self.wrong.append((USERS[user], clicks))
        for epoch in (1, 2):
            (queue,) = self.client.queues([topic], epoch=epoch, limit=9)
            if queue not in ([], [f"v{topic + epoch}", f"v{topic}"]):
                self.wrong.append((topic, epoch, queue))

    def end(self, release: int) -> None:
        """All answers were right, and the same client finds the release."""
        self.done.set()
        self.join()
        features = self.client.read("video_statistics", VIDEOS)
        assert features["video_exposures"].tolist() == [
            exposures(i, release) for i in range(len(VIDEOS))
        ]
        assert self.client.recent_clicks("u7") == [f"v{7 + release}", "v"]
        assert self.client.queues(TOPICS, epoch=release, limit=1) == [
            [f"v{t + release}"] for t in TOPICS
        ]
        self.client.close()
        assert not self.wrong


def prepared(homes: list[OnlineHome], store: Connection, at: int, full: bool) -> None:
    """Empty, or the release before the one that comes, or for a `--full` that one itself."""
    store.flushall()
    for home in homes[: at + full]:
        home.run(store, SETTINGS)


def end(home: OnlineHome, store: Connection, *, full: bool) -> str:
    """How a run ends."""
    try:
        home.run(store, SETTINGS, full=full)
    except redis.RedisError:
        return "out of reach"
    except StoreError as error:
        return "lost writes" if "Redis lost writes of this run" in str(error) else str(error)
    return "no error"


def drawn(totals: list[int]) -> Iterator[tuple[int, int, int, bool]]:
    """Steps in turn, moments of their commands, and whether the replica takes over late."""
    chance = random.Random(7)
    for turn in range(ROUNDS):
        total = totals[turn % 3]
        cut = chance.randint(10, total - 2)
        yield (
            turn % 3,
            cut,
            min(total - 1, cut + 1 + int(chance.expovariate(1 / 25))),
            chance.random() < 0.25,
        )


def test_failovers_that_lose_writes_of_a_run(
    homes: list[OnlineHome],
    expected: list[dict[Any, Any]],
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run fails or its work is whole; the next one makes all good; readers get no wrong value."""
    monkeypatch.setattr("vidtopics.materialization.writer.BATCH", 40)
    monkeypatch.setattr("vidtopics.materialization.generations.CLUSTER_GRACE_S", 0.05)
    ends, reads, totals = Counter[str](), Counter[str](), []
    for at, full in PLAN:  # how many commands each step takes
        with connect(pair.url, timeout_s=20) as store, at_commands(monkeypatch, {}) as sent:
            prepared(homes, store, at, full)
            before = sent[0]
            homes[at].run(store, SETTINGS, full=full)
            totals.append(sent[0] - before)
    for number, cut, kill, late in [*FOUND, *drawn(totals)]:
        at, full = PLAN[number]
        moments = {
            cut: lambda: cut_off(pair.primary),
            kill: lambda late=late: pair.fail_over(late=late),
        }
        with ExitStack() as stack:
            store = stack.enter_context(connect(pair.url, timeout_s=20))
            prepared(homes, store, at, full)
            wait(lambda: in_step(pair.primary, pair.replica), "a replica that has all")
            reader = Reader(pair.url, loaded=at > 0)
            with at_commands(monkeypatch, moments):
                ended = end(homes[at], store, full=full)
            for moment in sorted(moments):  # the run was shorter than the one that was counted
                moments[moment]()
            pair.mend()
            again = stack.enter_context(connect(pair.url, timeout_s=20))
            lease_ends(again)
            if ended == "no error" and kill < totals[number] - LAST:
                assert not [r for r in reconcile(homes[at].tables, again, SETTINGS) if r.faults]
            homes[at].run(again, SETTINGS)
            assert content(Copy(again)) == expected[at], (number, cut, kill, late, ended)
            reader.end(at + 1)
            ends[ended] += 1
            reads += reader.counts
    print(f"runs: {dict(ends)}; reads: {dict(reads)}")
    assert ends.keys() <= {
        "out of reach",
        "lost writes",
        "no error",
    }  # the first two are what the command ends with 2 for
    assert ends["out of reach"] > 0 < ends["lost writes"]
    assert reads["answers"] > 10 * ROUNDS
