"""The demo twice: in a folder without Spark, and with its home in a bucket on a cluster.

`python -m benchmarks.demo_on_a_cluster [--config FILE] [--workers 2]`. The second has its home in
an S3 server and its jobs on a standalone Spark cluster, both on loopback; executors have the code
as a wheel. Both end with Table I, Table II, a recommendation and the page. Each table must have the
same rows in both homes, and each report the same figures: a difference is status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import typer

from benchmarks.homes import folder
from benchmarks.s3_server import environment, s3_server
from benchmarks.spark_cluster import ROOT, SMALL, build_wheel, spark_cluster
from vidtopics import server
from vidtopics.contracts import LOGBOOKS, TABLES, VALUE_HASH, Table
from vidtopics.jobs.place import home_folder
from vidtopics.tables import Tables

BUCKET = "demo"
OWN = "cover"
"""A column that names the folder in which the world was simulated; a row's hash has it too."""
TIMES = ("seconds", "built_at")
"""What reports have of a run itself."""
SPARK = ("SPARK_MASTER", "SPARK_CONF_DIR", "REDIS_URL", "PYTHONPATH")


def demo(home: str, config: Path, variables: Mapping[str, str]) -> tuple[str, float]:
    """Run the demo into a home; what it printed, and its seconds.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    plain = {name: value for name, value in os.environ.items() if name not in SPARK}
    command = [sys.executable, "-m", "vidtopics", "demo", "--embedded"]
    command += ["--home", home, "--config", str(config)]
    began = time.monotonic()
    done = subprocess.run(  # noqa: S603  our own command
        command,
        cwd=ROOT,
        env=plain | dict(variables),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout, time.monotonic() - began


def rows_of(tables: Tables, table: Table) -> pa.Table | None:
    """All rows that a table ever had, in one order; None where it doesn't exist."""
    if not tables.exists(table):
        return None
    rows = tables.read(table)
    if OWN in rows.column_names:
        rows = rows.drop_columns([OWN, VALUE_HASH])
    flat = [f.name for f in rows.schema if not pa.types.is_nested(f.type)]
    order = pc.sort_indices(rows, [(name, "ascending") for name in flat])
    return rows.take(order).combine_chunks()


def differences(one: Tables, other: Tables) -> dict[str, str]:
    """Rows of each table, and `same` or what differs."""
    verdicts = {}
    for table in TABLES.values():
        if table in LOGBOOKS:
            continue  # when releases were made
        a, b = rows_of(one, table), rows_of(other, table)
        if a is None or b is None:
            verdicts[table.name] = "in neither" if a is b else "in one alone"
        else:
            same = "same" if a.equals(b) else "DIFFERENT"
            verdicts[table.name] = f"{len(a):,} and {len(b):,} rows, {same}"
    return verdicts


def figures(home: Path) -> dict[str, Any]:
    """The reports of a home by name, without what is of the run itself."""
    return {
        path.name: _plain(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted((home / "reports").glob("*.json"))
    }


def _plain(report: Any) -> Any:
    if isinstance(report, dict):
        return {name: _plain(value) for name, value in report.items() if name not in TIMES}
    return [_plain(value) for value in report] if isinstance(report, list) else report


def main() -> None:
    """Run both, and compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, default=ROOT / "conf" / "demo.yaml")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with folder() as scratch, s3_server() as port:
        local = scratch / "local"
        try:
            _, seconds = demo(str(local), options.config, {})
        finally:
            server.stop(local)
        typer.echo(f"folder, no Spark: {seconds:.0f} s")
        variables = environment(port) | {"XDG_CACHE_HOME": str(scratch / "cache")}
        os.environ.update(variables)
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request).close()  # noqa: S310  loopback
        url = f"s3://{BUCKET}/home"
        (scratch / "cluster").mkdir()
        (scratch / "conf").mkdir()
        code = build_wheel(scratch / "conf")
        settings = {**SMALL, "spark.submit.pyFiles": str(code)}
        lines = [f"{name} {value}\n" for name, value in settings.items()]
        (scratch / "conf" / "spark-defaults.conf").write_text("".join(lines))
        with spark_cluster(
            scratch / "cluster", workers=options.workers, environment=variables
        ) as cluster:
            of_spark = {
                "SPARK_MASTER": cluster.url,
                "SPARK_CONF_DIR": str(scratch / "conf"),
                "PYSPARK_PYTHON": str(cluster.python),
            }
            output, seconds = demo(url, options.config, of_spark)
        typer.echo(f"bucket, {options.workers} workers: {seconds:.0f} s\n{output}")
        mirror = home_folder(url)
        server.stop(mirror)
        verdicts = differences(Tables(local), Tables(mirror))
        for name, verdict in verdicts.items():
            typer.echo(f"{name:28} {verdict}")
        ours, theirs = figures(local), figures(mirror)
        for name in sorted(ours.keys() | theirs.keys()):
            same = "same" if ours.get(name) == theirs.get(name) else "DIFFERENT"
            verdicts[name] = same
            typer.echo(f"{name:28} {same}")
    if any("DIFFERENT" in text or "alone" in text for text in verdicts.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
