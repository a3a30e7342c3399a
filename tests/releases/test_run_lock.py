"""One writing run per home: who is refused, who takes over, and what a run that comes back does."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vidtopics.errors import BusyError
from vidtopics.releases.lock import FILE, STALE_S, acquire, hold

HOLDER = """
import sys, time
from pathlib import Path
from vidtopics.releases.lock import hold
with hold(Path(sys.argv[1]), "vidtopics run"):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(home: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(home)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_run_says_who_holds_the_lock_since_when(tmp_path: Path) -> None:
    with hold(tmp_path, "vidtopics run") as lock:
        with pytest.raises(BusyError) as error, hold(tmp_path, "vidtopics rollback"):
            pass
        assert f"`vidtopics run`, process {os.getpid()} on " in str(error.value)
        assert f"since {lock.owner.since}, last heard of 0 s ago" in str(error.value)
    with hold(tmp_path, "vidtopics rollback") as later:
        assert later.number > lock.number


def test_a_killed_run_leaves_the_lock_to_the_next_at_once(tmp_path: Path) -> None:
    process = holder(tmp_path)
    with pytest.raises(BusyError, match=f"process {process.pid} "):
        acquire(tmp_path, "vidtopics run")
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    with hold(tmp_path, "vidtopics run") as lock:
        assert lock.owner.pid == os.getpid()


def test_a_run_that_stands_still_is_overtaken_and_refused_when_it_goes_on(tmp_path: Path) -> None:
    first = acquire(tmp_path, "vidtopics run")
    silent(tmp_path, STALE_S - 60)
    with pytest.raises(BusyError, match="last heard of 6"):
        acquire(tmp_path, "vidtopics run")
    silent(tmp_path, STALE_S + 1)
    second = acquire(tmp_path, "vidtopics rollback")
    assert second.number > first.number
    first.touch()  # its own file, which nobody looks at any more
    with pytest.raises(BusyError, match="overtaken: `vidtopics rollback`, process"):
        first.check()
    second.check()
    with pytest.raises(BusyError, match="vidtopics rollback"):
        acquire(tmp_path, "vidtopics run")
    os.close(first.file)
    with pytest.raises(BusyError, match="vidtopics rollback"):
        acquire(tmp_path, "vidtopics run")
    os.close(second.file)
    os.close(acquire(tmp_path, "vidtopics run").file)


def test_the_number_rises_although_the_clock_went_back(tmp_path: Path) -> None:
    with hold(tmp_path, "vidtopics run") as lock:
        path = tmp_path / FILE
    owner = json.loads(path.read_text()) | {"number": 2**62}
    path.write_text(json.dumps(owner))
    with hold(tmp_path, "vidtopics run") as later:
        assert later.number == 2**62 + 1 > lock.number


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "[]"])
def test_an_owner_who_died_while_writing_is_no_owner(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with hold(tmp_path, "vidtopics run") as lock:
        assert json.loads((tmp_path / FILE).read_text())["number"] == lock.number


def silent(home: Path, seconds: float) -> None:
    """As if the owner had last touched its file so long ago."""
    path = home / FILE
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))
