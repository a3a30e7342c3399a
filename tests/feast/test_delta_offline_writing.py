"""What the store writes: pushed rows and saved datasets; and what it refuses."""

import json

import pandas as pd
import pyarrow as pa
import pytest
from delta_shop import TIMES, append, day, income_view, incomes, shop, spine, values
from deltalake import DeltaTable, write_deltalake
from feast.data_format import DeltaFormat
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast_home import START, topics, write

from vidtopics.errors import TableError
from vidtopics.stores.delta import pinned

ROWS = incomes(("a", 1, 1, 1), ("a", 2, 5, 5), ("b", 3, 2, 4))


@pytest.fixture
def store(tmp_path):
    append(tmp_path, ROWS)
    return shop(tmp_path)


def pushed(*rows: tuple) -> pd.DataFrame:
    return incomes(*rows).to_pandas()


# --- pushed rows --------------------------------------------------------------------------------


def test_pushed_rows_are_one_commit_and_join(store, tmp_path):
    store.write_to_offline_store("incomes", pushed(("a", 7, 6, 6), ("c", 8, 6, 6)))
    delta = DeltaTable(tmp_path / "incomes")
    assert delta.version() == 1
    assert delta.history(1)[0]["operationMetrics"]["num_added_rows"] == 2
    assert values(
        store.get_historical_features(spine(("a", 9), ("c", 9), ("b", 9)), ["incomes:income"])
    ) == [7, 8, 3]


def test_pushed_rows_take_the_tables_types_and_order(tmp_path):
    append(tmp_path, ROWS.set_column(1, "income", ROWS["income"].cast(pa.int32())))
    store = shop(tmp_path)
    frame = pushed(("c", 8, 6, 6)).astype(
        dict.fromkeys(TIMES.values(), "datetime64[ns, Europe/Berlin]")
    )
    store.write_to_offline_store("incomes", frame[list(reversed(frame.columns))])
    table = DeltaTable(tmp_path / "incomes").to_pyarrow_table()
    assert table.schema.field("income").type == pa.int32()
    assert table.filter(pa.compute.field("user_id") == "c")["event_timestamp"].to_pylist() == [
        day(6)
    ]


def test_pushed_rows_go_back_to_the_tables_names(tmp_path):
    append(tmp_path, ROWS.rename_columns(["user", "n", *TIMES.values()]))
    store = shop(
        tmp_path, income_view(source={"field_mapping": {"n": "income", "user": "user_id"}})
    )
    store.write_to_offline_store(
        "incomes", pushed(("c", 8, 6, 6)).rename(columns={"income": "n", "user_id": "user"})
    )
    assert values(store.get_historical_features(spine(("c", 9), ("a", 9)), ["incomes:income"])) == [
        8,
        2,
    ]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            {"income": [2.5]},
            "column income: expected values that are int64, as in the table, found double",
        ),
        (
            {"income": ["8"]},
            "column income: expected values that are int64, as in the table, found string",
        ),
        (
            {"income": [True]},
            "column income: expected values that are int64, as in the table, found bool",
        ),
        (
            {"income": pd.to_datetime([6])},
            "column income: expected values that are int64, as in the table, found timestamp",
        ),
        (
            {"event_timestamp": [2]},
            r"column event_timestamp: expected values that are timestamp\[us, tz=UTC\], .* "
            r"found int64",
        ),
        (
            {"event_timestamp": ["2026-01-05"]},
            r"column event_timestamp: expected values that are timestamp",
        ),
        (
            {"user_id": [b"c"]},
            "column user_id: expected values that are string, as in the table, found binary",
        ),
        ({"user_id": [None]}, "expected no null in user_id, found 1"),
        (
            {"event_timestamp": pd.to_datetime([None], utc=True)},
            "expected no null in event_timestamp",
        ),
        (
            {"created_timestamp": pd.to_datetime([None], utc=True)},
            "expected no null in created_timestamp",
        ),
        ({"event_timestamp": pd.to_datetime([1], unit="ns", utc=True)}, "would lose data"),
    ],
    ids=[
        "fraction",
        "text",
        "truth",
        "time",
        "number as time",
        "text as time",
        "bytes",
        "no key",
        "no event",
        "no created",
        "nanoseconds",
    ],
)
def test_pushed_rows_that_do_not_fit_are_refused(store, tmp_path, change, found):
    with pytest.raises(TableError, match=found):
        store.write_to_offline_store("incomes", pushed(("c", 8, 6, 6)).assign(**change))
    assert DeltaTable(tmp_path / "incomes").version() == 0


