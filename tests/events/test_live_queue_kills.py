"""kill -9 of those who apply events and order queues: the next one ends at the same lists."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from live_worlds import Shown, new_store, sent
from queue_worlds import Member, ordering_of, stored_lists, world_of

from vidtopics import server
from vidtopics.events.applying import Applier
from vidtopics.events.generations import Generation, keys_of, open_generation
from vidtopics.events.queue_sets import QueueSet
from vidtopics.layout.live import LiveKeys
from vidtopics.materialization.live_queues import QueueWork
from vidtopics.online.connections import Connection, connect
from vidtopics.online.events import EventClient
from vidtopics.settings import Settings

SETTINGS = Settings.model_validate({"queues": {"length": 20, "fresh_pool": 5}})
QUEUES = QueueSet(1, 1)
ZYGOTE = """
import os, signal, sys
from test_live_queue_kills import serve
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    if os.fork() == 0:
        serve(sys.argv[1], int(sys.argv[2]))
"""
"""With all imported it forks a consumer for each line: a kill must not cost ten seconds."""


def world(as_of_us: int) -> tuple[list[Member], list[Shown]]:
    """40 videos in six topics; a third of the log is before the release."""
    rng = random.Random(19)
    topics = {n: tuple(rng.sample(range(6), 2)) for n in range(40)}
    members = [
        Member(f"v{n}", own, tuple({t // 3 for t in own}), n % 4 == 0) for n, own in topics.items()
    ]
    log = []
    for number in range(3_000):
        us = as_of_us - 1_000_000 + number * 1_000
        video = min(int(rng.paretovariate(0.7)), 40) - 1
        clicked_us = us + rng.randint(0, 900) if rng.random() < 0.1 + video % 5 / 20 else None
        log.append(Shown(f"e{number}", f"u{rng.randrange(60)}", f"v{video}", us, 1, clicked_us))
    return members, log


def begun(store: Connection, keys: LiveKeys, generation: Generation) -> tuple[Applier, QueueWork]:
    members, log = world(generation.as_of_us)
    ordering = ordering_of(members, log, generation.as_of_us, SETTINGS)
    day, half_life = timedelta(days=1), SETTINGS.statistics.half_life
    applier = Applier(store, keys, recent=3, max_ahead=day, half_life=half_life)
    return applier, QueueWork(store, keys, generation, QUEUES, 1, ordering)


def serve(url: str, as_of_us: int) -> None:
    """Apply and order until it is killed."""
    generation, store = Generation(1, as_of_us), connect(url)
    applier, work = begun(store, keys_of(store, "vt"), generation)
    os.write(1, f"{os.getpid()}\n".encode())  # at once: two of them write to one pipe
    while True:
        applier.apply(generation, rounds=1)
        work.refresh()


@contextmanager
def zygote(url: str, generation: Generation) -> Iterator[Callable[[int], list[psutil.Process]]]:
    """Gives what starts consumers: as many as it is told, each of them ready."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parents[1])])
    process = subprocess.Popen(
        [sys.executable, "-c", ZYGOTE, url, str(generation.as_of_us)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )

    def start(count: int) -> list[psutil.Process]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n" * count)
        process.stdin.flush()
        return [psutil.Process(int(process.stdout.readline())) for _ in range(count)]

    try:
        yield start
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_kill_9_of_refreshers_leaves_lists_that_the_next_one_puts_right(tmp_path: Path) -> None:
    rng, url = random.Random(18), server.start(tmp_path)
    generation = Generation(1, time.time_ns() // 1000 - 4_000_000)
    members, log = world(generation.as_of_us)
    waiting = sent(log)
    rng.shuffle(waiting)
    try:
        with connect(url) as store, zygote(url, generation) as start:
            keys = new_store(store, buckets=4)
            assert open_generation(store, keys, generation)
            parts = [waiting[i : i + 500] for i in range(0, len(waiting), 500)]
            for part in parts:
                consumers = start(2)
                EventClient(store).send(part)
                time.sleep(rng.random() * 0.2)
                for consumer in consumers:
                    consumer.kill()
                    consumer.wait(60)
            applier, work = begun(store, keys, generation)
            applier.apply(generation)
            work.refresh()
            due = world_of(
                members,
                log,
                generation.as_of_us,
                SETTINGS.queues,
                half_life=SETTINGS.statistics.half_life,
                seed=SETTINGS.seed,
            )
            assert stored_lists(store, keys, *QUEUES) == due.lists()
            assert len(due.lists()) > 9
    finally:
        server.stop(tmp_path)
