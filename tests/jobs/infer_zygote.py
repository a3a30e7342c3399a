"""A process with everything imported that forks `vidtopics infer --follow` for a line of its input.

Imports take as long as what a kill is to hit. A line is a list in JSON: the command's words, the
file that standard error is added to, and the failpoint. It prints the child's pid, and once that
ended its exit status.
"""

from __future__ import annotations

import json
import os
import sys

import deltalake  # noqa: F401  imported once, not by each child
import duckdb  # noqa: F401
import timm  # noqa: F401
import torch  # noqa: F401
import transformers.models.auto  # noqa: F401

import producers.content.encoding  # noqa: F401
import vidtopics.cli.infer
import vidtopics.ingest.arrivals
import vidtopics.jobs.small_release
import vidtopics.materialization.releases  # noqa: F401
from vidtopics.cli.common import run
from vidtopics.failpoints import VARIABLE


def main() -> None:
    for line in sys.stdin:
        words, log, failpoint = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.environ[VARIABLE] = failpoint
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            os._exit(run(words))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
