"""The tables' half of a rollback, killed at random moments, ends as one that wasn't."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_rollback import AFTER, BAD, GOOD, T1, T2, run, states, values

from vidtopics.tables import Tables
from vidtopics.tables.releases import in_force, read_log

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_rollback import roll_back
from vidtopics.tables import Tables
print("ready", flush=True)
roll_back(Tables(sys.argv[1]))
"""


def start(home: Path) -> subprocess.Popen[bytes]:
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen([sys.executable, "-c", script, str(home)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.slow
def test_random_kills_of_a_rollback_end_as_an_undisturbed_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    tables = Tables(home)
    assert (run(tables, T1, GOOD, 1), run(tables, T2, BAD, 2)) == (1, 2)
    shutil.copytree(home, tmp_path / "timing")
    began = time.monotonic()
    assert start(tmp_path / "timing").wait(120) == 0
    length, moments, landed = time.monotonic() - began, random.Random(7), 0
    good = {**values(tables, T1), "video_statistics": []}
    for i in range(4):
        shutil.copytree(home, tmp_path / f"home{i}")
        killed = Tables(tmp_path / f"home{i}")
        for _ in range(3):
            process = start(killed.home)
            time.sleep(moments.uniform(0, length))
            process.kill()
            landed += process.wait(60) == -signal.SIGKILL
            release = in_force(read_log(killed))
            assert release is not None
            assert release.release_id in (1, 2, 3)
        assert start(killed.home).wait(120) == 0
        assert values(killed) == good
        assert states(killed) == AFTER
    assert landed >= 3
