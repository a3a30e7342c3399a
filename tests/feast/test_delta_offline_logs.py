"""Logs of served features: what is refused, a service that grows, and where logs lie."""

import pyarrow as pa
import pytest
from delta_shop import append, day, income_view, incomes, shop
from deltalake import DeltaTable
from feast import FeatureService
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.bigquery_source import BigQueryLoggingDestination
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.types import UnixTimestamp

from vidtopics.errors import TableError
from vidtopics.stores.delta import DeltaLoggingDestination

DESTINATIONS = {"delta": DeltaLoggingDestination, "files": FileLoggingDestination}
BOTH_KINDS = pytest.mark.parametrize("kind", DESTINATIONS)


def served(store, *features, destination):
    """A service of these views that logs to a destination, as the registry gives it back."""
    config = LoggingConfig(destination=destination)
    store.apply([FeatureService(name="logged", features=list(features), logging_config=config)])
    return store.get_feature_service("logged")


def logs(*rows, views=("incomes",)):
    """Served rows (user, income, day), every view with the same income."""
    users, values, numbers = zip(*rows, strict=True)
    times = pa.array([day(n) for n in numbers], pa.timestamp("us", "UTC"))
    columns = {"user_id": pa.array(users, pa.string())}
    for view in views:
        columns |= {
            f"{view}__income": pa.array(values, pa.int64()),
            f"{view}__income__timestamp": times,
            f"{view}__income__status": pa.array([2] * len(rows), pa.int32()),
        }
    dates = times.cast(pa.date32())
    requests = pa.array([f"r{n}" for n in numbers])
    return pa.table(
        columns | {"__log_timestamp": times, "__log_date": dates, "__request_id": requests}
    )


def read(store, service, until=9):
    job = store._get_provider().retrieve_feature_service_logs(
        service, day(0), day(until), store.config, store.registry
    )
    return job.to_arrow().sort_by("__log_timestamp")


@pytest.fixture
def store(tmp_path):
    append(tmp_path, incomes(("a", 1, 1, 1)))
    append(tmp_path, incomes(("a", 1, 1, 1)), "debts")
    return shop(tmp_path, income_view(), income_view("debts"))


@BOTH_KINDS
def test_a_relative_path_lies_below_the_root(store, tmp_path, kind):
    service = served(
        store, store.get_feature_view("incomes"), destination=DESTINATIONS[kind](path="logs/one")
    )
    store.write_logged_features(logs(("a", 1, 1)), service)
    assert list((tmp_path / "logs" / "one").glob("*.parquet"))
    assert read(store, service)["incomes__income"].to_pylist() == [1]


@BOTH_KINDS
def test_a_service_that_grew_reads_null_in_older_logs(store, kind):
    destination = DESTINATIONS[kind](path="logs")
    views = [store.get_feature_view(name) for name in ("incomes", "debts")]
    service = served(store, views[0], destination=destination)
    store.write_logged_features(logs(("a", 1, 1)), service)
    service = served(store, *views, destination=destination)
    store.write_logged_features(logs(("a", 2, 3), views=("incomes", "debts")), service)
    rows = read(store, service)
    assert rows["incomes__income"].to_pylist() == [1, 2]
    assert rows["debts__income"].to_pylist() == [None, 2]
    assert rows["debts__income__timestamp"].to_pylist() == [None, day(3)]


@BOTH_KINDS
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop_columns(["__request_id"]), "expected the columns .*__request_id"),
        (lambda rows: rows.append_column("extra", rows["user_id"]), "found .*extra"),
        (
            lambda rows: rows.set_column(1, "incomes__income", pa.array(["much"])),
            "column incomes__income: expected values that are int64",
        ),
    ],
    ids=["a column missing", "a column too many", "another type"],
)
def test_logs_that_do_not_fit_the_service_are_refused(store, tmp_path, kind, change, message):
    service = served(
        store, store.get_feature_view("incomes"), destination=DESTINATIONS[kind](path="logs")
    )
    with pytest.raises(TableError, match=message):
        store.write_logged_features(change(logs(("a", 1, 1))), service)
    assert not (tmp_path / "logs").exists()


