"""Components and degrees of the tag graph: scipy on the driver, or GraphFrames with its jar.

Both engines are functions DataFrame -> DataFrame with the same rows; one contract test holds them
to it.
"""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
from graphframes import GraphFrame
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from producers.tags.graph import TagGraph, build_graph
from vidtopics.errors import MachineError, explain

Engine = Literal["local", "graphframes"]
JVM_CLASS = "org.graphframes.GraphFrame"


def available_engine(spark: SparkSession) -> Engine:
    """GraphFrames if its jar is on the session's class path, as who puts it there wants it used."""
    jvm = spark.sparkContext._jvm
    assert jvm is not None  # a session has one
    try:
        jvm.java.lang.Thread.currentThread().getContextClassLoader().loadClass(JVM_CLASS)
    except Exception as error:
        if "ClassNotFoundException" not in str(error):
            raise
        return "local"
    return "graphframes"


def components(edges: DataFrame, tags: DataFrame, *, engine: Engine) -> DataFrame:
    """(tag, component): connected components, from 0 by falling size, ties by smallest tag.

    Args:
        edges: (tag_a, tag_b, videos), each undirected edge once with tag_a < tag_b.
        tags: (tag), the nodes; at least all that have an edge.
        engine: "local" brings edges to the driver: 16 bytes an edge beside the tags.

    Raises:
        MachineError: "graphframes" without its jar.
    """
    if engine == "local":
        graph = _local_graph(edges, tags)
        return _frame(edges, pa.table({"tag": graph.tags, "component": graph.components()}))
    labels = _graph_frame(edges, tags).connectedComponents(
        broadcastThreshold=-1, use_local_checkpoints=True
    )
    return number_components(
        labels.select(F.col("id").alias("tag"), F.col("component").alias("label"))
    )


def degrees(edges: DataFrame, tags: DataFrame, *, engine: Engine) -> DataFrame:
    """(tag, degree): number of neighbours, 0 included; otherwise as :func:`components`."""
    if engine == "local":
        graph = _local_graph(edges, tags)
        return _frame(edges, pa.table({"tag": graph.tags, "degree": graph.degrees}))
    neighbours = _graph_frame(edges, tags).degrees.select(
        F.col("id").alias("tag"), F.col("degree").cast("long")
    )
    return tags.select("tag").join(neighbours, "tag", "left").fillna(0, ["degree"])


def number_components(labels: DataFrame) -> DataFrame:
    """(tag, component) from (tag, label): any labels become 0, 1, ... by falling size."""
    sizes = labels.groupBy("label").agg(F.count("*").alias("size"), F.min("tag").alias("smallest"))
    # One partition sorts the components, not the tags.
    by_size = Window.orderBy(F.col("size").desc(), "smallest")
    numbered = sizes.select(
        "label", (F.row_number().over(by_size) - 1).cast("long").alias("component")
    )
    return labels.join(numbered, "label").select("tag", "component")


def _local_graph(edges: DataFrame, tags: DataFrame) -> TagGraph:
    table = edges.select("tag_a", "tag_b", "videos").toArrow()
    return build_graph(
        table["tag_a"],
        table["tag_b"],
        table["videos"],
        isolated=tags.select("tag").toArrow()["tag"],
    )


def _frame(like: DataFrame, table: pa.Table) -> DataFrame:
    return like.sparkSession.createDataFrame(table)


def _graph_frame(edges: DataFrame, tags: DataFrame) -> GraphFrame:
    if available_engine(edges.sparkSession) != "graphframes":
        raise MachineError(
            explain(
                "tag graph",
                expected=f"the GraphFrames jar ({JVM_CLASS})",
                found="no such class in Spark's JVM",
                mend="add io.graphframes:graphframes-spark4_2.13 to spark.jars.packages, "
                "or use the local engine",
            )
        )
    return GraphFrame(
        tags.select(F.col("tag").alias("id")),
        edges.select(F.col("tag_a").alias("src"), F.col("tag_b").alias("dst")),
    )
