"""Children of a benchmark in this process, as each would import Feast again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import ibis

    from benchmarks import age, join, join_stream, materialize, wide
    from benchmarks.children import measured

    for module in (age, join, join_stream, materialize, wide):
        monkeypatch.setattr(module, "in_child", measured)
    yield
    # DuckDB complains at the end of the process about a connection that is still there
    ibis.get_backend().disconnect()
    ibis.options.default_backend = None
    gc.collect()


@pytest.fixture
def writers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs beside the readers in this process, one before the readers and one after."""
    import redis

    from benchmarks import online, writers
    from vidtopics.tables import Tables

    @contextmanager
    def beside(kind: str, home: Path, url: str) -> Iterator[list[float]]:
        with redis.Redis.from_url(url) as connection:
            seconds = [writers.run_once(kind, Tables(home), connection)]
            yield seconds
            seconds.append(writers.run_once(kind, Tables(home), connection))

    monkeypatch.setattr(online, "beside", beside)
