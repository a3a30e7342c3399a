"""An executor that is waited for by nobody."""

import subprocess
import sys
import threading

import pytest

from consumers.serving.pools import DaemonPool

HANGS = (
    "import threading; from consumers.serving.pools import DaemonPool; began = threading.Event();"
    "DaemonPool(1, 'hangs').submit(lambda: (began.set(), threading.Event().wait())); began.wait()"
)


def test_a_call_that_never_ends_does_not_keep_the_process():
    subprocess.run([sys.executable, "-c", HANGS], check=True, timeout=100)


def test_calls_give_what_they_give_and_a_cancelled_one_is_never_made():
    made, freed = [], threading.Event()
    with DaemonPool(1, "test") as pool:
        first = pool.submit(freed.wait)
        cancelled, last = pool.submit(made.append, "cancelled"), pool.submit(made.append, "last")
        failing = pool.submit(int, "x", base=3)
        assert cancelled.cancel()
        freed.set()
        assert (first.result(), last.result(), made) == (True, None, ["last"])
        with pytest.raises(ValueError, match="base 3"):
            failing.result()
