"""docs/tables.md says which columns a delivery has, as the code does; its examples are read."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from vidtopics.contracts import CLICKS, IMPRESSIONS, INPUTS, VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.ingest import Delivery, Source, stage
from vidtopics.ingest.columns import Columns
from vidtopics.ingest.delivery_maps import COLUMNS
from vidtopics.settings import IngestSettings

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
FILES = sorted(COLUMNS)
KEYS = {"videos": ["video_id"], "impressions": ["user_id", "event_id"], "tags": ["tag"]}
LISTS = {"primary_class", "secondary_class", "tags"}


def documented(file: str) -> list[list[str]]:
    """Column, type, required, rule and example of each column of a file, as the page has them."""
    text = PAGE.read_text(encoding="utf-8").partition("## Files of a delivery\n")[2]
    table = text.partition(f"**`{file}`**")[2].partition("\n\n|")[2].partition("\n\n")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [[name.strip("`"), *others] for name, *others in rows]


def type_of(name: str, columns: Columns) -> str:
    if name in columns.ids:
        return "id"
    if name in columns.times:
        return "time"
    if name in (*columns.numbers, "propensity"):  # no table has it, so no rule reads it
        return "number"
    return "list" if name in LISTS else "path" if name == "cover" else "text"


@pytest.mark.parametrize("file", FILES)
def test_every_column_is_there_with_its_type_and_whether_it_is_required(file: str) -> None:
    columns = COLUMNS[file]
    required = {True: "yes", False: "no"}
    assert [row[:3] for row in documented(file)] == [
        [name, type_of(name, columns), required[name in columns.required]] for name in columns.names
    ]


def example(file: str) -> dict[str, str]:
    return {row[0]: row[4].strip("`").replace(r"\|", "|") for row in documented(file)}


def staged_rows(tmp_path: Path, rows: Mapping[str, Sequence[Mapping[str, str]]]) -> Delivery:
    folder = tmp_path / "delivery"
    (folder / "covers").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "covers" / "v1.jpg")
    for file, lines in rows.items():
        with (folder / f"{file}.csv").open("w", newline="") as out:
            writer = csv.DictWriter(out, [row[0] for row in documented(file)])
            writer.writeheader()
            writer.writerows(lines)
    delivered_at = datetime(2026, 4, 1, tzinfo=UTC)
    limits = IngestSettings(max_rejected_share=1)
    return stage(Source("folder", folder), tmp_path / "into", limits, delivered_at=delivered_at)


def test_the_examples_make_a_delivery_without_a_refused_row(tmp_path: Path) -> None:
    delivery = staged_rows(tmp_path, {file: [example(file)] for file in FILES})
    assert [(f.rows, f.accepted, f.refused, dict(f.warnings)) for f in delivery.files] == [
        (1, 1, {}, {})
    ] * 3

    def staged(name: str) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = pq.read_table(delivery.staged[name]).to_pylist()
        return rows

    assert [v["title"] for v in staged(VIDEO_CATALOG.name)] == ["Slow piano for rain"] * 2
    assert {t["tag"] for t in staged(VIDEO_TAGS.name)} == {"piano", "rain", "relaxing"}
    (shown,), (click,) = staged(IMPRESSIONS.name), staged(CLICKS.name)
    assert (shown["event_id"], shown["request_id"], shown["position"]) == ("e1", "r1", 3)
    assert (click["watch_seconds"], click["event_timestamp"]) == (
        12.5,
        datetime(2026, 1, 3, 10, 0, 4, tzinfo=UTC),
    )


def test_an_empty_value_refuses_a_row_unless_the_page_says_it_may_be(tmp_path: Path) -> None:
    """Each file has the example, then a row for each required column, in which that is empty."""
    rows, expected = {}, set()
    for file in FILES:
        rows[file] = [example(file)]
        for name, _, required, rule, _ in documented(file):
            if required == "yes":
                number = len(rows[file]) + 1
                key = {k: f"{example(file)[k]}-{number}" for k in KEYS[file]}
                rows[file].append(example(file) | key | {name: ""})
                if "may be empty" not in rule and "left out" not in rule:
                    expected.add((f"{file}.csv", number))
    staged = staged_rows(tmp_path, rows).staged
    rejected = [
        row for t in INPUTS for row in pq.read_table(staged[f"{t.name}_rejected"]).to_pylist()
    ]
    assert {(row["file"], row["row"]) for row in rejected} == expected
