"""Topics of a Kafka broker as a source of events, by the command; and kill -9 of it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from events_home import SETTINGS, now_us
from source_contract import Receiver, drawn_log, ipc_stream, lines, rows, shuffled_and_repeated

from benchmarks.kafka_broker import PASSWORD, Broker, client_properties, kafka_broker
from vidtopics import server
from vidtopics.cli import homes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
KILLS = 2


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with kafka_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A home with its own server, as the command has it."""
    home = tmp_path / "root" / "home"
    home.mkdir(parents=True)
    homes.keep(home, SETTINGS)
    try:
        with redis.Redis.from_url(server.start(home)) as connection:
            yield Receiver(tmp_path / "root", connection, now_us())
    finally:
        server.stop(home)


def command(receiver: Receiver, source: str, *options: str) -> list[str]:
    home = receiver.small.tables.home
    verb = [sys.executable, "-m", "vidtopics", "events", "follow", source, "--home", str(home)]
    return [*verb, *options]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{os.environ['PYTHONPATH']}{os.pathsep}{ROOT}"}


def follow_once(receiver: Receiver, source: str, *options: str) -> tuple[int, dict[str, Any], str]:
    """Status, what became of the messages, and what went to standard error."""
    done = subprocess.run(
        command(receiver, source, "--once", "--json", *options),
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=600,
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_a_topic_has_the_effect_of_the_client_and_is_read_on_from_its_checkpoint(
    broker: Broker, receiver: Receiver
) -> None:
    log = drawn_log(60, receiver.generation.as_of_us + 500_000)
    first = [json.dumps(e).encode() for e in shuffled_and_repeated(log[:40])]
    broker.produce("events", [*first, b'{"kind": "view"}', b"\xff", None])
    source = f"kafka://{broker.servers}/events"
    status, result, _ = follow_once(receiver, source)
    assert (status, result["messages"], result["acknowledged"]) == (1, len(first) + 3, len(first))
    assert result["refused"] == {"bad_kind": 1, "not_utf8": 1, "no_event": 1}

    second = [json.dumps(e).encode() for e in shuffled_and_repeated(log)]
    broker.produce("events", second)
    status, result, error = follow_once(receiver, source)
    assert (status, result["messages"], result["acknowledged"]) == (0, len(second), len(second))
    assert error == ""
    receiver.assert_has(log)
    assert sorted(reason for reason, _ in receiver.dead()) == ["bad_kind", "no_event", "not_utf8"]
    places = {detail.partition(":")[0] for _, detail in receiver.dead()}
    assert {place.partition("@")[0] for place in places} <= {f"events-{n}" for n in range(3)}
    assert len(places) == 3


def test_arrow_over_a_listener_that_asks_for_a_password_from_a_time_on(
    broker: Broker, receiver: Receiver, tmp_path: Path
) -> None:
    log = drawn_log(30, receiver.generation.as_of_us + 500_000)
    now_ms = now_us() // 1_000
    broker.produce("arrow", [b"older than what is read"], at_ms=now_ms - 60_000)
    events = rows(shuffled_and_repeated(log))
    parts = [ipc_stream(events.slice(i, 7)) for i in range(0, events.num_rows, 7)]
    broker.produce("arrow", parts, at_ms=now_ms)
    config = tmp_path / "client.properties"
    source = f"kafka://127.0.0.1:{broker.sasl_port}/arrow"
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_ms / 1_000 - 30))
    options = ["--format", "arrow", "--since", since, "--kafka-config", str(config)]

    config.write_text(client_properties(password="another"))
    status, _, error = follow_once(receiver, source, *options)
    assert status == 2
    assert "Authentication failed" in error
    assert "another --checkpoint" in error
    assert PASSWORD not in error

    config.write_text(client_properties())
    status, result, _ = follow_once(receiver, source, *options)
    assert (status, result["messages"], result["acknowledged"]) == (0, len(parts), len(events))
    receiver.assert_has(log)


@pytest.mark.parametrize("kind", ["files", "kafka"])
def test_kill_9_in_the_middle_loses_nothing_and_counts_nothing_twice(
    kind: str, broker: Broker, receiver: Receiver, tmp_path: Path
) -> None:
    rng = random.Random(23)
    log = drawn_log(4_000, receiver.generation.as_of_us + 500_000)
    # It lands in several rounds: a watch in a later one than its click isn't in `clicks`.
    log = [replace(event, watch=None) for event in log]
    events = shuffled_and_repeated(log)
    folder = tmp_path / "events"
    folder.mkdir()
    if kind == "kafka":
        source, batch = f"kafka://{broker.servers}/killed", "400"
        broker.produce("killed", (json.dumps(event).encode() for event in events))
    else:
        source, batch = str(folder), "1"
        for number in range(0, len(events), 400):
            (folder / f"{number:06d}.jsonl").write_text(lines(events[number : number + 400]))
    for _ in range(KILLS):
        goal = receiver.entries() + rng.randint(1, 1_500)
        kill_once_it_has(receiver, goal, command(receiver, source, "--batch", batch))
    assert 0 < receiver.entries() < len(events)
    status, result, _ = follow_once(receiver, source)
    assert status == 0
    assert 0 < result["acknowledged"] < len(events)
    assert receiver.entries() >= len(events)
    receiver.assert_has(log)


def kill_once_it_has(receiver: Receiver, goal: int, line: list[str]) -> None:
    """Start the command, and kill it with its JVM and workers once Redis has so many events."""
    process = subprocess.Popen(
        line,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    until = time.monotonic() + 300
    try:
        while receiver.entries() < goal:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until, "no events"
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
