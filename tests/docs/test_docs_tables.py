"""docs/tables.md says what the contracts say; what the pages name exists; their code compiles."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from vidtopics.contracts import (
    COMMIT_VERSION,
    CREATED_TIME,
    DERIVED,
    EVENT_TIME,
    IMPRESSIONS,
    INPUTS,
    LOGBOOKS,
    PARTITION_DATE,
    TABLES,
    VALUE_HASH,
    Table,
    rejected,
)
from vidtopics.ingest.reasons import REFUSALS, WARNINGS
from vidtopics.jobs.pipeline import JOBS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
GUIDE = ROOT / "docs" / "adding-a-producer.md"  # its example's names don't exist elsewhere
TEXT = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
OWN_SECTION = (*INPUTS, *DERIVED, *LOGBOOKS)


def section(title: str) -> str:
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#+ |\Z)", TEXT, re.M | re.S)
    assert match, f"docs/tables.md has no section {title!r}"
    return match.group(2)


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without heading and rule."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def readers(table: Table) -> str:
    jobs = (importlib.import_module(f"spark_jobs.{name}").JOB for name in JOBS)
    return code(tuple(job.name for job in jobs if table in job.inputs))


def test_the_overview_names_every_table_with_its_contract_and_readers() -> None:
    overview = {
        name.strip("`"): (kind, key, engine, reads)
        for name, kind, key, engine, _, reads in rows(section("Overview"))
    }
    assert overview == {
        t.name: (t.kind, code(t.key), t.engine, readers(t)) for t in TABLES.values()
    }


def columns(table: Table) -> list[tuple[str, str, str, bool]]:
    widths = {c.name: f"[{c.width}]" if c.width is not None else "" for c in table.columns}
    return [
        (f"`{c.name}`", f"`{c.type}{widths[c.name]}`", c.unit, c.optional) for c in table.columns
    ]


@pytest.mark.parametrize("table", OWN_SECTION, ids=lambda t: t.name)
def test_every_column_is_there_with_type_and_unit(table: Table) -> None:
    documented = rows(section(table.name))
    assert [
        (name, kind, unit, meaning.endswith("may be null"))
        for name, kind, unit, meaning in documented
    ] == columns(table)


def test_columns_of_refused_rows_and_of_every_table() -> None:
    documented = rows(section("Tables of refused rows"))
    assert [(name, kind, unit, False) for name, kind, unit, _ in documented] == columns(
        rejected(IMPRESSIONS)
    )
    assert [row[0].strip("`") for row in rows(section("Columns of every table"))] == [
        EVENT_TIME,
        CREATED_TIME,
        VALUE_HASH,
        PARTITION_DATE,
        COMMIT_VERSION,
    ]


def test_every_reason_is_there_with_its_meaning() -> None:
    refused = {reason.strip("`"): meaning for reason, meaning, _ in rows(section("Refused rows"))}
    warned = {reason.strip("`"): meaning for reason, meaning in rows(section("Warnings"))}
    assert (refused, warned) == (dict(REFUSALS), dict(WARNINGS))


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_in_the_docs_compiles(page: Path) -> None:
    for block in blocks(page):
        compile(block, str(page), "exec")


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.mark.parametrize("page", [p for p in PAGES if p != GUIDE], ids=lambda p: p.name)
def test_tests_and_files_that_a_page_names_exist(page: Path) -> None:
    sources = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    names = set(re.findall(r"`(test_\w+)`", prose(page)))
    assert {name for name in names if f"def {name}(" not in sources} == set()
    paths = set(
        re.findall(r"`((?:vidtopics|spark_jobs|producers|tests|conf|docs)/[\w./-]+)`", prose(page))
    )
    assert {path for path in paths if not (ROOT / path).exists()} == set()
    links = set(re.findall(r"\]\(([\w./-]+)\)", prose(page)))
    assert {link for link in links if not (page.parent / link).exists()} == set()
