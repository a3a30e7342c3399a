"""Defects of Feast 0.67's online stores, its DuckDB store and its materialisation.

Each test passes on ours and fails on Feast's (strictly: should one be mended, we hear of it).
Those of its Spark and Dask stores: test_defects_offline.py.
"""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import DeltaFormat, ParquetFormat
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.types import Int64, String
from ibis.common.exceptions import IbisTypeError

from benchmarks.homes import release_tables
from vidtopics.contracts import VIDEO_JOINT_REPRESENTATION
from vidtopics.materialization import materialize
from vidtopics.online import OnlineClient
from vidtopics.settings import OnlineSettings
from vidtopics.stores.packed_redis import PackedRedisOnlineStore
from vidtopics.tables import Commit, Tables
from vidtopics.tables.schemas import arrow_schema
from vidtopics.times import micros

OURS = "vidtopics.stores.packed_redis.PackedRedisOnlineStore"
USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)


def both(defect: str):
    """Run on our store and on Feast's, which is known to have the defect."""
    feasts = pytest.param(
        "redis",
        marks=pytest.mark.xfail(strict=True, raises=AssertionError, reason=f"Feast 0.67: {defect}"),
    )
    return pytest.mark.parametrize("kind", ["ours", feasts])


@pytest.fixture(autouse=True)
def _empty(redis_url):
    redis.Redis.from_url(redis_url).flushall()


def online(kind: str, folder, url: str, project: str = "shop") -> FeatureStore:
    settings = (
        {"type": OURS, "url": url}
        if kind == "ours"
        else {"type": "redis", "connection_string": url.removeprefix("redis://")}
    )
    config = RepoConfig(
        project=project,
        provider="local",
        registry=str(folder / f"{project}.db"),
        entity_key_serialization_version=3,
        offline_store={"type": "vidtopics.stores.delta.DeltaOfflineStore", "root": str(folder)},
        online_store=settings,
    )
    return FeatureStore(config=config)


