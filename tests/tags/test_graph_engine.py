"""One contract for both graph engines; Spark has its own process, as a JVM takes no more jars."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from producers.tags.graph import build_graph

JAR = os.environ.get("GRAPHFRAMES_JAR")
EDGES = [("a", "b", 2), ("b", "c", 1), ("m", "n", 3), ("d", "e", 1), ("x", "é", 1), ("y", "é", 1)]
LONE = ["k", "\U0001f3ac"]


def run_engine(engine: str) -> dict[str, object]:
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as F

    from spark_jobs.graph_engine import available_engine, components, degrees, number_components
    from vidtopics.errors import MachineError

    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.shuffle.partitions", 1)
    spark = (
        builder.config("spark.jars", JAR) if engine == "graphframes" else builder
    ).getOrCreate()
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
    spark.stop()
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
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        report = pool.submit(run_engine, engine).result(timeout=200)
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
