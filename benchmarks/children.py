"""A measured call in a process of its own: its seconds, and the process's peak memory.

The function named prepares (imports, data, connections) and gives the call that is timed, or a
pair: the call, and what turns its result into something that JSON can hold, which is not measured.
Run as `python -m benchmarks.children MODULE FUNCTION ARGUMENTS`, it prints one JSON line last.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import timed
from vidtopics.errors import MachineError, explain

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Child:
    """The call's result and seconds; the process's memory (MB) before it and at its peak."""

    result: Any
    seconds: float
    before_mb: float
    peak_mb: float


def in_child(module: str, function: str, **arguments: str | int) -> Child:
    """Run `module.function(**arguments)()` in a fresh interpreter.

    Raises:
        MachineError: it failed; with the end of its output.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(  # noqa: S603  our own module
        [sys.executable, "-m", "benchmarks.children", module, function, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MachineError(
            explain(
                f"benchmark child {module}.{function}",
                expected="status 0",
                mend="see above",
                found=f"status {done.returncode}: {done.stderr[-2_000:]}",
            )
        )
    return Child(**json.loads(done.stdout.splitlines()[-1]))


def memory_mb(field: str) -> float:
    """`VmRSS` (now) or `VmHWM` (the peak) of this process, MB; Linux alone says so."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def measured(module: str, function: str, **arguments: str | int) -> Child:
    """The same in this process, whose peak memory it then is; the child's side."""
    prepared = getattr(importlib.import_module(module), function)(**arguments)
    call, summary = prepared if isinstance(prepared, tuple) else (prepared, lambda result: result)
    Path("/proc/self/clear_refs").write_text(
        "5", encoding="ascii"
    )  # the peak starts anew: making the data is no part of it
    before = memory_mb("VmRSS")
    seconds, result = timed(call)
    peak = memory_mb("VmHWM")
    return Child(summary(result), seconds, before, peak)


if __name__ == "__main__":
    done = measured(*sys.argv[1:3], **json.loads(sys.argv[3]))
    sys.stdout.write("\n" + json.dumps(asdict(done)) + "\n")
