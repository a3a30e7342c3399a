"""The wheel's base is the online client's alone.

Built and installed without the network, beside copies of what it needs.
"""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.layout import Schema, encode
from vidtopics.materialization import StoreWriter

ROOT = Path(__file__).parents[2]
PACKAGES = ("vidtopics", "producers", "consumers", "spark_jobs")
ONLINE = ("vidtopics.contracts", "vidtopics.errors", "vidtopics.layout", "vidtopics.online")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in (*PACKAGES, "tests", "feature_repo"):
        if (ROOT / folder).is_dir():
            shutil.copytree(
                ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__")
            )
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def base(wheel, tmp_path_factory) -> Path:
    """The interpreter of an environment with the wheel and its closure, and nothing else."""
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder, symlinks=True)
    site = Path(
        sysconfig.get_path("purelib", "venv", vars={"base": str(folder), "platbase": str(folder)})
    )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in closure(wheel) - {"vidtopics"}:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] != ".."}:
            (site / top).symlink_to(Path(str(distribution.locate_file(top))))
    return folder / "bin" / "python"


def closure(wheel: Path) -> set[str]:
    """The distributions that `pip install` of the wheel brings here."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        texts = re.findall(r"^Requires-Dist: (.+)$", archive.read(name).decode(), re.MULTILINE)
    names, todo = {"vidtopics"}, [(Requirement(text), "") for text in texts]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        names.add(requirement.name)
        texts = metadata.requires(requirement.name) or []
        todo += [
            (Requirement(text), inner) for text in texts for inner in ("", *requirement.extras)
        ]
    return names


def test_the_wheel_holds_the_packages_and_never_tests_or_feature_repo(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    present = {p for p in PACKAGES if (ROOT / p).is_dir()}
    assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == present
    assert {
        "vidtopics/contracts/registry.py",
        "vidtopics/cli/doctor.py",
        "vidtopics/jobs/spark-defaults.conf",
    } <= set(names)


def test_the_base_is_numpy_and_redis(wheel):
    # redis needs async-timeout below Python 3.11.3 only.
    assert closure(wheel) - {"async-timeout"} == {"vidtopics", "numpy", "redis", "hiredis"}


def test_the_online_modules_load_nothing_else(base):
    code = (
        "import sys, json, numpy, redis; before = set(sys.modules); "
        f"import {', '.join(ONLINE)}; new = {{m.split('.')[0] for m in set(sys.modules) - before}};"
        " "
        "print(json.dumps(sorted(new - sys.stdlib_module_names - {'numpy', 'redis'})))"
    )
    assert json.loads(run(base, code)) == ["vidtopics"]


def test_the_online_modules_are_a_tenth_of_those_of_numpy_and_redis(base):
    code = (
        "import sys; start = len(sys.modules); import numpy, redis; before = len(sys.modules); "
        f"import {', '.join(ONLINE)}; print(before - start, len(sys.modules) - before)"
    )
    packages, ours = map(int, run(base, code).split())
    assert 0 < 10 * ours < packages


def test_the_base_reads_what_the_platform_wrote(base, store):
    schema = Schema.of(VIDEO_TOPICS)
    writer = StoreWriter(store, prefix="vt")
    load = writer.load(writer.register("video_topics", schema))
    row = {
        "topic_ids": [[7, 3, *[-1] * 6]],
        "topic_weights": [[0.5, 0.25, *[0] * 6]],
        "parent_topic_ids": [[1, 1, *[-1] * 6]],
        "topic_count": [2],
        "below_threshold": [False],
        "topic_epoch": [1],
    }
    fingerprints = load.space.fingerprints([b"v1"])
    load.add([b"v1"], encode(schema, row, fingerprints=fingerprints, event_us=[5], created_us=[6]))
    load.finish()
    address = store.connection_pool.connection_kwargs
    code = (
        "import json; from vidtopics.online import OnlineClient; "
        f"client = OnlineClient.from_url('redis://127.0.0.1:{address['port']}');"
        "topics = client.read('video_topics', ['v1', 'v2']); ids = topics['topic_ids'];"
        "weights = topics['topic_weights'].tolist();"
        "print(json.dumps([topics.status.tolist(), ids.tolist(), weights, str(ids.dtype)]))"
    )
    none = [[-1] * 8, [0.0] * 8]
    ids, weights = row["topic_ids"][0], row["topic_weights"][0]
    assert json.loads(run(base, code)) == [[1, 3], [ids, none[0]], [weights, none[1]], "int64"]


def test_the_command_of_the_base_says_what_to_install(base):
    done = subprocess.run(
        [base, "-c", "from vidtopics.cli import main; main()", "demo"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (
        done.stderr
        == "vidtopics: the package 'typer' is missing. Mend: pip install \"vidtopics[tables]\"\n"
    )


def run(python: Path, code: str) -> str:
    return subprocess.run(
        [python, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout
