import os
import re
import shutil
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
VERBS = {
    "help",
    "setup",
    "kafka",
    "demo",
    "test",
    "test-slow",
    "lint",
    "format",
    "constraints",
    "clean",
}


@pytest.fixture
def checkout(tmp_path):
    """A checkout that is set up, as far as make can see."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho Python 3.11.2\n")
    python.chmod(0o755)
    (tmp_path / ".venv/.ready-3.11.2").touch()
    return tmp_path


def make(folder: Path, *arguments: str) -> str:
    env = {
        k: v
        for k, v in os.environ.items()
        if k not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON"}
    }
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=env, capture_output=True, text=True, check=True
    ).stdout


def test_help_is_the_default_and_names_every_target(checkout):
    assert {line.split()[0] for line in make(checkout).splitlines()} == VERBS


def test_a_second_run_sets_nothing_up(checkout):
    assert "scripts/setup" not in make(checkout, "-n", "test")


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt", "scripts/setup"])
def test_a_change_sets_up_again(checkout, changed):
    later = time.time() + 5
    os.utime(checkout / changed, (later, later))
    assert "scripts/setup" in make(checkout, "-n", "test")


def test_another_python_sets_up_again(checkout):
    other = checkout / "python3.12"
    other.write_text("#!/bin/sh\necho Python 3.12.1\n")
    other.chmod(0o755)
    assert "scripts/setup" in make(checkout, "-n", "test", f"PYTHON={other}")
    (checkout / ".venv/bin/python").unlink()
    assert "scripts/setup" in make(checkout, "-n", "test")


def test_an_interrupted_set_up_is_not_taken_for_done(checkout):
    (checkout / ".venv/.ready-3.11.2").unlink()
    assert "scripts/setup" in make(checkout, "-n", "demo")


def test_without_a_python_that_fits_it_says_what_to_install(checkout):
    env = os.environ | {"PYTHON": "/bin/false"}
    done = subprocess.run(
        [checkout / "scripts/setup"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    assert done.stderr.count("\n") == 1


def test_constraints_are_versions_and_nothing_else():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert lines[0].startswith("# ")
    assert [
        line
        for line in lines[1:]
        if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!]*", line)
    ] == []


def test_constraints_satisfy_every_requirement():
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    pins = {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, version in (line.split("==") for line in lines)
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(text) for group in groups for text in group]
    ours = [
        r
        for r in requirements
        if r.name != "vidtopics" and (r.marker is None or r.marker.evaluate())
    ]
    assert [str(r) for r in ours if r.name.lower() not in pins] == []
    assert [str(r) for r in ours if not r.specifier.contains(pins[r.name.lower()])] == []
