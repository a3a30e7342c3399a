"""Arrow rows as values: what is null, of another width, or ended, in one batch."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, Column, Table
from vidtopics.errors import ContractError
from vidtopics.layout import HEADER, TOMBSTONE, KeySpace, Layout, Schema, decode, headers
from vidtopics.materialization.rows import encoded
from vidtopics.tables.schemas import arrow_schema

TABLE = Table(
    "t",
    "history",
    ("video_id",),
    engine="spark",
    doc="",
    columns=(
        Column("video_id", "string", ""),
        Column("ids", "list<int64>", "", width=2, pad=-1, wire="int8"),
        Column("vector", "list<float32>", "", width="joint_width"),
        Column("any", "list<int64>", ""),
        Column("terms", "list<string>", ""),
        Column("text", "string", ""),
        Column("n", "int64", "", pad=-1),
        Column("on", "bool", ""),
        Column("since", "timestamp", ""),
    ),
)
SCHEMA, SPACE = Schema.of(TABLE), KeySpace("p", 1, 1, Layout(4))
FULL = {
    "ids": [1, 2],
    "vector": [0.5, 0.25],
    "any": [7],
    "terms": ["x", "é"],
    "text": "t",
    "n": 3,
    "on": True,
    "since": 9,
}
NOTHING: dict[str, Any] = dict.fromkeys(FULL)


def batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    plain = [
        {"video_id": f"v{i}", EVENT_TIME: i, CREATED_TIME: 10 + i, "value_hash": 1, **row}
        for i, row in enumerate(rows)
    ]
    return pa.RecordBatch.from_pylist(plain, arrow_schema(TABLE))


def read(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Columns of rows that are all live, null as None."""
    ids, values = encoded(TABLE, SCHEMA, SPACE, batch(rows))
    assert ids == [b"v%d" % i for i in range(len(rows))]
    decoded = decode(SCHEMA, values)
    assert decoded.readable.all()
    return {
        name: [
            None if missing else v
            for missing, v in zip(decoded.null[name], map(_plain, column), strict=True)
        ]
        for name, column in decoded.columns.items()
    }


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.mark.parametrize("name", FULL)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_null_field_of_a_live_row_is_its_own_alone(name: str, place: int) -> None:
    rows = [dict(FULL), {**FULL, "ids": [3, 4], "vector": [1, 2], "n": 4}, {**FULL, "on": False}]
    rows[place][name] = None
    assert read(rows) == {field: [row[field] for row in rows] for field in FULL}


@pytest.mark.parametrize("name", FULL)
def test_a_field_that_is_null_in_every_row(name: str) -> None:
    rows = [{**FULL, name: None}] * 3
    assert read(rows) == {field: [row[field] for row in rows] for field in FULL}


def test_ended_rows_are_headers_with_their_own_times() -> None:
    ids, values = encoded(TABLE, SCHEMA, SPACE, batch([FULL, NOTHING, FULL, NOTHING]))
    assert ids == [b"v0", b"v2", b"v1", b"v3"]
    heads = headers(values)
    assert heads["mark"].tolist() == [2, 2, 2 + TOMBSTONE, 2 + TOMBSTONE]
    assert heads["event_us"].tolist() == [0, 2, 1, 3]
    assert heads["created_us"].tolist() == [10, 12, 11, 13]
    assert heads["fingerprint"].tolist() == SPACE.fingerprints(ids).tolist()
    assert [len(v) == HEADER.itemsize for v in values] == [False, False, True, True]


def test_vectors_of_two_widths_in_one_batch_keep_their_own() -> None:
    rows = [FULL, {**FULL, "vector": [1, 2, 3]}, {**FULL, "vector": None}]
    _, values = encoded(TABLE, SCHEMA, SPACE, batch(rows))
    assert [decode(SCHEMA, [v]).columns["vector"].tolist() for v in values] == [
        [[0.5, 0.25]],
        [[1, 2, 3]],
        [[]],
    ]


@pytest.mark.parametrize(
    ("wrong", "shape"), [([1], "rows of several widths"), ([1, 2, 3], "rows of several widths")]
)
def test_slots_of_another_width_are_refused(wrong: list[int], shape: str) -> None:
    with pytest.raises(ContractError, match=rf"ids: expected the shape \(2, 2\), found {shape}"):
        read([FULL, {**FULL, "ids": wrong}])
    with pytest.raises(
        ContractError, match=rf"ids: expected the shape \(1, 2\), found \(1, {len(wrong)}\)"
    ):
        read([{**FULL, "ids": wrong}])
