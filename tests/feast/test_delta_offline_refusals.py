"""Spines that would be guessed at: refused by name, or read for what they say."""

import os
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from delta_shop import KEPT, TIMES, USER, append, day, income_view, incomes, shop, spine, values
from deltalake import DeltaTable, write_deltalake
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.types import Int64

from vidtopics.errors import TableError
from vidtopics.stores.delta import pinned
from vidtopics.stores.delta.rows import fitted

ROWS = incomes(("a", 1, 1, 1), ("a", 2, 5, 5), ("b", 3, 2, 4))
UTC_US = pa.timestamp("us", "UTC")


@pytest.fixture
def store(tmp_path):
    append(tmp_path, ROWS)
    return shop(tmp_path)


def job(store, frame, **options):
    return store.get_historical_features(frame, ["incomes:income"], **options)


# --- times --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "found"),
    [
        (
            [1_767_571_200, 1_767_571_201],
            "integer",
        ),  # day 4 in seconds: as nanoseconds, as pandas takes them, it is in 1970
        ([1_767_571_200.5, None], "floating"),
        (pd.array([1_767_571_200, None], "Int64"), "integer"),
        (pd.Categorical([1, 2]), "integer"),
        ([True, False], "boolean"),
        (["2026-01-05", 1_767_571_200], "mixed-integer"),
        (["2026-01-05", "yesterday"], "yesterday"),
        (["05/01/2026", "06/01/2026"], "05/01/2026"),
    ],
)
def test_times_that_are_no_times_are_refused_by_name(store, times, found):
    frame = pd.DataFrame({"user_id": ["a", "a"], "event_timestamp": times})
    with pytest.raises(
        TableError, match=rf"entity_df, column event_timestamp: expected timestamps, .*{found}"
    ):
        job(store, frame)


@pytest.mark.parametrize("time", ["'infinity'::TIMESTAMPTZ", "'-infinity'::TIMESTAMP"])
def test_an_infinite_time_is_refused(store, time):
    with pytest.raises(
        TableError, match="entity_df, column event_timestamp: expected moments, found infinity"
    ):
        job(store, f"SELECT user_id, {time} AS event_timestamp FROM incomes").to_arrow()


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ([1, "x"], "Could not convert 'x' .*column n "),
        ([1j, 2j], "Unsupported numpy type.*column n "),
    ],
)
def test_a_column_that_arrow_has_no_type_for_is_named(store, column, found):
    with pytest.raises(
        TableError, match=f"entity_df: expected columns of one type each, .*{found}"
    ):
        job(store, spine(("a", 9), ("b", 3)).assign(n=column))


def test_a_column_that_comes_twice_is_named(store):
    frame = spine(("a", 9), ("b", 3)).assign(x=1)
    twice = pd.concat([frame, frame[["x"]]], axis=1)
    select = "SELECT user_id, income AS x, income AS x, event_timestamp FROM incomes"
    for asked in (twice, select):
        with pytest.raises(TableError, match="entity_df: expected each column once, found x twice"):
            job(store, asked).to_arrow()


def test_times_of_any_unit_are_saved(store, tmp_path):
    frame = spine(("a", 9), ("b", 3))
    frame["event_timestamp"] = frame["event_timestamp"].astype("datetime64[s, UTC]")
    frame["n"] = pd.to_datetime(["2026-01-02", None]).astype("datetime64[s]")
    made = job(store, frame)
    made.persist(SavedDatasetFileStorage(str(tmp_path / "saved"), DeltaFormat()))
    saved = DeltaTable(tmp_path / "saved").to_pyarrow_table()
    assert saved["n"].to_pylist()[0].replace(tzinfo=None) == datetime(2026, 1, 2)
    assert saved["event_timestamp"].to_pylist() == [day(9), day(3)]


