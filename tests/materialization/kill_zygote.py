"""A process with everything imported that forks runs and prints their pids.

Each line on its input names a home, a server and what is done: run, full or back.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import redis
from online_home import KEEP, OnlineHome

import vidtopics.materialization.releases
from vidtopics.materialization.rollback import switch_back


def main() -> None:
    print("ready", vidtopics.materialization.releases.__name__, flush=True)
    for line in sys.stdin:
        root, url, what = line.split()
        pid = os.fork()
        if pid == 0:
            home, store = OnlineHome(Path(root)), redis.Redis.from_url(url)
            if what == "back":
                switch_back(store, KEEP, 1)
            else:
                home.run(store, full=what == "full")
            os._exit(0)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
