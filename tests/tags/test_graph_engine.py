"""One contract for both graph engines; GraphFrames' jar needs a JVM of its own."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from producers.tags.graph import build_graph

JAR = os.environ.get("GRAPHFRAMES_JAR")
EDGES = [("a", "b", 2), ("b", "c", 1), ("m", "n", 3), ("d", "e", 1), ("x", "é", 1), ("y", "é", 1)]
LONE = ["k", "\U0001f3ac"]


def run_local() -> dict[str, object]:
    from vidtopics.jobs.session import session

    return run_engine(session("tests"), "local")


def run_graphframes() -> dict[str, object]:
    """In a new process, which ends with its JVM."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.shuffle.partitions", 1)
    return run_engine(builder.config("spark.jars", JAR).getOrCreate(), "graphframes")


def run_engine(spark, engine: str) -> dict[str, object]:
    from pyspark.sql import functions as F

    from vidtopics.errors import MachineError
    from vidtopics.jobs.graph_engine import available_engine, components, degrees, number_components

    edges = spark.createDataFrame(EDGES, "tag_a string, tag_b string, videos long")
    names = sorted({tag for a, b, _ in EDGES for tag in (a, b)} | set(LONE))
    tags = spark.createDataFrame([(tag,) for tag in names], "tag string")
    frame = components(edges, tags, engine=engine)
    result: dict[str, object] = {
        "engine": available_engine(spark),
        "components": dict(frame.collect()),
        "degrees": dict(degrees(edges, tags, engine=engine).collect()),
        "types": frame.dtypes,
        "renumbered": dict(
            number_components(
                frame.select("tag", (F.lit(7) - F.col("component")).alias("label"))
            ).collect()
        ),
    }
    if engine == "local":
        try:
            components(edges, tags, engine="graphframes")
        except MachineError as error:
            result["error"] = str(error)
    return result


@pytest.mark.parametrize(
    "engine",
    [
        "local",
        pytest.param(
            "graphframes",
            marks=pytest.mark.skipif(not JAR, reason="GRAPHFRAMES_JAR names no GraphFrames jar"),
        ),
    ],
)
def test_engine_agrees_with_the_graph(engine):
    if engine == "local":
        report = run_local()
    else:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            report = pool.submit(run_graphframes).result()
    a, b, videos = zip(*EDGES, strict=True)
    graph = build_graph(a, b, videos, isolated=LONE)
    expected = dict(zip(graph.tags.to_pylist(), graph.components().tolist(), strict=True))
    assert expected == {
        "a": 0,
        "b": 0,
        "c": 0,
        "x": 1,
        "y": 1,
        "é": 1,
        "d": 2,
        "e": 2,
        "m": 3,
        "n": 3,
        "k": 4,
        LONE[1]: 5,
    }
    assert report["components"] == report["renumbered"] == expected
    assert report["degrees"] == dict(
        zip(graph.tags.to_pylist(), graph.degrees.tolist(), strict=True)
    )
    assert report["types"] == [("tag", "string"), ("component", "bigint")]
    assert report["engine"] == engine
    if engine == "local":
        assert "org.graphframes.GraphFrame" in report["error"]
