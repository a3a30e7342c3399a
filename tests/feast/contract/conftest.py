"""The four pairs as fixtures, and the expected differences as strict xfails."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from feast import FeatureStore
from feast_differences import difference_of
from feast_pairs import PAIRS, Pair, Project, open_store

PROJECT_NUMBERS = itertools.count()


@pytest.fixture(params=PAIRS, ids=str)
def pair(request: pytest.FixtureRequest) -> Pair:
    """Each of the four pairs in turn."""
    return request.param


@pytest.fixture
def project(pair: Pair, tmp_path: Path, valkey: str) -> Project:
    """An empty Feast project of its own on the pair; all share one Redis server."""
    name = f"contract_{next(PROJECT_NUMBERS)}"
    return Project(pair, tmp_path, open_store(tmp_path, pair, valkey, name))


@pytest.fixture
def store(project: Project) -> FeatureStore:
    """The project's FeatureStore."""
    return project.store


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder whose behaviour a pair is known not to have."""
    here = Path(__file__).parent
    for item in items:
        if not item.path.is_relative_to(here) or "pair" not in getattr(item, "fixturenames", ()):
            continue
        parameters = item.callspec.id.split("-")
        pair = item.callspec.params["pair"]
        others = "-".join(part for part in parameters if part != str(pair))
        behaviour = item.originalname.removeprefix("test_") + (f"[{others}]" if others else "")
        difference = difference_of(behaviour, pair)
        if difference:
            reason = f"gives {difference.gives}: {difference.reason}"
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