def test_columns_too_many_or_too_few_are_refused(store):
    view = store.get_feature_view("incomes")
    offline = store._get_provider().offline_store
    for rows in (
        ROWS.append_column("more", pa.array([1, 2, 3])),
        ROWS.drop_columns(["created_timestamp"]),
    ):
        with pytest.raises(
            TableError, match="rows for view incomes: expected the columns user_id, income"
        ):
            offline.offline_write_batch(store.config, view, rows, None)


def test_progress_counts_the_rows(store):
    row_counts = []
    offline = store._get_provider().offline_store
    offline.offline_write_batch(
        store.config, store.get_feature_view("incomes"), ROWS, row_counts.append
    )
    assert row_counts == [3]


def test_a_table_that_a_job_publishes_takes_no_pushed_rows(tmp_path):
    write(tmp_path, "video_topics", [topics("a", 7, event=1)])
    store = shop(tmp_path, income_view("topics", feature="topic_count", path="tables/video_topics"))
    rows = DeltaTable(tmp_path / "tables" / "video_topics").to_pyarrow_table()
    offline = store._get_provider().offline_store
    with pytest.raises(TableError, match="expected rows published by the job of this table"):
        offline.offline_write_batch(store.config, store.get_feature_view("topics"), rows, None)


def test_a_table_that_only_bears_such_a_name_takes_them(tmp_path):
    write_deltalake(tmp_path / "clicks", ROWS, name="clicks")
    store = shop(tmp_path, income_view("clicks"))
    store.write_to_offline_store("clicks", pushed(("c", 8, 6, 6)))
    assert DeltaTable(tmp_path / "clicks").version() == 1


# --- saved datasets -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*experimental feature")
def test_a_saved_dataset_comes_back_as_it_was(store, tmp_path):
    frame = spine(("b", 9), ("a", 2), ("c", 9), ("a", 2), ("a", 9)).assign(label=[1, 0, 1, 0, 1])
    job = store.get_historical_features(frame, ["incomes:income"])
    made = store.create_saved_dataset(
        job, "training", SavedDatasetFileStorage("training", DeltaFormat())
    )
    append(tmp_path, incomes(("a", 100, 1, 2)))
    again = store.get_saved_dataset("training").to_df()
    assert again[["user_id", "income"]].astype(object).where(
        again[["user_id", "income"]].notna(), None
    ).to_numpy().tolist() == [
        ["b", 3],
        ["a", 1],
        ["c", None],
        ["a", 1],
        ["a", 2],
    ]
    assert again["event_timestamp"].tolist() == frame["event_timestamp"].tolist()
    pd.testing.assert_frame_equal(made.to_df(), again)
    whole = DeltaTable(tmp_path / "training").to_pyarrow_table()
    assert whole["label"].to_pylist() == [
        1,
        0,
        1,
        0,
        1,
    ]  # Feast reads keys and features; the table has the rest too


@pytest.mark.filterwarnings("ignore:.*experimental feature")
def test_a_saved_dataset_keeps_its_pins(store, tmp_path):
    job = store.get_historical_features(spine(("a", 9)), ["incomes:income"])
    store.create_saved_dataset(job, "training", SavedDatasetFileStorage("training", DeltaFormat()))
    kept = DeltaTable(tmp_path / "training").history(1)[0]["vidtopics.pins"]
    append(tmp_path, incomes(("a", 100, 8, 8)))
    with pinned(json.loads(kept)):
        assert values(store.get_historical_features(spine(("a", 9)), ["incomes:income"])) == [2]


