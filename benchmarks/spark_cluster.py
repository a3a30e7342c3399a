"""A standalone Spark cluster on loopback, for benchmarks and tests: a master and workers.

Its nodes have Java, Spark, and a Python with the libraries, and neither the checkout nor the
driver's folders: the code comes with the application, as a wheel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil
import pyspark

ROOT = Path(__file__).parents[1]
SUBMIT = Path(sys.executable).with_name("spark-submit")
PACKAGES = ("vidtopics", "producers", "consumers", "spark_jobs")
WAIT_S = 60.0
EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"
# A cluster's defaults are for large tables: 200 partitions for some hundred videos.
SMALL = {
    "spark.sql.shuffle.partitions": "2",
    "spark.executor.memory": "512m",
    "spark.driver.memory": "768m",
    "spark.ui.enabled": "false",
    # Workers are to be machines of their own, each with disks that the others don't see.
    "spark.shuffle.readHostLocalDisk": "false",
}
# The editable install of the checkout is a finder on sys.meta_path; sitecustomize runs after it was
# put there.
SITECUSTOMIZE = """
import sys
sys.meta_path = [
    f for f in sys.meta_path if not getattr(f, "__module__", "").startswith("__editable__")
]
"""


@dataclass
class Cluster:
    """A cluster that runs.

    Attributes:
        url: of the master.
        folder: work folders and logs of the daemons.
        python: of a node.
        start: starts the worker of a name.
        workers: the workers' processes, by name.
    """

    url: str
    folder: Path
    python: Path
    start: Callable[[str], subprocess.Popen[bytes]]
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def add(self, name: str) -> None:
        """Start the worker of a name, anew where it was killed."""
        self.workers[name] = self.start(name)
        log = self.folder / f"{name}.log"
        _wait_for("registered with master", log, self.workers[name])

    def executors(self) -> list[psutil.Process]:
        """The executors that run, by process number."""
        children = [
            child
            for worker in self.workers.values()
            if worker.poll() is None
            for child in _children(worker.pid)
        ]
        running = [child for child in children if _is_executor(child)]
        return sorted(running, key=lambda process: process.pid)

    def disk(self, name: str) -> Path:
        """A worker's work folder, as that worker has it, of its own size or not."""
        return Path(f"/proc/{self.workers[name].pid}/root{self.folder / name}")


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _is_executor(process: psutil.Process) -> bool:
    try:
        return EXECUTOR in process.cmdline()
    except psutil.Error:
        return False


@contextmanager
def spark_cluster(
    folder: Path,
    *,
    workers: int = 2,
    environment: Mapping[str, str] | None = None,
    hidden: Sequence[Path] = (),
    disk_bytes: int | None = None,
) -> Iterator[Cluster]:
    """A master and workers of one core and 1 GB each, until the block ends.

    Args:
        folder: for their work folders and logs; an empty one.
        workers: how many.
        environment: variables that workers, and so executors, have beside PATH and Java's.
        hidden: folders that are empty for the workers (:func:`can_hide`).
        disk_bytes: what the disk of a worker's work folder holds.
    """
    home = spark_home(folder)
    variables = _plain_environment() | {
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_SCALA_VERSION": "2.13",  # as Spark's own scripts set it
    }
    with ExitStack() as stack:
        master = _daemon(folder, "master", ["--port", "0", "--webui-port", "0"], variables)
        stack.callback(_stop, master)
        url = _master_url(folder / "master.log", master)

        def start(name: str) -> subprocess.Popen[bytes]:
            work = folder / name
            work.mkdir(exist_ok=True)
            limits = [] if disk_bytes is None else [f"mount -t tmpfs -o size={disk_bytes} n {work}"]
            limits += [f"mount -t tmpfs none {place}" for place in hidden]
            arguments = ["--cores", "1", "--memory", "1g", "--webui-port", "0"]
            arguments += ["--work-dir", str(work), url]
            own = {**variables, "SPARK_LOCAL_DIRS": str(work), **(environment or {})}
            process = _daemon(folder, name, arguments, own, limits)
            stack.callback(_stop, process)
            return process

        cluster = Cluster(url, folder, node_python(folder), start)
        for number in range(workers):
            cluster.add(f"worker{number}")
        yield cluster


