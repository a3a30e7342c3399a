"""One small home for all tests of jobs: trained and run at two past times and live."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

import pytest
import small_world
import yaml
from small_home import SETTINGS, T1, T2, SmallHome, execute, spy_on_encoder

from vidtopics.contracts import INPUTS, Table
from vidtopics.ingest import Source, ingest
from vidtopics.jobs.job import Run
from vidtopics.settings import load
from vidtopics.tables import Tables


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> SmallHome:
    """Never to be written to: take a `fork`."""
    root = tmp_path_factory.mktemp("jobs")
    small_world.write(root / "delivery")
    (root / "settings.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    made = SmallHome(Tables(root / "home"), load(root / "settings.yaml"), root / "settings.yaml")
    ingest(made.tables, Source("folder", root / "delivery"), made.settings.ingest)
    # Jobs read tables and covers. What else lies in a delivery, a simulated world's truth say, is
    # gone when they run.
    for path in (root / "delivery").iterdir():
        if path.name != "covers":
            path.unlink()
    for us in (T1, T2):
        with pytest.MonkeyPatch.context() as patch:
            made.encoded[us] = spy_on_encoder(patch)
            execute(made, made.at(us), train=True)
    live = Run.now(made.tables, made.settings)
    made.live_us = live.as_of_us
    began = time.time()
    execute(made, live, train=True)
    made.live_seconds = (began, time.time())
    return made


@pytest.fixture
def fork(home: SmallHome, tmp_path: Path) -> Callable[..., SmallHome]:
    """Copies the home, or only some of its tables, to a place where a test may write."""
    numbers = count()

    def copy(tables: Iterable[Table] | None = None, *, models: bool = True) -> SmallHome:
        to = tmp_path / f"home{next(numbers)}"
        names = ["."] if tables is None else [t.name for t in tables]
        for name in names:
            shutil.copytree(home.tables.home / "tables" / name, to / "tables" / name)
        if models:
            shutil.copytree(home.tables.home / "models", to / "models")
        return SmallHome(Tables(to), home.settings, home.config, live_us=home.live_us)

    return copy


@pytest.fixture
def inputs(fork) -> SmallHome:
    """A copy with nothing but the input tables."""
    return fork(INPUTS, models=False)
