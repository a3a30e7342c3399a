"""A process with everything imported that forks runs and prints their pids.

Each line on its input names a home, a server and 1 or 0 for --full.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import redis
from online_home import OnlineHome

import vidtopics.materialization.releases


def main() -> None:
    print("ready", vidtopics.materialization.releases.__name__, flush=True)
    for line in sys.stdin:
        root, url, full = line.split()
        pid = os.fork()
        if pid == 0:
            OnlineHome(Path(root)).run(redis.Redis.from_url(url), full=full == "1")
            os._exit(0)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