def cut_short(file):
    os.truncate(file, file.stat().st_size // 2)


def spoil(file):
    data = file.read_bytes()
    file.write_bytes(data[:40] + b"\xff" * 160 + data[200:])


@pytest.mark.parametrize("damage", [cut_short, spoil])
def test_a_damaged_file_is_told_with_its_table(store, tmp_path, damage):
    (file,) = (tmp_path / "incomes").glob("*.parquet")
    damage(file)
    calls = {
        "view incomes": lambda: job(store, spine(("a", 9))).to_arrow(),
        "entity_df, table incomes": lambda: job(
            store, "SELECT user_id, event_timestamp FROM incomes"
        ).to_arrow(),
    }
    for where, call in calls.items():
        with pytest.raises(
            TableError, match=f"^{where}, .*/incomes: .*Mend: restore the damaged file"
        ):
            call()


@pytest.mark.parametrize("column", [[timedelta(1), None], np.array([1, 2], np.float16)])
def test_a_column_that_delta_has_no_type_for_is_named_before_anything_is_written(
    store, tmp_path, column
):
    made = job(store, spine(("a", 9), ("b", 3)).assign(n=column))
    storage = SavedDatasetFileStorage(str(tmp_path / "saved"), DeltaFormat())
    with pytest.raises(
        TableError,
        match=r"saved dataset .*, column n: expected a type that Delta has, found (dur|half)",
    ):
        made.persist(storage)
    assert not (tmp_path / "saved").exists()


def test_texts_of_differing_looks_and_nothing_at_all(store):
    """Pandas without a format takes the first text's for all: the second one would be refused."""
    texts = ["2026-01-06", "2026-01-06T01:00:00.5+02:00", "2026-01-05 23:00:00.000001Z", None]
    joined = job(store, pd.DataFrame({"user_id": ["a"] * 4, "event_timestamp": texts})).to_arrow()
    assert joined["income"].to_pylist() == [2, 1, 1, None]
    nothing = pd.DataFrame({"user_id": ["a"], "event_timestamp": [np.nan]})
    assert values(job(store, nothing)) == [None]
    assert len(job(store, pd.DataFrame({"user_id": [], "event_timestamp": []})).to_arrow()) == 0


# --- values of another family -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([day(1)], UTC_US), pa.int64()),
        (pa.array([1]), UTC_US),
        (pa.array([1]), pa.date32()),
        (pa.array([True]), pa.int64()),
        (pa.array([1]), pa.bool_()),
        (pa.array([b"1"]), pa.string()),
        (pa.array(["1"]), pa.binary()),
        (pa.array(["2026-01-01"]), UTC_US),
        (pa.array([timedelta(1)]), pa.int64()),
        (pa.array([["1"]]), pa.list_(pa.int64())),
        (pa.array([{"x": True}]), pa.struct([("x", pa.int64())])),
        (pa.array([{"x": 1, "y": 2}]), pa.struct([("x", pa.int64())])),
        (pa.array([2**53 + 1]), pa.float64()),
        (pa.array([300]), pa.int8()),
        (pa.array([datetime(2026, 1, 1, 5)]), pa.date32()),
        (pa.array(["1"]).dictionary_encode(), pa.int64()),
    ],
    ids=str,
)
def test_only_a_cast_within_a_family_that_loses_nothing(column, kind):
    with pytest.raises(TableError, match="column x: expected values that are"):
        fitted(pa.chunked_array([column]), kind, "column x")


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([1.0]), pa.int32()),
        (pa.array([3]), pa.float32()),
        (pa.array([None]), UTC_US),
        (pa.array(["x"]).dictionary_encode(), pa.large_string()),
        (pa.array([[]], pa.list_(pa.null())), pa.list_(pa.float32())),
        (pa.array([[1.0]]), pa.large_list(pa.float32())),
        (pa.array([day(1)], pa.timestamp("ns", "Europe/Berlin")), UTC_US),
        (pa.array([datetime(2026, 1, 1)], pa.date32()), pa.timestamp("us")),
    ],
    ids=str,
)
def test_another_width_unit_or_encoding_fits(column, kind):
    converted = fitted(pa.chunked_array([column]), kind, "column x")
    assert converted.type == kind
    expected_values = [
        x.timestamp() if isinstance(x, datetime) and x.tzinfo else x for x in column.to_pylist()
    ]
    converted_values = [
        x.timestamp() if isinstance(x, datetime) and x.tzinfo else x for x in converted.to_pylist()
    ]
    assert (
        converted_values == [datetime(2026, 1, 1)]
        if pa.types.is_date(column.type)
        else converted_values == expected_values
    )


