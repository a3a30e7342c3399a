"""One contract for both graph engines; GraphFrames' jar needs a JVM of its own."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from producers.tags.graph import build_graph
from vidtopics.errors import MachineError
from vidtopics.settings import Settings

JAR = os.environ.get("GRAPHFRAMES_JAR")
EDGES = [("a", "b", 2), ("b", "c", 1), ("m", "n", 3), ("d", "e", 1), ("x", "é", 1), ("y", "é", 1)]
ASKED = Settings.model_validate({"tags": {"engine": "graphframes"}})
LONE = ["k", "\U0001f3ac"]
EXPECTED = {
    **{"a": 0, "b": 0, "c": 0, "x": 1, "y": 1, "é": 1},
    **{"d": 2, "e": 2, "m": 3, "n": 3, "k": 4, LONE[1]: 5},
}


def graph(edges=tuple(EDGES)):
    a, b, videos = zip(*edges, strict=True) if edges else ((), (), ())
    return build_graph(a, b, videos, isolated=LONE)


def by_tag(tags, components):
    return dict(zip(tags.to_pylist(), components.tolist(), strict=True))


def run_graphframes():
    """In a new process, which ends with its JVM."""
    from vidtopics.jobs.graph_engine import find_components
    from vidtopics.jobs.session import session

    run = SimpleNamespace(settings=ASKED, spark=session("tests"))
    return [find_components(run, graph(edges)).tolist() for edges in (EDGES, [])]


def test_local_engine():
    assert by_tag(graph().tags, graph().components()) == EXPECTED


@pytest.mark.skipif(not JAR, reason="GRAPHFRAMES_JAR names no GraphFrames jar")
def test_graphframes_agrees_with_the_local_engine():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        full, without_edges = pool.submit(run_graphframes).result()
    assert full == graph().components().tolist()
    assert without_edges == graph([]).components().tolist() == [0, 1]


class Frames:
    """Stands in for a session and a GraphFrame: rows as GraphFrames gives them, in any order."""

    def createDataFrame(self, table):  # noqa: N802
        return table

    def __call__(self, vertices, edges):
        self.edges = edges
        return self

    def connectedComponents(self, **options):  # noqa: N802
        ids = np.array([11, 4, 0, 1, 2, 3, 5, 6, 7, 8, 9, 10])
        names = graph().tags.to_pylist()
        far = [EXPECTED[names[i]] * -7 + 2**40 for i in ids]
        return SimpleNamespace(
            select=lambda *names: SimpleNamespace(
                toArrow=lambda: pa.table({"id": ids, "component": far})
            )
        )


def test_labels_of_graphframes_become_the_numbers_of_the_local_engine(monkeypatch):
    from vidtopics.jobs import graph_engine

    monkeypatch.setattr(graph_engine, "require_jar", lambda spark: None)
    frames = Frames()
    assert by_tag(graph().tags, graph_engine.components(graph(), frames, frame=frames)) == EXPECTED
    tags = graph().tags.to_pylist()
    ends = zip(*(frames.edges[end].to_pylist() for end in ("src", "dst")), strict=True)
    assert sorted((tags[a], tags[b]) for a, b in ends) == sorted((a, b) for a, b, _ in EDGES)


@pytest.mark.skipif(bool(JAR), reason="the session has the jar")
def test_the_engine_that_is_set_is_asked_and_without_its_jar_says_so():
    from vidtopics.jobs.graph_engine import find_components
    from vidtopics.jobs.session import session

    local = SimpleNamespace(settings=Settings())  # and no session is started
    assert np.array_equal(find_components(local, graph()), graph().components())
    run = SimpleNamespace(settings=ASKED, spark=session("tests"))
    with pytest.raises(
        MachineError, match=r"tags.engine: expected the GraphFrames jar .* found no"
    ):
        find_components(run, graph())
