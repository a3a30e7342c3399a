"""A job killed at any moment, JVM and all, leaves its table good, and runs to the same end."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from small_home import T1, T2

from vidtopics.contracts import CLICKS, IMPRESSIONS, VIDEO_CATALOG, VIDEO_COUNTS
from vidtopics.times import moment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

JOB = Path(__file__).parents[2] / "spark_jobs" / "video_counts.py"


def start(home) -> subprocess.Popen[bytes]:
    """The job as of T2 in a process group of its own."""
    arguments = ["--home", home.tables.home, "--config", home.config, "--as-of", moment(T2)]
    env = {k: v for k, v in os.environ.items() if k != "PYSPARK_GATEWAY_PORT"}
    return subprocess.Popen(
        [sys.executable, JOB, *arguments],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        env=env,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """The process and all that it started; Spark's Python workers have a group of their own."""
    try:
        doomed = [
            *psutil.Process(process.pid).children(recursive=True),
            psutil.Process(process.pid),
        ]
    except psutil.NoSuchProcess:
        doomed = []
    for one in doomed:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(doomed, timeout=20)


def test_kills_at_random_moments_and_the_same_rows(home, fork):
    needed = [VIDEO_CATALOG, IMPRESSIONS, CLICKS]
    undisturbed, before = home.rows(VIDEO_COUNTS), home.rows(VIDEO_COUNTS, T1)
    complete = [r for r in undisturbed if r["event_timestamp"] <= T2]
    seconds = duration(fork(needed, models=False))

    killed = fork(needed, models=False)
    from vidtopics.jobs.pipeline import find

    find(["video_counts"])[0].run(killed.at(T1))
    assert killed.rows(VIDEO_COUNTS) == before
    chance, died = random.Random(7), 0
    for _ in range(20):
        process = start(killed)
        time.sleep(
            chance.uniform(0.3, 1) * seconds
        )  # the first third is Python and the JVM starting
        died += process.poll() is None
        kill(process)
        assert killed.rows(VIDEO_COUNTS) in (before, complete)
        assert killed.holds(VIDEO_COUNTS, T1) == home.holds(VIDEO_COUNTS, T1)
        if died == 4:
            break
    assert died == 4
    assert start(killed).wait() == 0
    assert killed.rows(VIDEO_COUNTS) == complete


def duration(home) -> float:
    """Seconds of a whole run."""
    began = time.monotonic()
    assert start(home).wait() == 0
    return time.monotonic() - began
