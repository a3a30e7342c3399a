"""Components of the tag graph by GraphFrames, where `tags.engine` asks for it (III-A2).

Both engines give the same numbers, for which one contract test stands. scipy is the default: it
finds the components of 12,000 tags in milliseconds. GraphFrames is for a graph whose job runs on a
cluster that has its jar.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from producers.tags.graph import TagGraph
from vidtopics.errors import MachineError, explain
from vidtopics.jobs.job import Run

if TYPE_CHECKING:
    from graphframes import GraphFrame
    from pyspark.sql import SparkSession

JVM_CLASS = "org.graphframes.GraphFrame"


def find_components(run: Run, graph: TagGraph) -> NDArray[np.int64]:
    """Each tag's component, int64[T], by the engine that `tags.engine` names.

    Raises:
        MachineError: `graphframes` without its jar.
    """
    if run.settings.tags.engine == "local" or not len(graph):
        return graph.components()
    from graphframes import GraphFrame

    return components(graph, run.spark, frame=GraphFrame)


def components(
    graph: TagGraph, spark: SparkSession, *, frame: Callable[..., GraphFrame]
) -> NDArray[np.int64]:
    """int64[T], as :meth:`TagGraph.components`, from GraphFrames' connected components.

    Args:
        graph: the tag graph, T nodes.
        spark: the session.
        frame: GraphFrame, of vertices (id) and edges (src, dst), each edge once.

    Raises:
        MachineError: GraphFrames' jar is not on the session's class path.
    """
    require_jar(spark)
    nodes = np.arange(len(graph))
    source = np.repeat(nodes, graph.degrees)
    once = source < graph.indices
    vertices = spark.createDataFrame(pa.table({"id": nodes}))
    ends = {"src": source[once], "dst": graph.indices[once].astype(np.int64)}
    edges = spark.createDataFrame(pa.table(ends))
    labels = frame(vertices, edges).connectedComponents(
        broadcastThreshold=-1, use_local_checkpoints=True
    )
    rows = labels.select("id", "component").toArrow().sort_by("id")
    return graph.number_components(rows["component"].to_numpy())


def require_jar(spark: SparkSession) -> None:
    """MachineError where the session's JVM has no GraphFrames."""
    from py4j.protocol import Py4JJavaError

    jvm = spark.sparkContext._jvm
    assert jvm is not None  # a session has one
    try:
        jvm.java.lang.Thread.currentThread().getContextClassLoader().loadClass(JVM_CLASS)
    except Py4JJavaError:
        raise MachineError(
            explain(
                "tags.engine",
                expected=f"the GraphFrames jar ({JVM_CLASS}), as `graphframes` asks for",
                found="no such class in Spark's JVM",
                mend="let GRAPHFRAMES_JAR name the jar (io.graphframes:graphframes-spark4_2.13), "
                "start with `spark-submit --jars`, or set tags.engine: local",
            )
        ) from None
