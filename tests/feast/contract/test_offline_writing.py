"""Rows, results and logs that Feast writes to an offline store and reads back, on every pair."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureService, Field, OnDemandFeatureView, PushSource
from feast.data_format import DeltaFormat
from feast.data_source import PushMode
from feast.dqm.errors import ValidationFailed
from feast.dqm.profilers.profiler import Profile, Profiler, ValidationError, ValidationReport
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import Float64
from feast_pairs import by_key, day, days, incomes, spine

from vidtopics.stores.delta import DeltaLoggingDestination

INCOMES = incomes(("a", 1, 1), ("a", 2, 3), ("b", 7, 2))
LATER = pd.DataFrame(
    {
        "user_id": ["a", "c"],
        "income": [5, 6],
        "event_timestamp": pd.to_datetime([day(4), day(4)], utc=True),
        "created_timestamp": pd.to_datetime([day(4), day(4)], utc=True),
    }
)


def history(project, frame, features=("incomes:income",), **options):
    return project.store.get_historical_features(frame, list(features), **options)


# --- rows ----------------------------------------------------------------------------------------


def test_written_rows_are_read(project):
    project.view("incomes", INCOMES)
    project.store.write_to_offline_store("incomes", LATER)
    assert by_key(history(project, spine(("a", 3), ("a", 5), ("c", 5))), "income") == [2, 5, 6]


def test_columns_may_be_reordered_on_writing(project):
    project.view("incomes", INCOMES)
    reordered = LATER[["created_timestamp", "income", "event_timestamp", "user_id"]]
    project.store.write_to_offline_store("incomes", reordered, reorder_columns=True)
    assert by_key(history(project, spine(("a", 5))), "income") == [5]


@pytest.mark.parametrize("column", ["income", "user_id", "event_timestamp"])
def test_rows_that_lack_a_column_are_refused(project, column):
    project.view("incomes", INCOMES)
    with pytest.raises(Exception, match=column):
        project.store.write_to_offline_store("incomes", LATER.drop(columns=column))
    assert by_key(history(project, spine(("a", 5))), "income") == [2]


def test_rows_pushed_offline_are_read(project):
    view = project.view("incomes", INCOMES, apply=False)
    push = PushSource(name="income_push", batch_source=view.batch_source)
    project.apply_with_source(view, push)
    project.store.push("income_push", LATER, to=PushMode.OFFLINE)
    assert by_key(history(project, spine(("a", 3), ("a", 5), ("c", 5))), "income") == [2, 5, 6]


def test_rows_pushed_to_both_stores_are_in_both(project):
    view = project.view("incomes", INCOMES, apply=False)
    push = PushSource(name="income_push", batch_source=view.batch_source)
    project.apply_with_source(view, push)
    project.store.push("income_push", LATER, to=PushMode.ONLINE_AND_OFFLINE)
    online = project.store.get_online_features(["incomes:income"], [{"user_id": "c"}]).to_dict()
    assert online["income"] == [6]
    assert by_key(history(project, spine(("c", 5))), "income") == [6]


# --- saved datasets ------------------------------------------------------------------------------


def doubled(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"doubled": frame["income"] * 2.0})


def saved_to(project, name):
    """Where a result of the pair's offline store is saved: its own kind of file."""
    if project.pair.offline == "delta":
        return SavedDatasetFileStorage(str(project.folder / name), file_format=DeltaFormat())
    return SavedDatasetFileStorage(str(project.folder / f"{name}.parquet"))


def save(project, name="training", frame=None, features=("incomes:income",), **options):
    frame = spine(("a", 2), ("b", 3), ("a", 4), ("c", 4)) if frame is None else frame
    job = history(project, frame, features, **options)
    return project.store.create_saved_dataset(from_=job, name=name, storage=saved_to(project, name))


@pytest.mark.parametrize("full_names", [False, True])
def test_a_saved_dataset_is_read_again(project, full_names):
    project.view("incomes", INCOMES)
    save(project, full_feature_names=full_names)
    result = project.store.get_saved_dataset("training").to_df()
    feature = "incomes__income" if full_names else "income"
    rows = result.sort_values(["user_id", "event_timestamp"])
    assert rows["user_id"].tolist() == ["a", "a", "b", "c"]
    assert rows[feature].astype("Int64").tolist() == [1, 2, 7, pd.NA]


def test_a_saved_dataset_of_a_view_without_entities_is_read_again(project):
    rates = incomes(("", 5, 1), ("", 6, 3)).drop_columns(["user_id"])
    project.view("rates", rates, entities=())
    frame = spine(("a", 2), ("a", 4)).drop(columns="user_id")
    save(project, frame=frame, features=["rates:income"])
    assert sorted(project.store.get_saved_dataset("training").to_df()["income"]) == [5, 6]


def test_a_saved_dataset_has_its_on_demand_features(project):
    view = project.view("incomes", INCOMES)
    on_demand = OnDemandFeatureView(
        name="doubles",
        sources=[view],
        schema=[Field(name="doubled", dtype=Float64)],
        mode="pandas",
        feature_transformation=PandasTransformation(doubled, "doubled"),
    )
    project.store.apply([on_demand])
    save(project, frame=spine(("a", 2), ("b", 3)), features=["doubles:doubled"])
    assert sorted(project.store.get_saved_dataset("training").to_df()["doubled"]) == [2.0, 14.0]


