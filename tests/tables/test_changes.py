"""Publishing changes: rows with times of their own that name some entities."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from worlds import at, catalog, rows_of

from vidtopics.contracts import VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.errors import ContractError, OutdatedError
from vidtopics.tables import Tables
from vidtopics.tables.schemas import arrow_schema


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)


def tags(*rows: tuple[str, int, int, str | None]) -> pa.Table:
    """(tag, event, created, source) of a video; a tag without source has ended."""
    names = ("tag", "event_timestamp", "created_timestamp", "source")
    values = [
        {"video_id": "v", "spelling": row[3] and row[0]} | dict(zip(names, row, strict=True))
        for row in rows
    ]
    columns = VIDEO_TAGS.timed_columns
    return pa.Table.from_pylist(values, arrow_schema(VIDEO_TAGS, columns))


def sources(tables: Tables, time: int, known_by: int = 2**60) -> dict[str, str]:
    rows = tables.as_of(VIDEO_TAGS, time, known_by, columns=["tag", "source"]).to_pylist()
    return {row["tag"]: row["source"] for row in rows}


def test_changes_end_an_entity_and_let_it_come_back(tables: Tables) -> None:
    rows = tags(("a", 1, 1, "tags"), ("b", 1, 1, "tags"), ("a", 5, 5, None), ("a", 9, 9, "tags"))
    assert tables.publish(VIDEO_TAGS, rows, at(20), changes=True).rows == 4
    assert [sources(tables, time) for time in (4, 5, 9)] == [
        {"a": "tags", "b": "tags"},
        {"b": "tags"},
        {"a": "tags", "b": "tags"},
    ]
    assert tables.publish(VIDEO_TAGS, tags(("c", 30, 30, None)), at(30), changes=True).rows == 0


def test_a_correction_of_the_past_is_known_from_its_created_time_on(tables: Tables) -> None:
    tables.publish(
        VIDEO_CATALOG, catalog(("v", "one", 1, 1), ("v", "two", 20, 20)), at(20), changes=True
    )
    tables.publish(VIDEO_CATALOG, catalog(("v", "three", 10, 30)), at(30), changes=True)
    assert rows_of(tables, VIDEO_CATALOG, "title") == [
        ("v", 1, 1, "one"),
        ("v", 10, 30, "three"),
        ("v", 20, 20, "two"),
    ]
    with pytest.raises(ContractError, match="holds or is known after the entity's last row"):
        tables.publish(VIDEO_CATALOG, catalog(("v", "four", 5, 6)), at(31), changes=True)


def test_rows_that_were_made_from_another_version_are_not_written(tables: Tables) -> None:
    version = tables.version(VIDEO_CATALOG)
    rows = catalog(("v", "one", 1, 1))
    tables.publish(VIDEO_CATALOG, rows, at(9), changes=True, judged_at=version)
    with pytest.raises(OutdatedError, match="expected version 0, which the rows were made from"):
        tables.publish(VIDEO_CATALOG, rows, at(10), changes=True, judged_at=version)
    assert tables.version(VIDEO_CATALOG) == 1