@BOTH_KINDS
def test_reading_before_the_first_log_is_a_clear_error(store, kind):
    service = served(
        store, store.get_feature_view("incomes"), destination=DESTINATIONS[kind](path="logs")
    )
    with pytest.raises(TableError, match=r"logs: expected a (Delta table|folder of Parquet files)"):
        read(store, service)


@BOTH_KINDS
def test_a_table_of_something_else_takes_no_logs(store, tmp_path, kind):
    service = served(
        store, store.get_feature_view("incomes"), destination=DESTINATIONS[kind](path="incomes")
    )
    files = sorted(path.name for path in (tmp_path / "incomes").iterdir())
    with pytest.raises(TableError, match="expected a folder of their own"):
        store.write_logged_features(logs(("a", 1, 1)), service)
    assert sorted(path.name for path in (tmp_path / "incomes").iterdir()) == files
    assert DeltaTable(tmp_path / "incomes").version() == 0


def test_another_kind_of_destination_is_refused(store):
    service = served(
        store,
        store.get_feature_view("incomes"),
        destination=BigQueryLoggingDestination(table_ref="logs"),
    )
    with pytest.raises(TableError, match="found BigQueryLoggingDestination"):
        store.write_logged_features(logs(("a", 1, 1)), service)


@pytest.mark.parametrize("partitions", [["country"], ["user_id"], ["__log_date", "user_id"]])
def test_files_may_be_divided_by_date_alone(store, tmp_path, partitions):
    """The folder `user_id=01` wouldn't say whether the id is the text 01 or the number 1."""
    destination = FileLoggingDestination(path="logs", partition_by=partitions)
    service = served(store, store.get_feature_view("incomes"), destination=destination)
    with pytest.raises(TableError, match=f"expected __log_date alone.* found {partitions[0]}"):
        store.write_logged_features(logs(("a", 1, 1)), service)
    assert not (tmp_path / "logs").exists()


def test_files_divided_by_date_come_back_whole(store, tmp_path):
    destination = FileLoggingDestination(path="logs", partition_by=["__log_date"])
    service = served(store, store.get_feature_view("incomes"), destination=destination)
    rows = logs(("a", 1, 1), ("b", 2, 2))
    store.write_logged_features(rows, service)
    assert [path.name for path in sorted((tmp_path / "logs").iterdir())] == [
        "__log_date=2026-01-02",
        "__log_date=2026-01-03",
    ]
    result = read(store, service)
    assert result.select(rows.column_names).to_pylist() == rows.to_pylist()


def test_a_write_is_one_commit_and_one_file(store, tmp_path):
    service = served(
        store,
        store.get_feature_view("incomes"),
        destination=DeltaLoggingDestination(path="logs"),
    )
    for number in range(3):
        store.write_logged_features(logs(("a", number, number)), service)
    delta = DeltaTable(tmp_path / "logs")
    assert (delta.version(), len(delta.file_uris())) == (2, 3)


def test_times_of_a_feature_are_logged_in_utc(tmp_path):
    """Feast's log schema has seconds without a zone there, which Delta hasn't."""
    rows = incomes(("a", 1, 1, 1)).set_column(
        1, "income", pa.array([day(1)], pa.timestamp("us", "UTC"))
    )
    append(tmp_path, rows)
    store = shop(tmp_path, income_view(dtype=UnixTimestamp))
    service = served(
        store,
        store.get_feature_view("incomes"),
        destination=DeltaLoggingDestination(path="logs"),
    )
    times = pa.array([day(1)], pa.timestamp("s", "UTC")).cast(pa.timestamp("s"))
    store.write_logged_features(logs(("a", 1, 1)).set_column(1, "incomes__income", times), service)
    assert read(store, service)["incomes__income"].to_pylist() == [day(1)]