@pytest.mark.filterwarnings("ignore:.*experimental feature")
def test_a_saved_dataset_is_overwritten_only_when_asked(store, tmp_path):
    storage = SavedDatasetFileStorage("training", DeltaFormat())
    job = store.get_historical_features(spine(("a", 9)), ["incomes:income"])
    store.create_saved_dataset(job, "training", storage)
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        store.create_saved_dataset(job, "training", storage)
    other = store.get_historical_features(
        spine(("b", 9), ("b", 1)).assign(extra=1), ["incomes:income"]
    )
    store.create_saved_dataset(other, "validation", storage, allow_overwrite=True)
    assert store.get_saved_dataset("validation").to_df()["user_id"].tolist() == ["b", "b"]
    assert "extra" in DeltaTable(tmp_path / "training").to_pyarrow_table().column_names


def test_a_dataset_that_could_not_be_read_back_is_refused(store, tmp_path):
    job = store.get_historical_features(
        spine(("a", 9)).rename(columns={"event_timestamp": "at"}), ["incomes:income"]
    )
    with pytest.raises(TableError, match="expected a column event_timestamp"):
        job.persist(SavedDatasetFileStorage("training", DeltaFormat()))
    with pytest.raises(TableError, match=r"expected FileSource\(..., file_format=DeltaFormat"):
        job.persist(SavedDatasetFileStorage("training.parquet"))
    assert not (tmp_path / "training").exists()


# --- refused by name ----------------------------------------------------------------------------


def test_what_the_store_does_not_do_is_refused_by_name(store):
    job = store.get_historical_features(spine(("a", 9)), ["incomes:income"])
    assert job.supports_remote_storage_export() is False
    with pytest.raises(TableError, match="to_sql: expected a call that this store has"):
        job.to_sql()
    with pytest.raises(TableError, match="to_remote_storage: expected a call that this store has"):
        job.to_remote_storage()


# --- what Feast materialises --------------------------------------------------------------------


def pull(store, how, keys=("user_id",), features=("income",), start=1, end=5):
    view = store.get_feature_view("incomes")
    offline = store._get_provider().offline_store
    return getattr(offline, how)(
        store.config,
        view.batch_source,
        list(keys),
        list(features),
        *TIMES.values(),
        day(start),
        day(end),
    ).to_arrow()


def test_pull_latest_and_pull_all_are_inclusive(store):
    latest = {
        r["user_id"]: r["income"]
        for r in pull(store, "pull_latest_from_table_or_query").to_pylist()
    }
    assert latest == {"a": 2, "b": 3}
    before = {
        r["user_id"]: r["income"]
        for r in pull(store, "pull_latest_from_table_or_query", end=4.999).to_pylist()
    }
    assert before == {"a": 1, "b": 3}
    assert sorted(pull(store, "pull_all_from_table_or_query")["income"].to_pylist()) == [1, 2, 3]
    assert pull(store, "pull_all_from_table_or_query", start=1.001, end=4)[
        "income"
    ].to_pylist() == [3]
    assert pull(store, "pull_latest_from_table_or_query", start=6, end=9).num_rows == 0


def test_pull_latest_takes_the_later_created_of_equal_events(tmp_path):
    append(tmp_path, incomes(("a", 1, 1, 3), ("a", 2, 1, 2)))
    assert pull(shop(tmp_path), "pull_latest_from_table_or_query")["income"].to_pylist() == [1]


def test_pull_latest_of_a_view_without_entities_has_feasts_key(store):
    latest = pull(store, "pull_latest_from_table_or_query", keys=())
    assert latest.select(["income", "__dummy_id"]).to_pylist() == [{"income": 2, "__dummy_id": ""}]


def test_times_without_a_zone_are_utc_in_a_range(store):
    view = store.get_feature_view("incomes")
    offline = store._get_provider().offline_store
    naive = [day(d).replace(tzinfo=None) for d in (1, 2)]
    retrieval = offline.pull_all_from_table_or_query(
        store.config, view.batch_source, ["user_id"], ["income"], *TIMES.values(), *naive
    )
    assert sorted(retrieval.to_arrow()["income"].to_pylist()) == [1, 3]
    assert day(0) == START
