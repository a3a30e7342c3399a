"""`vidtopics run` killed at any moment: run again it ends as one that nothing disturbed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from small_home import T1, T2, SmallHome, execute
from test_job_kills import kill

from vidtopics.contracts import DERIVED, INPUTS
from vidtopics.failpoints import VARIABLE
from vidtopics.jobs import composition
from vidtopics.jobs.pipeline import JOBS
from vidtopics.releases.lock import FILE
from vidtopics.tables import Tables
from vidtopics.tables.releases import in_force, read_log
from vidtopics.times import moment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def start(home: SmallHome, failpoint: str = "") -> subprocess.Popen[bytes]:
    """The command as of T2, in a process group of its own."""
    arguments = ["--home", home.tables.home, "--config", home.config, "--as-of", moment(T2)]
    env = {k: v for k, v in os.environ.items() if k != "PYSPARK_GATEWAY_PORT"}
    return subprocess.Popen(
        [sys.executable, "-m", "vidtopics", "run", *arguments],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        env=env | {VARIABLE: failpoint},
    )


def commits(home: SmallHome) -> int:
    """How many there are to the tables that jobs write."""
    return sum(len(home.tables.commits(t)) for t in DERIVED if home.tables.exists(t))


def run_number(home: SmallHome) -> int:
    """That of the last run that took the home's lock."""
    return int(json.loads((home.tables.home / FILE).read_text())["number"])


def check_releases(home: SmallHome) -> None:
    """Release 1 is in force, and what it names was computed from each other."""
    log = read_log(home.tables)
    assert [(row.release_id, row.state) for row in log] == [(1, "released")]
    assert not composition.find_behind(home.at(T1), log[0].versions)


def test_kills_at_random_moments_and_the_same_release(
    fork: Callable[..., SmallHome], tmp_path: Path
) -> None:
    killed = fork(INPUTS, models=False)
    execute(killed, killed.at(T1), train=True)
    check_releases(killed)
    shutil.copytree(killed.tables.home, tmp_path / "undisturbed")
    undisturbed = replace(killed, tables=Tables(tmp_path / "undisturbed"))
    execute(undisturbed, undisturbed.at(T2))

    first, chance, numbers = commits(killed), random.Random(14), [run_number(killed)]
    for step in sorted(chance.sample(range(1, len(JOBS)), 2)):
        process = start(killed)
        while commits(killed) < first + step and process.poll() is None:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.5))
        assert process.poll() is None, "it ended before it could be killed"
        kill(process)
        numbers.append(run_number(killed))
        check_releases(killed)

    # All is committed, nothing released.
    process = start(killed, "release.read")
    assert process.wait() == -9
    numbers.append(run_number(killed))
    check_releases(killed)

    assert start(killed).wait() == 0
    numbers.append(run_number(killed))
    assert numbers == sorted(set(numbers))
    log, expected = read_log(killed.tables), read_log(undisturbed.tables)
    assert [(r.release_id, r.state, r.versions) for r in log] == [
        (r.release_id, r.state, r.versions) for r in expected
    ]
    assert [row.release_id for row in log] == [1, 2]
    assert in_force(log) == log[-1]
    for table in DERIVED:
        assert killed.rows(table) == undisturbed.rows(table), table.name
