"""kill -9 of senders, consumers, Redis and materialisation, and whether each event counts once.

`python -m benchmarks.event_kills [--kills 300] [--seed 7] [--appendfsync always]`

Real processes on a home of its own: `vidtopics events apply` twice (landing each second),
`vidtopics materialize` for a release after every few kills, a client that sends batch after batch,
and a Redis server with an append-only log. Each kill hits one of them at a random moment while a
batch is on its way; what died is started again, a batch that wasn't acknowledged is sent again.
After each release, and at the end, the streams are drained, and what readers see of every video and
user must be what plain counting says of all that was acknowledged. At the end each event must be in
the log's tables once. Any difference is an error (status 1).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import typer
from redis.exceptions import RedisError

from benchmarks.event_homes import EventHome, Log
from benchmarks.homes import folder
from benchmarks.redis_nodes import Node, node, valkey_server
from vidtopics.contracts import CLICKS, IMPRESSIONS
from vidtopics.events.generations import keys_of, lags, opened
from vidtopics.layout import place
from vidtopics.materialization import materialize
from vidtopics.online import OnlineClient
from vidtopics.online.connections import connect
from vidtopics.tables.stamps import now_us

VIDEOS, USERS, BATCH = 20, 30, 12
CONSUMERS = 2
BETWEEN, HANDED_OVER = 16, 6
"""Kills between two releases, and tries to kill the materialisation of each."""
WAIT_S = 120.0
SPAN_S = {"sender": 0.02, "consumer": 0.05, "redis": 0.03, "materialize": 0.5}
"""Up to when after the batch began a victim dies; of materialisation after its own begin."""


class DifferenceError(Exception):
    """What readers or tables have isn't what was sent."""


class World:
    """The processes, and what they were given.

    Args:
        path: of a folder that is empty.
        server: Redis.
        seed: of all chance.
    """

    def __init__(self, path: Path, server: Node, seed: int) -> None:
        self.server, self.rng = server, random.Random(seed)  # noqa: S311
        self.environment = os.environ | {"REDIS_URL": server.url, "VICTIMS_LOG": str(path / "log")}
        self.log = Log([f"u{i}" for i in range(USERS)], [f"v{i}" for i in range(VIDEOS)])
        self.log.batch(self.rng, BATCH)
        self.home = EventHome(path / "home", self.log)
        self.kills: Counter[str] = Counter()
        self.resent = self.restarted = 0
        self._zygote = self._start("commands")
        assert self._zygote.stdout
        assert self._zygote.stdout.readline() == "ready\n"
        self._sender: subprocess.Popen[str] | None = None
        self._consumers: list[int] = []

    def begin(self) -> None:
        """Load a first release, and start what runs on."""
        self.home.release(now_us())
        with connect(self.server.url) as connection:
            materialize(self.home.tables, connection, self.home.settings.online)
        self._consumers = [self._consumer() for _ in range(CONSUMERS)]

    def disturbed_batch(self, victim: str) -> None:
        """Send a batch while one of the processes is killed, until the batch is acknowledged."""
        events = self.log.batch(self.rng, BATCH)
        self._give(events)
        time.sleep(self.rng.uniform(0, SPAN_S[victim]))
        if victim == "sender":
            self._kill_sender()
        elif victim == "consumer":
            place_of = self.rng.randrange(CONSUMERS)
            _kill(self._consumers[place_of])
            self._consumers[place_of] = self._consumer()
        else:
            self.server.kill()
            self.server.start()
            _wait(lambda: _answers(self.server.url), "a server that has read its log")
        self.kills[victim] += 1
        self._await(events)

    def hand_over(self, kills: int) -> None:
        """A release goes live while its materialisation is killed, and then is run to its end."""
        as_of_us = now_us()
        self._command("events", "apply", "--once", ended=True)  # a run lands once its T is fixed
        if self.home.release(as_of_us) is None:
            raise DifferenceError("the release has nothing new: nothing landed")
        for _ in range(kills):
            pid, events = self._command("materialize"), self.log.batch(self.rng, BATCH)
            self._give(events)
            time.sleep(self.rng.uniform(0, SPAN_S["materialize"]))
            if _is_alive(pid):
                _kill(pid)
                self.kills["materialize"] += 1
            self._await(events)
            self._lease_ends()
        began = time.monotonic()
        self._command("materialize", ended=True)
        SPAN_S["materialize"] = time.monotonic() - began

    def check(self) -> None:
        """Drained, readers see each acknowledged event once."""
        self._supervise()
        with connect(self.server.url, timeout_s=20) as connection:
            _wait(lambda: _is_drained(connection), "streams that are drained")
            client = OnlineClient(connection)
            videos = client.live_statistics(self.log.videos)
            rows = zip(videos.exposures.tolist(), videos.clicks.tolist(), strict=True)
            _compare("videos", dict(zip(self.log.videos, rows, strict=True)), self.log.counts(1))
            users = {user: client.live_user(user) for user in self.log.users}
            counts = {user: (state.exposures, state.clicks) for user, state in users.items()}
            _compare("users", counts, self.log.counts(0))

    def check_log(self) -> None:
        """All landed, each event is in the tables once."""
        self._command("events", "apply", "--once", ended=True)
        for table, sent in ((IMPRESSIONS, set(self.log.shown)), (CLICKS, self.log.clicked)):
            landed = Counter(
                self.home.tables.read(table, columns=["event_id"])["event_id"].to_pylist()
            )
            _compare(table.name, landed, dict.fromkeys(sent, 1))

    def close(self) -> None:
        """End all processes."""
        for pid in self._consumers:
            _kill(pid)
        for process in (self._sender, self._zygote):
            if process:
                process.kill()
                process.communicate()

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmarks.event_victims", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=self.environment)  # noqa: S603

    def _command(self, *words: str, ended: bool = False) -> int:
        """Start a command, or run it until it has ended well."""
        line = json.dumps([*words, "--home", str(self.home.folder)])
        stdin, stdout = self._zygote.stdin, self._zygote.stdout
        assert stdin
        assert stdout
        stdin.write(line + "\n")
        stdin.flush()
        pid = int(stdout.readline())
        if ended:
            _wait(lambda: not _is_alive(pid), f"the end of {' '.join(words)}")
        return pid

    def _consumer(self) -> int:
        return self._command("events", "apply", "--land-every", "1s")

    def _supervise(self) -> None:
        """Start consumers again that ended by themselves, as one whose Redis isn't there does."""
        ended = [place for place, pid in enumerate(self._consumers) if not _is_alive(pid)]
        for place_of in ended:
            self._consumers[place_of] = self._consumer()
        self.restarted += len(ended)

    def _give(self, events: Sequence[Any]) -> None:
        """Hand a batch to the sender, which is started unless it runs."""
        if self._sender is None:
            self._sender = self._start("sender", self.server.url)
        assert self._sender.stdin
        self._sender.stdin.write(json.dumps(events) + "\n")
        self._sender.stdin.flush()

    def _await(self, events: Sequence[Any]) -> None:
        """Until the batch is acknowledged, by another sender where the first one is gone."""
        while True:
            if self._sender is None:
                self.resent += 1
                self._give(events)
            assert self._sender
            assert self._sender.stdout
            answer = self._sender.stdout.readline()
            if answer:
                if int(answer) != len(events):
                    raise DifferenceError(f"{answer} of {len(events)} acknowledged")
                return
            self._kill_sender()  # it gave up

    def _kill_sender(self) -> None:
        assert self._sender
        self._sender.kill()
        self._sender.communicate()
        self._sender = None

    def _lease_ends(self) -> None:
        """What time does to the lock of a materialisation that died."""
        with connect(self.server.url, timeout_s=20) as connection:
            connection.delete(place(self.home.settings.online.prefix, "lock"))


