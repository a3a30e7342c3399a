"""The Spark session of every job: Delta, UTC, Arrow.

A job runs as it is (`python spark_jobs/X.py`, `vidtopics run`) or under `spark-submit
--properties-file conf/spark-defaults.conf`; both get the settings of `conf/spark-defaults.conf`.
"""

from __future__ import annotations

import os
import pkgutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from py4j.protocol import Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from vidtopics.errors import MachineError, explain
from vidtopics.paths import to_spark

EXTENSION = "io.delta.sql.DeltaSparkSessionExtension"
PACKAGES = "spark.jars.packages"

# For a session inside this process, on data that one machine holds. The defaults are a cluster's:
# with them Delta replays each table's log in 50 tasks (34 s of CPU instead of 52 for a session with
# one write and one read).
LOCAL = {
    "spark.driver.memory": "2g",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.adaptive.enabled": "false",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def session(
    app: str, *, log: Path | None = None, packages: Mapping[str, str] = MappingProxyType({})
) -> SparkSession:
    """The process's session, named `app` where it starts here.

    Without a JVM one is started, on `SPARK_MASTER` (default `local[*]`); what that JVM writes to
    its standard error goes to `log`, or to a temporary file. A JVM that is already there
    (spark-submit, a notebook) is used as it is, and has to have Delta and `packages`, each from
    its coordinates to a class of it. Those come from Ivy's cache, at the first time from Maven.

    Raises:
        MachineError: the JVM doesn't start, or runs without Delta or a package.

    >>> defaults()["spark.sql.session.timeZone"], defaults()["spark.sql.extensions"] == EXTENSION
    ('UTC', True)
    """
    if SparkContext._gateway is None and "PYSPARK_GATEWAY_PORT" not in os.environ:
        _start(log, packages)
    SparkContext._ensure_initialized()
    for name in (EXTENSION, *packages.values()):
        _require(name, packages)
    spark = SparkSession.builder.appName(app).config(map=dict(defaults())).getOrCreate()
    extensions = spark.conf.get("spark.sql.extensions", "") or ""
    if EXTENSION not in extensions.split(","):
        raise _without(
            EXTENSION,
            packages,
            f"spark.sql.extensions={extensions!r} in a session that was there before",
        )
    return spark


def stop() -> None:
    """End the session, and the JVM that this process started for it, if one runs."""
    spark, gateway = SparkSession.getActiveSession(), SparkContext._gateway
    if spark is not None:
        spark.stop()
    if gateway is None or getattr(gateway, "proc", None) is None:
        return
    gateway.shutdown()
    gateway.proc.stdin.close()  # the JVM ends when its standard input does
    gateway.proc.wait(timeout=60)
    SparkContext._gateway = SparkContext._jvm = None


def defaults() -> dict[str, str]:
    """The settings of `conf/spark-defaults.conf`; the wheel carries a copy."""
    data = pkgutil.get_data(
        "vidtopics.jobs", "spark-defaults.conf"
    )  # also where the code came in a zip
    assert data is not None
    lines = (
        line.split(maxsplit=1)
        for line in data.decode().splitlines()
        if line and not line.startswith("#")
    )
    return {key: value.strip() for key, value in lines}


def _start(log: Path | None, packages: Iterable[str]) -> None:
    """Starts the JVM: spark.jars.packages has an effect here only."""
    master = os.environ.get("SPARK_MASTER", "local[*]")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # Spark's own default escapes the working directory's name, and makes a folder of that name.
    warehouse = to_spark("spark-warehouse")
    settings = {
        "spark.master": master,
        "spark.sql.warehouse.dir": warehouse,
        "spark.hadoop.fs.permissions.umask-mode": f"{_umask():03o}",
        **defaults(),
        PACKAGES: ",".join([defaults()[PACKAGES], *packages]),
    }
    if master.startswith("local"):
        # Loopback: nothing listens outside, and a host name that doesn't resolve is no error.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        settings |= LOCAL
    if jar := os.environ.get("GRAPHFRAMES_JAR"):
        settings["spark.jars"] = jar
    conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w+b") if log else tempfile.TemporaryFile() as stderr:
        try:
            pipes = {"stderr": stderr}
            gateway = launch_gateway(conf, popen_kwargs=pipes)  # type: ignore[no-untyped-call]
        except (PySparkRuntimeError, OSError) as error:
            stderr.seek(0)
            raise MachineError(
                explain(
                    "Spark",
                    expected="a Java virtual machine that starts",
                    found=_last_words(stderr.read().decode(errors="replace")) or str(error),
                    mend="`vidtopics doctor` checks Java and the Delta jar; `make setup` installs "
                    "them",
                )
            ) from None
    SparkContext._ensure_initialized(gateway=gateway)


def _umask() -> int:
    """The process's umask. Hadoop sets the modes of folders by an option of its own."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _last_words(text: str) -> str:
    """The line that says why, out of what a JVM wrote before it died."""
    lines = [
        line.strip() for line in text.splitlines() if line.strip() and not line.startswith("\t")
    ]
    telling = [
        line
        for line in lines
        if "Exception" in line or "Error" in line or "JAVA_HOME" in line or "java" in line
    ]
    return (telling or lines or [""])[-1]


def _require(name: str, packages: Iterable[str]) -> None:
    jvm = SparkContext._jvm
    assert jvm is not None
    try:
        jvm.java.lang.Thread.currentThread().getContextClassLoader().loadClass(name)
    except Py4JJavaError:
        found = "a Java virtual machine that was started without it"
        raise _without(name, packages, found) from None


def _without(name: str, packages: Iterable[str], found: str) -> MachineError:
    what = "Delta" if name == EXTENSION else "the connector of Kafka"
    return MachineError(
        explain(
            "Spark",
            expected=f"{what} ({name})",
            found=found,
            mend="start the job with `spark-submit --properties-file conf/spark-defaults.conf`, "
            f"or add `--packages {','.join([defaults()[PACKAGES], *packages])}`",
        )
    )
