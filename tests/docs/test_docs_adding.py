"""The code of docs/adding-a-producer.md runs: contract, producer, job, and its own test."""

from __future__ import annotations

import doctest
import importlib
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import producers
import spark_jobs
from vidtopics import contracts

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-producer.md"
FILES = dict(
    re.findall(
        r"^\*\*`([\w/.]+)`\*\*\n\n```python\n(.*?)^```",
        PAGE.read_text(encoding="utf-8"),
        re.M | re.S,
    )
)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The guide's files in their own folder, importable as if they stood in the repository."""
    names = dict(vars(contracts))
    exec(FILES["vidtopics/contracts/topics.py"], names)
    monkeypatch.setattr(contracts, "VIDEO_TITLE_SCRIPT", names["VIDEO_TITLE_SCRIPT"], raising=False)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "producers" / "titles" / "__init__.py").touch()
    for package in (producers, spark_jobs):
        path = [*package.__path__, str(tmp_path / package.__name__)]
        monkeypatch.setattr(package, "__path__", path)
        monkeypatch.setattr(package.__spec__, "submodule_search_locations", path)  # source_hash's
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("producers.titles", "spark_jobs.video_title_script")):
            del sys.modules[name]


def test_the_guide_runs(checkout: Path) -> None:
    doctests = doctest.testmod(importlib.import_module("producers.titles.script"))
    assert (doctests.failed, doctests.attempted > 0) == (0, True)
    guide = runpy.run_path(str(checkout / "tests" / "titles" / "test_title_script.py"))
    tests = {name: test for name, test in guide.items() if name.startswith("test_")}
    worked, job = tests.pop("test_the_commonest_script_wins"), tests.popitem()[1]
    assert not tests
    for case in worked.pytestmark[0].args[1]:
        worked(*case)
    job(checkout / "home")
