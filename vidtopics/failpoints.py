"""Named points in publishing and materialising where a test can make the process fail.

A point does nothing until a test arms it, in this process or, for a child process, with the
variable `VIDTOPICS_FAILPOINT=NAME` (the child kills itself there with SIGKILL, as a crash would).

>>> with armed("publish.committed"):
...     failpoint("publish.committed")
Traceback (most recent call last):
...
vidtopics.failpoints.Crash: publish.committed
>>> failpoint("publish.committed")
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

Point = Literal[
    "publish.read",  # the table's version is read, nothing is computed
    "publish.compared",  # the difference is known, nothing is written
    "publish.committed",  # the commit is in the log, its caller doesn't know yet
    "release.read",
    "release.committed",
    "model.files",  # the files of a topic model version lie in a hidden folder, without a manifest
    "model.manifest",  # the manifest too; the folder hasn't its name
    "rollback.taken_back",  # the releases since are marked, no table has its old values yet
    "rollback.table",  # one more table has
    "materialize.batch",  # some rows of a view are in Redis
    # a view (or its new generation) is in Redis with its watermarks, the next one isn't
    "materialize.view",
    "materialize.queues",  # a set of topic queues is in Redis, nobody reads it
    "materialize.staged",  # all of the load is in Redis, nothing of it is live
    "inbox.taken",  # a delivery left the inbox, nothing of it is read
    "inbox.begun",  # it is noted that it is read, nothing is published
    "inbox.published",  # all of its rows are in the tables, its outcome isn't noted
    "inbox.noted",  # its outcome is, nothing is released
    "experiment.day",  # a day of a simulated experiment is written, its folder hasn't its name
    "experiment.whole",  # the experiment is written, its days still lie beside it
    "erase.redis",  # Redis is without the people, the tables have them still
    "erase.file",  # one more data file was written anew, the log names the old one
    "erase.removes",  # what removed an old file removes both
    "erase.log",  # the log names the new files, the old ones are there
    "erase.table",  # one more table is done
    "erase.files",  # sets, logs and models are, the receipt isn't
    "mirror.sent",
    "copy.sent",  # a file of a home is in its copy, others aren't
    "copy.logs",  # the tables are, as far as their logs go; no release is
    "materialize.switched",  # the load is live, what only earlier ones needed is still there
]
POINTS: tuple[Point, ...] = get_args(Point)
VARIABLE = "VIDTOPICS_FAILPOINT"
_armed: set[str] = set()


class Crash(BaseException):
    """What an armed point raises; no handler of ours catches it."""


def failpoint(name: Point) -> None:
    """Fail here if a test armed `name`."""
    if name in _armed:
        raise Crash(name)
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def armed(name: Point) -> Iterator[None]:
    """Within the block, `name` raises Crash."""
    _armed.add(name)
    try:
        yield
    finally:
        _armed.discard(name)
