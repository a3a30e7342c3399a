"""Each package is listed with a licence that may be used; a bill of materials has them all."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "dependencies"


@pytest.fixture(scope="module")
def script():
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def test_the_page_lists_what_is_installed(script):
    check = subprocess.run(
        [sys.executable, SCRIPT, "--check"], check=False, capture_output=True, text=True
    )
    assert (check.returncode, check.stdout.strip(), check.stderr) == (0, "", "")
    listed = {line.split(" | ")[0].strip("| ") for line in script.PAGE.read_text().splitlines()}
    assert set(script.EXCEPTIONS) <= listed
    pinned = [
        line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()
    ]
    assert len(pinned) > 150
    assert {name.lower().replace("_", "-").replace(".", "-") for name in pinned[1:]} <= listed


@pytest.mark.parametrize(
    ("name", "terms", "is_allowed"),
    [
        ("new", "MIT", True),
        ("new", "MIT OR GPL-3.0-only", True),
        ("new", "BSD-3-Clause AND Zlib", True),
        ("new", "Apache Software License; MIT License", True),
        ("new", "GPL-3.0-only", False),
        ("new", "MIT AND GPL-3.0-only", False),
        ("new", "BSD License; GNU Lesser General Public License v3 (LGPLv3)", False),
        ("new", "AGPL-3.0-or-later", False),
        ("new", "MITNFA", False),
        ("new", "none named", False),
        ("gensim", "LGPL-2.1-only", True),
    ],
)
def test_a_licence_is_allowed_or_has_a_reason(script, name, terms, is_allowed):
    assert (script.reason(name, terms) is not None) == is_allowed


def test_a_package_that_is_not_listed_is_named(script, tmp_path, monkeypatch, capsys):
    lines = script.PAGE.read_text().splitlines()
    page = tmp_path / "dependencies.md"
    page.write_text("\n".join(line for line in lines if not line.startswith("| numpy |")))
    monkeypatch.setitem(script.main.__globals__, "PAGE", page)
    assert script.main(["--check"]) == 1
    assert (
        capsys.readouterr().out
        == "numpy: not as in docs/dependencies.md; run scripts/dependencies\n"
    )
    monkeypatch.setitem(script.rows.__globals__, "EXCEPTIONS", {})
    with pytest.raises(ValueError, match=r"gensim: LGPL-2\.1-only"):
        script.rows()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cyclonedx-py") is None, reason="needs the program cyclonedx-py")
def test_the_bill_of_materials_has_each_package_with_its_version(script, tmp_path):
    subprocess.run([ROOT / "scripts" / "sbom", tmp_path / "sbom.json"], check=True)
    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    parts = [part for part in bill["components"] if "purl" in part]
    versions = {canonicalize_name(part["name"]): part["version"] for part in parts}
    for name in ("numpy", "redis", "deltalake"):
        assert versions[name] == version(name)
    assert {name for name in script.pinned() if script.installed(name)} <= versions.keys()
