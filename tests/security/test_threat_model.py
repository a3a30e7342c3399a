"""docs/security.md names tests that there are, and the limits that the code has."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from operator import attrgetter
from pathlib import Path

from vidtopics.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text()


def functions(path):
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_is_there():
    """`::name` alone is of the file that was named before it in its line."""
    named = 0
    for line in TEXT.splitlines():
        path = ""
        for text in re.findall(r"`((?:tests/[\w/]+\.py)?(?:::\w+)?)`", line):
            file, _, name = text.partition("::")
            path = file or path
            assert (ROOT / path).is_file(), line
            if name:
                assert name in functions(path), line
            named += 1
    assert named > 50


def test_every_line_of_an_attack_has_a_test_or_a_limit():
    [attacks] = re.findall(r"## What an attacker gets\n(.*?)\n## ", TEXT, re.S)
    rows = [line for line in attacks.splitlines() if re.match(r"\| (?!tries|has|---)", line)]
    assert len(rows) > 40
    without = [
        r for r in rows if not re.search(r"tests/|limit|\(\w+\.md\)| \|$", r.rsplit("|", 2)[1])
    ]
    assert [row for row in without if "without limit: |" not in row] == []


def value_of(name):
    if re.fullmatch(r"(serving|ingest|tags)\.\w+", name):
        value = attrgetter(name)(Settings())
        return getattr(value, "total_seconds", lambda: value)()
    module, _, constant = name.rpartition(".")
    return getattr(import_module(module), constant)


def test_limits_are_those_of_the_code():
    [table] = re.findall(r"## Limits of every read\n(.*?)\n## ", TEXT, re.S)
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if "`" in line]
    assert len(rows) > 20
    for what, most, where in rows:
        names = re.findall(r"`([\w.]+)`", where)
        numbers = re.findall(r"[\d,.]*\d(?:MB)?", most)
        values = [value_of(name) for name in names]
        shown = [v if isinstance(v, str) else float(v) for v in values]
        wanted = [n if n.endswith("MB") else float(n.replace(",", "")) for n in numbers]
        assert shown == wanted * (len(shown) if len(wanted) == 1 else 1), what