def test_a_saved_dataset_is_not_overwritten(project):
    project.view("incomes", INCOMES)
    save(project)
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        save(project, frame=spine(("b", 3)))
    assert len(project.store.get_saved_dataset("training").to_df()) == 4


class Range(Profile, ValidationReport):
    """All incomes lie between the least and the most of a reference, as a validation profile."""

    def __init__(self, least, most, errors=()):
        self.least, self.most, self.errors = least, most, list(errors)

    @property
    def is_success(self):
        return not self.errors

    @property
    def errors(self):
        return self._errors

    @errors.setter
    def errors(self, errors):
        self._errors = errors

    def validate(self, dataset):
        column = dataset.filter(regex="income$").iloc[:, 0].dropna()
        errors = [] if column.between(self.least, self.most).all() else ["outside"]
        return Range(self.least, self.most, [ValidationError(e, "income") for e in errors])

    def to_proto(self):
        raise NotImplementedError

    @classmethod
    def from_proto(cls, proto):
        raise NotImplementedError


class RangeProfiler(Profiler):
    def analyze_dataset(self, dataset):
        return Range(dataset["income"].min(), dataset["income"].max())

    def to_proto(self):
        raise NotImplementedError

    @classmethod
    def from_proto(cls, proto):
        raise NotImplementedError


def reference(project, name="training"):
    return project.store.get_saved_dataset(name).as_reference("range", RangeProfiler())


def test_a_result_is_validated_against_a_saved_dataset(project):
    project.view("incomes", INCOMES)
    save(project, frame=spine(("a", 2), ("a", 4)))  # incomes 1 and 2
    history(project, spine(("a", 3))).to_df(validation_reference=reference(project))
    with pytest.raises(ValidationFailed):
        history(project, spine(("b", 3))).to_df(validation_reference=reference(project))


# --- logs ----------------------------------------------------------------------------------------


def service(project, destination, features=None):
    view = features or project.view("incomes", INCOMES)
    logged = FeatureService(
        name="logged", features=[view], logging_config=LoggingConfig(destination=destination)
    )
    project.store.apply([logged])
    return project.store.get_feature_service("logged")


def logs(*rows):
    """Served rows (user, income, day)."""
    users, values, numbers = zip(*rows, strict=True)
    times = days(*numbers)
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "incomes__income": pa.array(values, pa.int64()),
            "incomes__income__timestamp": times.cast(pa.timestamp("s", "UTC")),
            "incomes__income__status": pa.array([2] * len(rows), pa.int32()),
            "__log_timestamp": times,
            "__log_date": times.cast(pa.timestamp("us", "UTC")).cast(pa.date32()),
            "__request_id": pa.array([f"r{i}" for i in range(len(rows))]),
        }
    )


def read_logs(project, logged, start, end):
    job = project.store._get_provider().retrieve_feature_service_logs(
        feature_service=logged,
        start_date=day(start),
        end_date=day(end),
        config=project.store.config,
        registry=project.store.registry,
    )
    return job.to_df().sort_values("__log_timestamp")


def destination(project, kind):
    path = str(project.folder / "logs")
    Path(path).mkdir(exist_ok=True)  # Feast's DuckDB store makes no folder
    if kind == "delta":
        return DeltaLoggingDestination(path=path)
    return FileLoggingDestination(
        path=path, partition_by=["__log_date"] if kind == "dated files" else None
    )


KINDS = pytest.mark.parametrize("kind", ["files", "dated files", "delta"])


def write_logs_twice(project, logged):
    """Once as a table, once as a folder of Parquet files, as Feast's servers hand them over."""
    project.store.write_logged_features(logs(("a", 1, 1), ("b", 7, 2)), logged)
    buffer = project.folder / "memory_buffer"
    buffer.mkdir()
    pq.write_table(logs(("a", 2, 3), ("c", None, 5)), buffer / "part.parquet")
    project.store.write_logged_features(buffer, logged)


@KINDS
def test_written_logs_are_read_by_time(project, kind):
    logged = service(project, destination(project, kind))
    write_logs_twice(project, logged)
    result = read_logs(project, logged, 2, 5)
    assert result["user_id"].tolist() == ["b", "a", "c"]
    assert result["incomes__income"].astype("Int64").tolist() == [7, 2, pd.NA]
    assert pd.to_datetime(result["__log_timestamp"], utc=True).tolist() == [day(2), day(3), day(5)]
    assert result["incomes__income__status"].tolist() == [2, 2, 2]


@KINDS
def test_logs_keep_their_dates(project, kind):
    logged = service(project, destination(project, kind))
    write_logs_twice(project, logged)
    dates = read_logs(project, logged, 2, 5)["__log_date"]
    assert dates.astype(str).tolist() == ["2026-01-03", "2026-01-04", "2026-01-06"]


@KINDS
def test_logs_are_validated_against_a_saved_dataset(project, kind):
    logged = service(project, destination(project, kind))
    save(project, frame=spine(("a", 2), ("a", 4)))  # incomes 1 and 2
    project.store.write_logged_features(logs(("a", 1, 1), ("a", 2, 2), ("b", 7, 5)), logged)
    validate = project.store.validate_logged_features
    options = {"reference": reference(project), "cache_profile": False}
    assert validate(logged, start=day(0), end=day(3), **options) is None
    with pytest.raises(ValidationFailed):
        validate(logged, start=day(0), end=day(6), **options)
    assert validate(logged, start=day(0), end=day(6), throw_exception=False, **options)
