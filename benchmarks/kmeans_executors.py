"""K-means on Spark's executors beside one process: a pass over the points, and the bytes it moves.

`python -m benchmarks.kmeans_executors --executors 1 2` clusters the same points on one thread of
this process and on executors of one core each, every side in a fresh process. Seconds depend on
what else runs on the machine, CPU seconds hardly. The results are compared byte by byte.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import psutil

from benchmarks.children import in_child
from benchmarks.kmeans import timing, write_points

if TYPE_CHECKING:
    from pyspark import SparkContext

    from producers.topics.kmeans import Fit

EXECUTOR_MB = 2_048
Pass = tuple[float, float]
"""Seconds, and CPU seconds."""


def local(file: str, width: int, clusters: int, iterations: int) -> Callable[[], dict[str, Any]]:
    """One thread of this process."""
    import numba
    import torch

    from producers.topics.kmeans import LocalPoints, fit_centres

    torch.set_num_threads(1)
    numba.set_num_threads(1)
    points = LocalPoints(np.memmap(file, np.float16, mode="r").reshape(-1, width))

    def call() -> dict[str, Any]:
        passes: list[Pass] = []
        with patch.object(LocalPoints, "label", timing(LocalPoints.label, passes)):
            fit = fit_centres(points, clusters, iterations=iterations, seed=0)
        return outcome(fit, passes)

    return call


def executors(
    file: str, width: int, clusters: int, iterations: int, count: int
) -> Callable[[], dict[str, Any]]:
    """Executors of a local cluster, a core each; the home is a folder beside the points."""
    from producers.topics.kmeans import fit_centres
    from producers.topics.rows import Rows
    from vidtopics.jobs.executor_points import ExecutorPoints, on_executors
    from vidtopics.jobs.session import session, stop

    points: Any = np.memmap(file, np.float16, mode="r").reshape(-1, width)

    def call() -> dict[str, Any]:
        passes: list[Pass] = []
        label = ExecutorPoints.label

        def measured(*arguments: Any) -> Any:
            before = cpu_of_children()
            result = timing(label, passes)(*arguments)
            passes[-1] = (passes[-1][0], passes[-1][1] + cpu_of_children() - before)
            return result

        with local_cluster(count):
            spark = session("kmeans_executors")
            tables = SimpleNamespace(bucket=None, home=Path(file).parent)
            run: Any = SimpleNamespace(tables=tables, spark=spark)
            rows = Rows(points, np.arange(len(points)))
            with (
                on_executors(run, rows, clusters) as remote,
                patch.object(ExecutorPoints, "label", measured),
            ):
                fit = fit_centres(remote, clusters, iterations=iterations, seed=0)
            moved = bytes_moved(spark.sparkContext, len(passes))
            stop()
        centres = 4 * clusters * width * count
        return {**outcome(fit, passes), **moved, "broadcast": centres}

    return call


def outcome(fit: Fit, passes: Sequence[Pass]) -> dict[str, Any]:
    """A side's figures; the first pass, in which executors fetch their points, is left out."""
    seconds, cpu = np.median(np.array(passes[1:]), axis=0)
    centres = hashlib.sha256(fit.centroids.tobytes()).hexdigest()
    return {"seconds": float(seconds), "cpu": float(cpu), "centres": centres}


@contextmanager
def local_cluster(count: int) -> Iterator[None]:
    """Environment for a session on executors in processes of their own, of one core each."""
    import pyspark

    with tempfile.TemporaryDirectory() as folder:
        for part in Path(pyspark.__file__).parent.iterdir():
            (Path(folder) / part.name).symlink_to(part)  # workers write below SPARK_HOME
        conf = Path(folder) / "conf-of-benchmark"
        conf.mkdir()
        settings = f"spark.executor.memory {EXECUTOR_MB}m\n"
        (conf / "spark-defaults.conf").write_text(settings, encoding="ascii")
        env = {
            "SPARK_MASTER": f"local-cluster[{count},1,{EXECUTOR_MB}]",
            "SPARK_HOME": folder,
            "SPARK_CONF_DIR": str(conf),
        }
        with patch.dict(os.environ, env):
            yield


def cpu_of_children() -> float:
    """CPU seconds of the processes below this one that run now: JVMs and Python workers."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def bytes_moved(context: SparkContext, passes: int) -> dict[str, float]:
    """Bytes a pass that tasks wrote for each other, and that they sent to the driver.

    Those of seeding are among the latter's, so stages that shuffle alone count.
    """
    assert context._gateway is not None
    java = context._gateway.jvm.java
    store = context._jsc.sc().statusStore()
    none = context._gateway.new_array(context._gateway.jvm.double, 0)
    stages = store.stageList(None, False, False, none, java.util.ArrayList())
    stages = [stages.apply(i) for i in range(stages.size())]
    shuffled = sum(stage.shuffleWriteBytes() for stage in stages)
    returned = sum(stage.resultSize() for stage in stages if stage.shuffleReadBytes())
    return {"shuffled": shuffled / passes, "returned": returned / passes}


def table(sides: dict[str, dict[str, Any]], points_bytes: int) -> str:
    """The table of docs/adr/0067."""
    lines = [
        "| side | a pass, s | of one process | CPU s a pass | of one process | broadcast, MB |"
        " shuffled, MB | to the driver, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    one = sides["one process"]
    for name, side in sides.items():
        moved = [
            f"{side[key] / 1e6:.1f}" if key in side else ""
            for key in ("broadcast", "shuffled", "returned")
        ]
        lines.append(
            f"| {name} | {side['seconds']:.2f} | {side['seconds'] / one['seconds']:.2f} | "
            f"{side['cpu']:.2f} | {side['cpu'] / one['cpu']:.2f} | {' | '.join(moved)} |"
        )
    same = len({side["centres"] for side in sides.values()}) == 1
    lines.append(
        f"\nPoints: {points_bytes / 1e6:.1f} MB. Centres of all sides: "
        f"{'the same bytes' if same else 'DIFFERENT'}."
    )
    return "\n".join(lines)


def main() -> None:
    """Measures both sides and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=1_024)
    parser.add_argument("--clusters", type=int, default=2_000)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--executors", type=int, nargs="*", default=[1, 2])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "points.f16"
        write_points(file, chosen.rows, chosen.width)
        shape: dict[str, str | int] = {
            "file": str(file),
            "width": chosen.width,
            "clusters": chosen.clusters,
            "iterations": chosen.iterations,
        }
        name = "benchmarks.kmeans_executors"
        sides = {"one process": in_child(name, "local", **shape).result}
        for count in chosen.executors:
            child = in_child(name, "executors", **shape, count=count)
            sides[f"{count} executor{'s' * (count > 1)}"] = child.result
    print(table(sides, 2 * chosen.rows * chosen.width))  # noqa: T201


if __name__ == "__main__":
    main()
