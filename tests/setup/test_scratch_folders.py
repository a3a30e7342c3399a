"""Folders for a while: gone with their process, or with the next one of their kind."""

from __future__ import annotations

import fcntl
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vidtopics.files import scratch_folder
from vidtopics.gates.versions import opened
from vidtopics.tables import Tables

CHILD = """
import sys, time
from pathlib import Path
from vidtopics.files import scratch_folder
with scratch_folder(Path(sys.argv[1]), "gates") as folder:
    (folder / "spilled").write_text("rows")
    print(folder.name, flush=True)
    time.sleep(600)
"""


def folders(parent: Path) -> set[str]:
    return {path.name for path in parent.glob(".*-*")}


def test_the_next_judge_removes_what_a_killed_one_left_and_no_living_ones(tmp_path: Path) -> None:
    killed, alive = (
        subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(2)
    )
    try:
        names = [child.stdout.readline().decode().strip() for child in (killed, alive)]  # type: ignore[union-attr]
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert folders(tmp_path) == {*names}
        with scratch_folder(tmp_path, "rollback"), opened(Tables(tmp_path), None, {}):
            assert folders(tmp_path) > {names[1]}
            assert names[0] not in folders(tmp_path)
        assert folders(tmp_path) == {names[1]}
    finally:
        for child in (killed, alive):
            child.kill()
            child.communicate()


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of the block"), scratch_folder(tmp_path, "gates"):
        raise ValueError("of the block")
    assert not folders(tmp_path)


def test_who_takes_a_folder_before_its_lock_takes_no_used_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, removed = fcntl.flock, []

    def lock(file: int, how: int) -> None:
        if not removed:
            removed.extend(tmp_path.glob(".gates-*"))
            shutil.rmtree(removed[0])
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", lock)
    with scratch_folder(tmp_path, "gates") as folder:
        assert folder.is_dir()
        assert folder != removed[0]
