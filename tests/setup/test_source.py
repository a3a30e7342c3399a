"""A hash of source reads files; it runs none of them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
from vidtopics.source import source_hash
print(source_hash({name!r}), {package!r} in sys.modules)
"""


def _hash(name: str, package: str, folder: Path) -> list[str]:
    program = PROGRAM.format(name=name, package=package, folder=str(folder))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_a_hash_runs_no_package_above_the_module() -> None:
    """Feast takes five seconds to import, a job's hash needs none of it."""
    assert _hash("vidtopics.stores.delta.sources", "feast", Path())[1] == "False"


def test_packages_are_read_from_folders_and_zips_alike(tmp_path: Path) -> None:
    """With PySpark's `--py-files` a job's code lies in a zip: the same hash, module by module."""
    files = {
        "alike/__init__.py": "raise RuntimeError('run')",
        "alike/one.py": "raise RuntimeError('run')",
        "alike/below/__init__.py": "",
        "alike/below/two.py": "2 / 0",
    }
    folder = tmp_path / "folder"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    archive = tmp_path / "alike.zip"
    with zipfile.ZipFile(archive, "w") as z:
        for name, text in files.items():
            z.writestr(name, text)

    for name in ("alike", "alike.below", "alike.below.two"):
        assert _hash(name, "alike", folder) == _hash(name, "alike", archive)
    assert _hash("alike", "alike", folder) != _hash("alike.below", "alike", folder)
    assert _hash("alike", "alike", folder)[1] == "False"
