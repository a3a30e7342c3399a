"""K-means and encoding while workers and an executor are killed and a task fails; a program.

`python disturbed_executors.py FOLDER HOME SETTINGS AS_OF` prints one JSON line.
"""

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from producers.topics import points as point_blocks
from producers.topics.rows import Rows
from spark_jobs import video_content_encoding
from vidtopics.jobs import executor_encoding
from vidtopics.jobs.executor_points import on_executors
from vidtopics.jobs.job import Run
from vidtopics.jobs.session import session, stop
from vidtopics.settings import parse
from vidtopics.tables import Tables


def evaluation(folder, name):
    """How many times before a name was asked for, by any process."""
    for number in range(1_000):
        try:
            (folder / f"{name}-{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return number
    raise AssertionError(name)


def executor_of_this_worker():
    """The JVM that started the daemon which forked this process."""
    return int(Path(f"/proc/{os.getppid()}/stat").read_text().split()[3])


def disturb(folder, block):
    """Kills a worker, an executor, and fails, each in the midst of another step."""
    number = (block.number, evaluation(folder, f"block{block.number}"))
    if number == (1, 1):
        (folder / "worker killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number == (0, 2):
        (folder / "executor killed").touch()
        os.kill(executor_of_this_worker(), signal.SIGKILL)
    if number == (3, 3):
        (folder / "task failed").touch()
        raise OSError("the disk is full")
    return block


def encode_and_die(folder, real, task, columns):
    """Encodes a part and dies before it is handed back, the first time."""
    encodings = real(task, columns)
    if evaluation(folder, "encoding") == 0:
        (folder / "encoder killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return encodings


def main(folder, home, settings, as_of):
    from producers.topics.kmeans import fit_centres, label_points, spherical_kmeans

    point_blocks.LEAST_BLOCK_ROWS = 60
    points = np.random.default_rng(0).normal(size=(240, 12)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    options = {"iterations": 5, "seed": 1}
    spark = session("disturbed")
    run = SimpleNamespace(tables=SimpleNamespace(bucket=None, home=folder / "home"), spark=spark)
    with on_executors(run, Rows(points, np.arange(240)), 6) as remote:
        remote._points = remote._points.map(partial(disturb, folder))
        clustering = label_points(remote, fit_centres(remote, 6, **options))
    local = spherical_kmeans(points, 6, **options)
    equal = [a.tobytes() == b.tobytes() for a, b in zip(clustering[:4], local[:4], strict=True)]

    video_content_encoding.PART_ROWS = 8
    real = executor_encoding.encode_part
    executor_encoding.encode_part = partial(encode_and_die, folder, real)
    tree = parse(json.loads(settings), where="test")
    done = video_content_encoding.JOB.run(Run(Tables(home), tree, int(as_of), on_spark=True))
    stop()
    print(json.dumps({"equal": equal, "steps": clustering.iterations, "rows": done.rows}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
