"""Children of a benchmark in this process, as each would import Feast again."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import ibis

    from benchmarks import join, join_stream, materialize, wide
    from benchmarks.children import measured

    for module in (join, join_stream, materialize, wide):
        monkeypatch.setattr(module, "in_child", measured)
    yield
    # DuckDB complains at the end of the process about a connection that is still there
    ibis.get_backend().disconnect()
    ibis.options.default_backend = None
    gc.collect()
