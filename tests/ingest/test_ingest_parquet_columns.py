"""Parquet columns of any type: ids that were floats or decimals, other types, names in any case."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_delivery import IMPRESSIONS, NOW, VIDEOS

from vidtopics.errors import InputError
from vidtopics.ingest import Source, stage
from vidtopics.ingest.text_columns import as_text, inexact_ids
from vidtopics.settings import IngestSettings

LOG = IMPRESSIONS.strip().split(",")


def log_of(ids: pa.Array, column: str = "user_id", **columns: pa.Array) -> pa.Table:
    """A log of one impression for each of `ids`, a minute apart."""
    times = pa.array([f"2026-02-01T10:{minute:02}:00Z" for minute in range(len(ids))])
    plain = {"user_id": "u1", "video_id": "v1", "clicked": "1"}
    values = {name: pa.array([value] * len(ids)) for name, value in plain.items()}
    return pa.table({**values, "event_timestamp": times, column: ids, **columns})


@pytest.mark.parametrize("column", ["user_id", "request_id", "event_id"])
@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        (
            pa.array([1e15, 1234567890123456.0, 2.0**53 - 1, -7.0], pa.float64()),
            ["1000000000000000", "1234567890123456", "9007199254740991", "-7"],
        ),
        (pa.array([2.0**24 - 1, 1.0], pa.float32()), ["16777215", "1"]),
        (pa.array([2047, 8]).cast(pa.float16()), ["2047", "8"]),
        (
            pa.array([Decimal("12345678901234567890.00"), Decimal("3.00")]),
            ["12345678901234567890", "3"],
        ),
        (pa.array([1e15, 2.0]).dictionary_encode(), ["1000000000000000", "2"]),
        (
            pa.array([2**63, 2**64 - 1], pa.uint64()),
            ["9223372036854775808", "18446744073709551615"],
        ),
        (pa.array([uuid.UUID(int=5).bytes], pa.uuid()), ["00000000-0000-0000-0000-000000000005"]),
        (pa.array(["007", "1.0"], pa.string_view()), ["007", "1.0"]),
    ],
)
def test_whole_numbers_of_any_type_become_ids_as_written(deliver, column, ids, texts):
    staged = deliver(impressions=log_of(ids, column))
    assert [row[column] for row in staged.tables["impressions"]] == texts


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (pa.array([2.0**53, 1.0]), "below 2^53 in a column of float64, found 9007199254740992"),
        (pa.array([1e300, 1.0]), "below 2^53 in a column of float64, found 1000000000"),
        (pa.array([0.5, 1.0]), "below 2^53 in a column of float64, found 0.5"),
        (pa.array([float("inf"), 1.0]), "below 2^53 in a column of float64, found inf"),
        (
            pa.array([2.0**24, 1.0], pa.float32()),
            "below 2^24 in a column of float32, found 16777216",
        ),
        (pa.array([Decimal("1.50"), Decimal(1)]), "in a column of decimal128(3, 2), found 1.50"),
    ],
)
def test_ids_that_lost_digits_are_refused_by_row_and_value(deliver, ids, words):
    staged = deliver(impressions=log_of(ids, "user_id"))
    (row,) = staged.tables["impressions_rejected"]
    assert (row["row"], row["reason"]) == (1, "inexact_id")
    assert row["detail"].startswith("expected user_id as a whole number")
    assert words in row["detail"]
    assert row["detail"].endswith(": write the column as text or integers")
    assert [row["user_id"] for row in staged.tables["impressions"]] == ["1"]


def test_a_delivery_with_too_many_inexact_ids_stops_and_names_them(deliver):
    folder = deliver.folder(impressions=log_of(pa.array([2.0**60])))
    (folder / "impressions.csv").unlink(missing_ok=True)
    with pytest.raises(
        InputError, match=r"inexact_id 1: row 1: expected user_id .* 1152921504606846976"
    ):
        stage(Source("folder", folder), deliver.root / "into", IngestSettings(), delivered_at=NOW)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_floats_are_empty_ids(deliver, missing):
    ids = pa.array([1.0, missing], from_pandas=False)
    assert deliver(impressions=log_of(ids)).rejected("impressions") == [(2, "empty_id")]
    staged = deliver(impressions=log_of(ids, "request_id"))
    assert [row["request_id"] for row in staged.tables["impressions"]] == ["1", None]


@pytest.mark.parametrize("column", ["position", "clicked_at", "created_timestamp"])
def test_nan_in_a_column_of_numbers_is_a_missing_value(deliver, column):
    """As pandas holds them; a time is in Unix seconds."""
    values = pa.array([1770000000.0, float("nan")], from_pandas=False)
    staged = deliver(impressions=log_of(values, column, clicked=pa.array([1, 0])))
    assert staged.tables["impressions_rejected"] == staged.tables["clicks_rejected"] == []
    assert len(staged.tables["impressions"]) == 2


def test_float_ids_of_both_files_meet(deliver):
    videos = pa.table(
        {
            **{name: [""] for name in VIDEOS.strip().split(",")},
            "video_id": [1e15],
            "title": [1984.0],
            "tags": pa.array([None], pa.float64()),
        }
    )
    staged = deliver(videos=videos, impressions=log_of(pa.array([10**15]), "video_id"))
    (row,) = staged.tables["video_catalog"]
    assert (row["video_id"], row["title"]) == ("1000000000000000", "1984")
    assert [row["video_id"] for row in staged.tables["impressions"]] == ["1000000000000000"]


@pytest.mark.parametrize(
    "kind", [pa.bool_(), pa.float32(), pa.int8(), pa.decimal128(21, 2), pa.string()]
)
def test_clicked_of_any_type(deliver, kind):
    clicked = pa.array([1, 0]).cast(kind)
    staged = deliver(impressions=log_of(pa.array(["u1", "u2"]), clicked=clicked))
    assert len(staged.tables["impressions"]) == 2
    assert len(staged.tables["clicks"]) == 1


def test_position_and_watch_seconds_of_decimal_and_float(deliver):
    staged = deliver(
        impressions=log_of(
            pa.array(["u1"]),
            position=pa.array([3.0]),
            watch_seconds=pa.array([Decimal("1.50")]),
            clicked_at=pa.array([1800000000.0 - 30009600]),
        )
    )
    assert staged.tables["impressions"][0]["position"] == 3
    assert staged.tables["clicks"][0]["watch_seconds"] == 1.5


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(-(2**70), 2**70).map(float))))
def test_float_ids_are_those_integers_that_have_a_float_alone(values):
    def id_of(value: float | None) -> str | None:
        """The id; None where another integer, or no integer, may have been meant."""
        if value is None or value != value:
            return ""
        alone = value not in (float("inf"), float("-inf")) and value == int(value)
        return str(int(value)) if alone and abs(value) < 2**53 else None

    column = pa.array(values, pa.float64(), from_pandas=False)
    texts = as_text(column, nan_is_missing=True).to_pylist()
    inexact = inexact_ids(column)
    assert [None if bad else text.decode() for text, bad in zip(texts, inexact, strict=True)] == [
        id_of(value) for value in values
    ]


def test_column_names_in_any_case_and_with_space(deliver):
    table = pa.table(
        {"USER_ID": ["u1"], " Video_Id ": ["v1"], "Event_Timestamp": ["2026-02-01"], "clicked": [0]}
    )
    staged = deliver(impressions=table)
    assert [row["user_id"] for row in staged.tables["impressions"]] == ["u1"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            pa.table({**{name: ["1"] for name in LOG}, "CLICKED": ["0"]}),
            "expected one column 'clicked'",
        ),
        (
            log_of(pa.array([{"a": 1}])),
            "impressions.parquet, user_id: expected text, number or time, found struct",
        ),
    ],
)
def test_columns_without_one_meaning_are_named(deliver, table, message):
    folder = deliver.folder(impressions=table)
    with pytest.raises(InputError, match=message):
        deliver.stage(folder)


def test_csv_under_the_name_of_parquet_is_named(deliver):
    folder = deliver.folder()
    (folder / "videos.csv").rename(folder / "videos.parquet")
    with pytest.raises(InputError, match=r"videos\.parquet: expected a Parquet file, found"):
        deliver.stage(folder)
    (folder / "videos.parquet").write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(InputError, match=r"found a gzip archive\. Mend: unpack it"):
        deliver.stage(folder)


def test_ids_in_csv_stay_byte_by_byte(deliver):
    staged = deliver(videos=VIDEOS + "1.0,A,,,,,\n1,B,,,,,\n01,C,,,,,\n", impressions=IMPRESSIONS)
    assert {row["video_id"] for row in staged.tables["video_catalog"]} == {"1.0", "1", "01"}
