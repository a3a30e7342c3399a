"""Prints what is left of the JVM after `stop`, and what a second session counts."""

import os

import psutil

from vidtopics.jobs.session import session, stop

if __name__ == "__main__":
    assert session("first").range(3).count() == 3
    stop()
    print([p.name() for p in psutil.Process(os.getpid()).children() if "java" in p.name()])
    print(session("second").range(4).count())
    stop()
    stop()
