"""What tasks on Spark's executors have in common: their threads, and what their failures say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vidtopics.errors import MachineError, explain


def use_one_thread() -> None:
    """Computes on one thread from now on: each core of an executor has a worker of its own."""
    import numba
    import torch

    numba.set_num_threads(1)  # first: its threads start here, and set OpenMP's number for torch
    torch.set_num_threads(1)


@contextmanager
def explained(what: str, mend: str) -> Iterator[None]:
    """Around Spark's jobs: MachineError where a task failed as often as Spark lets it."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        yield
    except PySparkException as error:
        raise _failed(what, mend, str(error)) from error
    except Py4JJavaError as error:
        raise _failed(what, mend, str(error.java_exception.getMessage())) from error


def _failed(what: str, mend: str, text: str) -> MachineError:
    expected, found = "tasks that end well", reason_of(text)
    return MachineError(explain(f"{what} on executors", expected=expected, found=found, mend=mend))


def reason_of(text: str) -> str:
    r"""The line that says why, out of the message of Spark for a job that failed.

    >>> reason_of("Job aborted\nTraceback:\n  File x\nOSError: the disk is full\n\n\tat java")
    'OSError: the disk is full'
    >>> reason_of("Job 3 cancelled\nDriver stacktrace:")
    'Job 3 cancelled'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error: " in line and not line.startswith("at ")]
    return (errors or lines[:1] or ["no reason"])[-1]
