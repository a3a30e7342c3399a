"""A home in a bucket on loopback, whose jobs a driver runs on a cluster on loopback.

Workers reach the bucket through a proxy that counts; the driver's folders are empty for them, where
the machine lets processes have mounts of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.s3_server import Proxy, environment, s3_proxy, s3_server
from benchmarks.spark_cluster import (
    ROOT,
    SMALL,
    Cluster,
    build_wheel,
    can_hide,
    driver_environment,
    spark_cluster,
)
from vidtopics.jobs.place import home_folder
from vidtopics.storage import Address
from vidtopics.storage.copying import copy_home
from vidtopics.storage.objects import Objects
from vidtopics.tables import Tables

BUCKET = "cluster"
JOBS = (
    "tag_cooccurrence",
    "video_tag_embedding",
    "video_topics",
    "video_counts",
    "video_statistics",
    "user_statistics",
    "user_topic_counts",
    "user_topics",
    "user_recent_clicks",
    "user_recent_skips",
    "topic_queues",
)
"""What executors compute."""
ANSWER_S = 300.0


class DriverDiedError(Exception):
    """A driver's output ended before its answer."""


@dataclass
class Driver:
    """A driver's process, and whether it is ready."""

    command: list[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until it has its application."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  commands of ours
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=dict(self.environment),
                cwd=self.log.parent,
            )
        self.answer()

    def ask(self, request: Mapping[str, Any]) -> None:
        """Send a request."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The answer to it; DriverDiedError where the process ended before."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise DriverDiedError(self.log.read_text(errors="replace")[-2000:])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """SIGKILL; its JVM ends with its standard input."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        psutil.wait_procs(children, timeout=30)

    def stop(self) -> None:
        """Let it end."""
        if self.process is not None and self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait(60)


@dataclass
class Site:
    """Cluster, driver and bucket."""

    cluster: Cluster
    driver: Driver
    proxy: Proxy
    url: str
    config: Path
    as_of_us: int
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def tables(self) -> Tables:
        """The home's tables, as the bucket has them now."""
        return Tables(home_folder(self.url))

    def request(self, job: str) -> dict[str, Any]:
        """What the driver is asked for."""
        config, as_of_us = str(self.config), self.as_of_us
        return {"job": job, "home": self.url, "config": config, "as_of_us": as_of_us}

    def run(self, job: str) -> dict[str, Any]:
        """Run a job, undisturbed."""
        started = time.monotonic()
        self.driver.ask(self.request(job))
        answer = self.driver.answer()
        self.seconds[job] = time.monotonic() - started
        return answer

    def forget(self, job: str) -> None:
        """Take the table of a job out of the bucket."""
        objects = Objects(Address.parse(self.url))
        for key in objects.list(f"tables/{job}"):
            objects.delete(key)


@contextmanager
def site(
    home: Path,
    scratch: Path,
    *,
    workers: int = 2,
    disk_bytes: int | None = None,
    is_counted: bool = False,
    as_of_us: int | None = None,
) -> Iterator[Site]:
    """A copy of a home in a bucket, a cluster, and a driver that is ready.

    Args:
        home: the home.
        scratch: an empty folder.
        workers: how many.
        disk_bytes: what the disk of a worker's work folder holds.
        is_counted: a proxy before the bucket counts what passes.
        as_of_us: the time of the runs; the last release's if it is left out.
    """
    for name in ("cluster", "driver", "cache", "reader"):
        (scratch / name).mkdir()
    with s3_server() as port, s3_proxy(port) as proxy:
        variables = environment(proxy.port if is_counted else port)
        os.environ.update(variables | {"XDG_CACHE_HOME": str(scratch / "reader")})
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request).close()  # noqa: S310  loopback
        url = f"s3://{BUCKET}/home"
        copy_home(Address.parse(home), Address.parse(url))
        config = Path(shutil.copy(home / "settings.yaml", scratch / "driver"))
        private = [scratch / name for name in ("driver", "cache", "reader")]
        with spark_cluster(
            scratch / "cluster",
            workers=workers,
            environment=variables,
            hidden=private if can_hide() else [],
            disk_bytes=disk_bytes if can_hide() else None,
        ) as cluster:
            driver = _driver(cluster, scratch, variables)
            driver.start()
            as_of_us = as_of_us or int(Tables(home).latest_release()["as_of_us"])
            try:
                yield Site(cluster, driver, proxy, url, config, as_of_us)
            finally:
                driver.stop()


def _driver(cluster: Cluster, scratch: Path, variables: Mapping[str, str]) -> Driver:
    """A driver in a folder of its own, with the code as a wheel."""
    folder = scratch / "driver"
    code = build_wheel(folder)
    program = shutil.copy(ROOT / "benchmarks" / "cluster_driver.py", folder)
    settings = SMALL | {
        # On small tables compiling and planning a query anew costs more than the query.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.adaptive.enabled": "false",
        "spark.submit.pyFiles": str(code),
        "spark.speculation": "true",
        "spark.speculation.interval": "500ms",
        "spark.speculation.task.duration.threshold": "10s",
    }
    (folder / "spark-defaults.conf").write_text(
        "".join(f"{name} {value}\n" for name, value in settings.items())
    )
    own = {
        "SPARK_MASTER": cluster.url,
        "SPARK_CONF_DIR": str(folder),
        "PYTHONPATH": str(code),
        "XDG_CACHE_HOME": str(scratch / "cache"),
    }
    environment = driver_environment(cluster, dict(variables) | own)
    return Driver([str(cluster.python), str(program)], environment, folder / "driver.log")