def facts(ttl: timedelta = timedelta(0)) -> FeatureView:
    source = FileSource(
        path="facts",
        file_format=DeltaFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    schema = [Field(name="user_id", dtype=String), Field(name="n", dtype=Int64)]
    return FeatureView(name="facts", entities=[USER], schema=schema, source=source, ttl=ttl)


def push(
    store: FeatureStore, user: str, n: int, event: datetime, created: datetime | None = None
) -> None:
    frame = pd.DataFrame(
        {
            "user_id": [user],
            "n": [n],
            "event_timestamp": [event],
            "created_timestamp": [created or event],
        }
    )
    store.write_to_online_store("facts", df=frame)


def status(store: FeatureStore, user: str) -> str:
    return FieldStatus.Name(
        store.get_online_features(["facts:n"], [{"user_id": user}]).proto.results[1].statuses[0]
    )


def now() -> datetime:
    """Not a constant: tests are collected minutes before they run."""
    return datetime.now(UTC)


@both("a value past its TTL is served as present (#6821, #1802)")
def test_1_ttl_is_honoured_on_read(kind, tmp_path, redis_url):
    store = online(kind, tmp_path, redis_url)
    store.apply([USER, facts(ttl=timedelta(days=14))])
    push(store, "u", 1, now() - timedelta(days=90))
    assert status(store, "u") == "OUTSIDE_MAX_AGE"


@both("an entity that was never written is served as present")
def test_2_a_missing_entity_is_not_found(kind, tmp_path, redis_url):
    store = online(kind, tmp_path, redis_url)
    store.apply([USER, facts()])
    push(store, "u", 1, now())
    assert status(store, "never") == "NOT_FOUND"


@both("a corrected value at the same event time is dropped (#2795)")
def test_3_a_correction_at_the_same_event_time_is_taken(kind, tmp_path, redis_url):
    store = online(kind, tmp_path, redis_url)
    store.apply([USER, facts()])
    at = now()
    push(store, "u", 1, at)
    push(store, "u", 2, at, created=at + timedelta(minutes=1))
    assert store.get_online_features(["facts:n"], [{"user_id": "u"}]).to_dict()["n"] == [2]


@both("teardown of project m deletes keys of project xm")
def test_4_teardown_leaves_other_projects_alone(kind, tmp_path, redis_url):
    stores = {project: online(kind, tmp_path, redis_url, project) for project in ("m", "xm")}
    for store in stores.values():
        store.apply([USER, facts()])
        push(store, "u", 1, now())
    stores["m"].teardown()
    assert stores["xm"].get_online_features(["facts:n"], [{"user_id": "u"}]).to_dict()["n"] == [1]


def late_row_with_feast(folder, url: str, start: datetime) -> list:
    """Feast's own stores: Parquet, Redis, materialize-incremental."""
    path = folder / "facts.parquet"
    source = FileSource(
        path=str(path),
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    schema = [Field(name="user_id", dtype=String), Field(name="n", dtype=Int64)]
    config = RepoConfig(
        project="late",
        provider="local",
        registry=str(folder / "late.db"),
        entity_key_serialization_version=3,
        offline_store={"type": "dask"},
        online_store={"type": "redis", "connection_string": url.removeprefix("redis://")},
    )
    rows = pd.DataFrame(
        {"user_id": ["u"], "n": [1], "event_timestamp": [start], "created_timestamp": [start]}
    )
    rows.to_parquet(path)
    store = FeatureStore(config=config)
    store.apply(
        [
            USER,
            FeatureView(
                name="facts", entities=[USER], schema=schema, source=source, ttl=timedelta(0)
            ),
        ]
    )
    store.materialize_incremental(end_date=start + timedelta(days=2))
    late = rows.assign(
        n=2, event_timestamp=start + timedelta(days=1), created_timestamp=start + timedelta(days=3)
    )
    pd.concat([rows, late]).to_parquet(path)
    store.materialize_incremental(end_date=start + timedelta(days=4))
    return store.get_online_features(["facts:n"], [{"user_id": "u"}]).to_dict()["n"]


def late_row_with_ours(folder, url: str, start: datetime) -> list:
    """Our tables, releases and `vidtopics materialize`; the feature's version names its run."""
    tables = Tables(folder)
    for number, (event, created) in enumerate([(0, 0), (1, 3)], start=1):
        as_of_us, created_us = (micros(start + timedelta(days=days)) for days in (event, created))
        vectors = [[0.6, 0.8] if number == 1 else [0.8, 0.6]]
        rows = {
            "video_id": ["u"],
            "joint_embedding": vectors,
            "content_blocks": [3],
            "encoder_version": [str(number)],
        }
        schema = arrow_schema(VIDEO_JOINT_REPRESENTATION, VIDEO_JOINT_REPRESENTATION.columns)
        commit = Commit(VIDEO_JOINT_REPRESENTATION.name, as_of_us, created_us)
        tables.publish(
            VIDEO_JOINT_REPRESENTATION,
            pa.table(rows, schema=schema),
            commit,
            widths={"joint_width": 2},
        )
        release_tables(tables, as_of_us=as_of_us, created_us=created_us, settings="")
        materialize(tables, redis.Redis.from_url(url), OnlineSettings())
    features = OnlineClient.from_url(url).read(VIDEO_JOINT_REPRESENTATION.name, ["u"])
    return [int(v) for v in features["encoder_version"]]


@pytest.mark.parametrize(
    "way",
    [
        late_row_with_ours,
        pytest.param(
            late_row_with_feast,
            marks=pytest.mark.xfail(
                strict=True,
                raises=AssertionError,
                reason="Feast 0.67: materialize-incremental asks for new event times alone (#4133)",
            ),
        ),
    ],
)
def test_5_a_row_that_comes_late_is_moved(way, tmp_path, redis_url):
    """A late row between two materialisations.

    A value of day 0 is materialised on day 2; on day 3 one of day 1 becomes known; materialised
    again on day 4.
    """
    start = now() - timedelta(days=10)
    assert way(tmp_path, redis_url, start) == [2]


@pytest.mark.parametrize(
    "kind",
    [
        "ours",
        pytest.param(
            "duckdb",
            marks=pytest.mark.xfail(
                strict=True,
                raises=IbisTypeError,
                reason="Feast 0.67: a feature name ending in _y fails",
            ),
        ),
    ],
)
def test_8_a_feature_name_may_end_in_y(kind, tmp_path):
    """The DuckDB store joins with suffixes that eat such names."""
    from deltalake import write_deltalake

    rows = pd.DataFrame(
        {
            "user_id": ["u"],
            "income_y": [7],
            "event_timestamp": [now() - timedelta(days=1)],
            "created_timestamp": [now() - timedelta(days=1)],
        }
    )
    times = {"timestamp_field": "event_timestamp", "created_timestamp_column": "created_timestamp"}
    if kind == "ours":
        write_deltalake(str(tmp_path / "facts"), rows)
        offline = {"type": "vidtopics.stores.delta.DeltaOfflineStore", "root": str(tmp_path)}
        source = FileSource(path="facts", file_format=DeltaFormat(), **times)
    else:
        rows.to_parquet(tmp_path / "facts.parquet")
        offline = {"type": "duckdb"}
        source = FileSource(
            path=str(tmp_path / "facts.parquet"), file_format=ParquetFormat(), **times
        )
    config = RepoConfig(
        project="y",
        provider="local",
        registry=str(tmp_path / "y.db"),
        entity_key_serialization_version=3,
        online_store=None,
        offline_store=offline,
    )
    store = FeatureStore(config=config)
    schema = [Field(name="user_id", dtype=String), Field(name="income_y", dtype=Int64)]
    store.apply(
        [
            USER,
            FeatureView(
                name="facts", entities=[USER], schema=schema, source=source, ttl=timedelta(0)
            ),
        ]
    )
    joined = store.get_historical_features(
        pd.DataFrame({"user_id": ["u"], "event_timestamp": [now()]}), ["facts:income_y"]
    ).to_df()
    assert joined["income_y"].tolist() == [7]


def test_our_store_is_no_redis_store_of_feasts():
    """A subclass of Feast's would inherit its async path and its scan of keys."""
    from feast.infra.online_stores.redis import RedisOnlineStore

    assert not issubclass(PackedRedisOnlineStore, RedisOnlineStore)
