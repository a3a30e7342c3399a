"""kill -9 of senders and consumers at random points: what was acknowledged counts, and once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from live_worlds import Shown, applier, assert_equals_batch, new_store, sent

from vidtopics import server
from vidtopics.events.generations import Generation, open_generation
from vidtopics.online.connections import connect

KILLS = 15
LIMIT = 3
SENDER = """
import json, sys
from vidtopics.online.events import EventClient
client = EventClient.from_url(sys.argv[1])
for line in sys.stdin:
    part = json.loads(line)
    assert client.send(part).acknowledged == len(part)
    print(len(part), flush=True)
"""
CONSUMER = """
import sys
from datetime import timedelta
from vidtopics.events import applying
from vidtopics.events.generations import Generation, keys_of
from vidtopics.online.connections import connect
applying.ENTRIES = 5
connection = connect(sys.argv[1])
consumer = applying.Applier(
    connection, keys_of(connection, "vt"), recent=3, max_ahead=timedelta(days=1))
generation = Generation(1, int(sys.argv[2]))
print("ready", flush=True)
while True:
    consumer.apply(generation)
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def send_with_kills(url: str, parts: list[list[object]], rng: random.Random, kills: int) -> int:
    """Send every part until it is acknowledged; how many senders were killed on the way."""
    killed = 0
    while parts:
        process = start(SENDER, url)
        assert process.stdin is not None
        assert process.stdout is not None
        dies = killed < kills
        try:
            for number in range(rng.randint(1, 6) if dies else len(parts)):
                if not parts:
                    break
                process.stdin.write(json.dumps(parts[0]) + "\n")
                process.stdin.flush()
                if dies and number and rng.random() < 0.5:
                    time.sleep(rng.random() * 0.004)
                    break
                if process.stdout.readline():
                    parts.pop(0)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        killed += dies
    return killed


@pytest.mark.slow
def test_kill_9_of_senders_and_consumers_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path,
) -> None:
    rng, url = random.Random(18), server.start(tmp_path)
    now_us = time.time_ns() // 1000
    generation = Generation(1, now_us - 500_000)
    log = []
    for number in range(3_000):
        us = now_us - 1_000_000 + number * 300
        clicked_us = us + rng.randint(0, 900) if rng.random() < 0.4 else None
        watch = 1.5 if clicked_us and rng.random() < 0.5 else None
        user, video = f"u{rng.randrange(60)}", f"v{rng.randrange(40)}"
        log.append(Shown(f"e{number}", user, video, us, 1, clicked_us, watch))
    waiting = sent(log)
    parts = [[*waiting[i : i + 50]] for i in range(0, len(waiting), 50)]
    consumers: list[subprocess.Popen[str]] = []
    killed = 0
    try:
        with connect(url) as store:
            keys = new_store(store, buckets=4)
            assert open_generation(store, keys, generation)
            while parts:
                for consumer in consumers:
                    consumer.kill()
                    consumer.communicate()
                    killed += 1
                consumers = [start(CONSUMER, url, str(generation.as_of_us)) for _ in range(2)]
                for consumer in consumers:
                    assert consumer.stdout is not None
                    assert consumer.stdout.readline() == "ready\n"
                now, parts = parts[:24], parts[24:]
                killed += send_with_kills(url, now, rng, 3)
            for consumer in consumers:
                consumer.kill()
                consumer.communicate()
            assert killed >= KILLS
            applier(store, keys, recent=LIMIT).apply(generation)
            assert_equals_batch(store, keys, generation, log, LIMIT)
    finally:
        for consumer in consumers:
            consumer.kill()
        server.stop(tmp_path)
