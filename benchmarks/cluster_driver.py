"""A driver that runs the jobs that its input names, in one Spark application.

A line of JSON on standard input, `{"job": ..., "home": ..., "config": ..., "as_of_us": ...}`, is
answered by one on standard output: `{"rows": ..., "version": ...}`, or `{"error": ...}`. It is a
program to submit: it imports the package alone.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from pyspark import SparkContext

from vidtopics.errors import VidtopicsError
from vidtopics.jobs.job import Run
from vidtopics.jobs.place import home_folder
from vidtopics.jobs.session import session
from vidtopics.releases.lock import hold
from vidtopics.settings import load
from vidtopics.tables import Tables


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run a job on Spark; what it published, or its error."""
    job, before = importlib.import_module(f"spark_jobs.{request['job']}").JOB, _shuffled()
    try:
        tables, settings = (
            Tables(home_folder(request["home"], is_written=True)),
            load(request["config"]),
        )
        with hold(tables.home, "a benchmark's driver") as lock:
            publication = job.run(
                Run(tables, settings, request["as_of_us"], lock=lock, on_spark=True)
            )
    except VidtopicsError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    rows, version = publication.rows, publication.version
    return {"rows": rows, "version": version, "shuffled": _shuffled() - before}


def _shuffled() -> int:
    """Bytes that executors, also those that ended, have written for shuffles so far."""
    context = SparkContext._active_spark_context
    assert context is not None
    executors = context._jsc.sc().statusStore().executorList(False)
    return sum(executors.apply(i).totalShuffleWrite() for i in range(executors.length()))


def main() -> None:
    """Answer until the input ends."""
    output, sys.stdout = sys.stdout, sys.stderr
    session("vidtopics-cluster-driver")
    print(json.dumps({"ready": True}), file=output, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=output, flush=True)


if __name__ == "__main__":
    main()
