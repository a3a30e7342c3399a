"""`vidtopics simulate ab` killed at any moment: resumed, it writes the bytes of one undisturbed."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CONFIG = "seed: 7\nsimulation: {users: 400, videos: 150, days: 2, covers: false}\n"
ARMS = ["--arms", "random,popular,oracle", "--days", "8+8", "--groups", "4"]
STEPS = 2 + 8 + 8 + 3 * 8


def start(folder, *more):
    """The command, in a process group of its own; its days come as lines of stderr."""
    verb = [sys.executable, "-m", "vidtopics", "simulate", "ab", str(folder / "out")]
    return subprocess.Popen(
        [*verb, *ARMS, "--config", str(folder / "world.yaml"), *more],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_after(process, lines, seconds):
    """Wait for so many days, then a moment, and kill the process; whether it still ran."""
    days = 0
    while days < lines and (line := process.stderr.readline()):
        days += line.startswith("  day ")
    time.sleep(seconds)
    is_running = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return is_running


def contents(folder):
    """Every file below, by its path: nothing may be left over either."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture
def folder(tmp_path):
    def make(name):
        path = tmp_path / name
        path.mkdir()
        (path / "world.yaml").write_text(CONFIG)
        return path

    return make


def test_kills_at_random_moments_and_the_same_bytes(folder):
    whole, killed, chance = folder("whole"), folder("killed"), random.Random(18)
    undisturbed = start(whole)
    screen, log = undisturbed.communicate()
    assert undisturbed.returncode == 0, log
    assert f"day {STEPS} of {STEPS}" in log

    hits = 0
    for days in (0, 1, 3, 2, 4):  # of 42; a day takes some hundredths of a second
        hits += kill_after(start(killed, *resume(killed)), days, chance.uniform(0, 0.05))
    assert hits >= 3
    assert not (killed / "out" / "experiment.yaml").exists()
    again = start(killed, *resume(killed))
    screen_again, log = again.communicate()
    assert again.returncode == 0, log
    assert "day 1 of" not in log  # it went on
    assert contents(killed / "out") == contents(whole / "out")
    assert screen_again == screen


def resume(folder):
    """The option, once the experiment was begun."""
    return ("--resume",) if (folder / "out" / "plan.json").exists() else ()