@cache
def can_hide() -> bool:
    """Whether this machine lets a process have mounts of its own."""
    command = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and not subprocess.run(command, check=False).returncode  # noqa: S603


def _daemon(
    folder: Path,
    name: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    mounts: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    kind = "Master" if name == "master" else "Worker"
    java = Path(os.environ["JAVA_HOME"], "bin", "java") if "JAVA_HOME" in os.environ else "java"
    command = [str(java), "-cp", f"{folder}/spark/jars/*", "-Xmx256m"]
    command += [f"org.apache.spark.deploy.{kind.lower()}.{kind}", "--host", "127.0.0.1"]
    command += arguments
    if mounts:
        script = " && ".join([*mounts, 'exec "$@"'])
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *command]
    nowhere = folder / f"{name}-cwd"
    nowhere.mkdir(exist_ok=True)
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603  commands of ours
            command, cwd=nowhere, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a daemon and what it started."""
    children = _children(process.pid)
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def _master_url(log: Path, process: subprocess.Popen[bytes]) -> str:
    return _wait_for(r"spark://127\.0\.0\.1:\d+", log, process)


def _wait_for(pattern: str, log: Path, process: subprocess.Popen[bytes]) -> str:
    """What a daemon's log has of a pattern, once it has it."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        if match := re.search(pattern, log.read_text(errors="replace")):
            return match[0]
        time.sleep(0.1)
    raise RuntimeError(f"{log}: no {pattern!r} in:\n{log.read_text(errors='replace')[-2000:]}")


def _plain_environment() -> dict[str, str]:
    """PATH and what is for Java and threads: nothing of this process's own Python or Spark."""
    names = ("PATH", "JAVA_HOME", "JDK_JAVA_OPTIONS", "OMP_WAIT_POLICY", "LANG", "NO_PROXY")
    return {name: os.environ[name] for name in names if name in os.environ}


def spark_home(folder: Path) -> Path:
    """Spark as it is installed, under a folder that workers may write to."""
    home = folder / "spark"
    if not home.exists():
        home.mkdir()
        for part in Path(pyspark.__file__).parent.iterdir():
            (home / part.name).symlink_to(part)
    return home


def node_python(folder: Path) -> Path:
    """A Python with all libraries and without the checkout: what a node of a cluster has."""
    node = folder / "node"
    python = node / "python"
    if not python.exists():
        node.mkdir()
        (node / "sitecustomize.py").write_text(SITECUSTOMIZE)
        python.write_text(
            f'#!/bin/sh\nPYTHONPATH="{node}${{PYTHONPATH:+:$PYTHONPATH}}"'
            f' exec {sys.executable} "$@"\n'
        )
        python.chmod(0o755)
    return python


def build_wheel(folder: Path) -> Path:
    """The packages as a wheel, under a name that Spark takes for an archive of Python code."""
    source = folder / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
    subprocess.run([*command, folder, source], check=True, capture_output=True)  # noqa: S603
    shutil.rmtree(source)
    [wheel] = folder.glob("*.whl")
    assert zipfile.is_zipfile(wheel)
    return wheel.rename(folder / "vidtopics.zip")


def submission(
    cluster: Cluster,
    code: Path,
    program: Path,
    arguments: Sequence[object],
    settings: Mapping[str, str] | None = None,
) -> list[str]:
    """The command that submits a program to a cluster, with the code for driver and executors."""
    properties = {"spark.master": cluster.url, **SMALL, **(settings or {})}
    command = [SUBMIT, "--properties-file", ROOT / "conf" / "spark-defaults.conf"]
    for name, value in properties.items():
        command += ["--conf", f"{name}={value}"]
    return [str(part) for part in (*command, "--py-files", code, program, *arguments)]


def driver_environment(cluster: Cluster, variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a driver: a Python without the checkout, as on a node."""
    return {
        **_plain_environment(),
        "HOME": os.environ.get("HOME", "/"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": str(cluster.python),
        "PYSPARK_DRIVER_PYTHON": str(cluster.python),
        **variables,
    }