# --- SQL ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..", ".", "../up", "s3:up", "..\\up"])
def test_a_select_sees_the_folders_right_below_root_alone(tmp_path, name):
    """Above `root` lies a table that would do."""
    write_deltalake(tmp_path, ROWS.select(["user_id", "event_timestamp"]), configuration=KEPT)
    append(tmp_path / "root", ROWS)
    with pytest.raises(
        TableError, match="expected one SELECT over Delta tables below `root`, found the tables"
    ):
        job(shop(tmp_path / "root"), f'SELECT user_id, event_timestamp FROM "{name}"')


def test_the_names_of_a_select_s_own_are_of_any_case(store):
    sql = (
        "WITH Late AS (SELECT user_id, event_timestamp FROM incomes WHERE income = 2) "
        "SELECT * FROM LATE"
    )
    assert values(job(store, sql)) == [2]


# --- a range of time ----------------------------------------------------------------------------


def numbers(folder, name, kind, *keys):
    write_deltalake(
        folder / name,
        pa.table(
            {
                "n": pa.array(keys, kind),
                f"{name}_x": pa.array(keys, pa.int64()),
                **{time: pa.array([day(1)] * len(keys), UTC_US) for time in TIMES.values()},
            }
        ),
    )


def test_a_range_over_keys_of_two_widths(tmp_path):
    numbers(tmp_path, "narrow", pa.int32(), 1, 2)
    numbers(tmp_path, "wide", pa.int64(), 2, 3)
    number = Entity(name="number", join_keys=["n"], value_type=ValueType.INT64)
    views = [
        FeatureView(
            name=name,
            entities=[number],
            ttl=timedelta(0),
            schema=[Field(name="n", dtype=Int64), Field(name=f"{name}_x", dtype=Int64)],
            source=FileSource(path=name, file_format=DeltaFormat(), **TIMES),
        )
        for name in ("narrow", "wide")
    ]
    retrieval = shop(tmp_path, *views, number).get_historical_features(
        None, ["narrow:narrow_x", "wide:wide_x"], start_date=day(0), end_date=day(2)
    )
    columns = retrieval.to_arrow().to_pydict()
    assert (columns["n"], columns["narrow_x"], columns["wide_x"]) == (
        [1, 2, 3],
        [1, 2, None],
        [None, 2, 3],
    )


def test_a_range_over_a_view_under_another_key(tmp_path):
    append(tmp_path, ROWS)
    view = income_view()
    store = shop(tmp_path, view)
    service = FeatureService(
        name="buyers", features=[view.with_name("buyer").with_join_key_map({"user_id": "buyer_id"})]
    )
    store.apply([USER, view, service])
    joined = (
        store.get_historical_features(None, service, start_date=day(0), end_date=day(3))
        .to_arrow()
        .to_pydict()
    )
    assert (joined["buyer_id"], joined["income"]) == (["a", "b"], [1, 3])


def test_a_shorter_range_on_a_pin_whose_version_is_gone_ends_at_its_own_end(store, tmp_path):
    first = job(store, None, start_date=day(0), end_date=day(6)).to_arrow()
    shorter = {"start_date": day(3), "end_date": day(4)}
    append(tmp_path, incomes(("new", 9, 3, 30)))
    delta = DeltaTable(tmp_path / "incomes")
    delta.optimize.compact()
    delta.vacuum(0, dry_run=False, enforce_retention_duration=False)
    with pinned(first):  # a's row of day 5 is one of the pin's, and lies after the range
        assert job(store, None, **shorter).to_arrow()["user_id"].to_pylist() == []


def test_the_zone_of_a_frame_without_one_is_utc(store):
    naive = spine(("a", 5), ("a", 4.999)).assign(
        event_timestamp=lambda f: f["event_timestamp"].dt.tz_localize(None)
    )
    joined = job(store, naive).to_arrow()
    assert joined["income"].to_pylist() == [2, 1]
    assert joined["event_timestamp"].to_pylist()[0] == datetime(2026, 1, 6, tzinfo=UTC)