def _is_drained(connection: Any) -> bool:
    keys = keys_of(connection, "vt")
    live = max(opened(connection, "vt"), default=None)  # None: no consumer has begun
    return live is not None and not any(map(max, lags(connection, keys, live).values()))


def _compare(what: str, found: Any, expected: Any) -> None:
    if dict(found) == dict(expected):
        return
    wrong = {
        k: (found.get(k), expected.get(k))
        for k in {*found, *expected}
        if found.get(k) != expected.get(k)
    }
    raise DifferenceError(f"{what}: (found, sent) of {len(wrong)}: {dict(list(wrong.items())[:5])}")


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _wait(lambda: not _is_alive(pid), f"the end of process {pid}")


def _answers(url: str) -> bool:
    with connect(url, timeout_s=20) as connection:
        try:
            return bool(connection.ping())
        except RedisError:
            return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait(done: Callable[[], object], what: str) -> None:
    until = time.monotonic() + WAIT_S
    while not done():
        if time.monotonic() > until:
            raise DifferenceError(f"no sign of {what} after {WAIT_S:.0f} s")
        time.sleep(0.005)


@contextmanager
def world(appendfsync: str, seed: int) -> Iterator[World]:
    """A world in a temporary folder, ended with the block."""
    with ExitStack() as stack:
        path = stack.enter_context(folder())
        server = stack.enter_context(
            node(
                path / "redis",
                binary=valkey_server(),
                appendonly="yes",
                appendfsync=appendfsync,
                maxmemory_policy="noeviction",
            )
        )
        made = World(path, server, seed)
        stack.callback(made.close)
        made.begin()
        yield made


def kill(kills: int, *, seed: int = 7, appendfsync: str = "always") -> World:
    """Kill that many times, and compare after each release and at the end.

    Raises:
        DifferenceError: an event that was acknowledged is missing, or counts twice.
    """
    with world(appendfsync, seed) as made:
        while made.kills.total() < kills:
            for _ in range(BETWEEN):
                made.disturbed_batch(made.rng.choice(("sender", "consumer", "consumer", "redis")))
            made.check()
            made.hand_over(HANDED_OVER)
            made.check()
            typer.echo(f"{made.kills.total()} kills, {len(made.log.shown):,} impressions", err=True)
        made.check_log()
        return made


def main() -> None:
    """Kill, compare, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--appendfsync", choices=("always", "everysec"), default="always")
    options = parser.parse_args()
    began = time.monotonic()
    made = kill(options.kills, seed=options.seed, appendfsync=options.appendfsync)
    of = ", ".join(f"{count} {victim}" for victim, count in sorted(made.kills.items()))
    typer.echo(
        f"{made.kills.total()} kills ({of}) in {time.monotonic() - began:.0f} s,"
        f" appendfsync {options.appendfsync}, load {os.getloadavg()[0]:.1f}\n"
        f"{len(made.log.shown):,} impressions and {len(made.log.clicked):,} clicks acknowledged,"
        f" {made.resent} batches sent again, {made.restarted} consumers that found no Redis started"
        " again; none missing, none counted twice"
    )


if __name__ == "__main__":
    main()
