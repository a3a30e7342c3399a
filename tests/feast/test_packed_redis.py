"""The online store as Feast drives it: what Feast writes, the client reads, and the statuses are honest."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import DeltaFormat
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, Map, String, UnixTimestamp

from vidtopics.contracts import VIEWS
from vidtopics.errors import StoreError
from vidtopics.layout import Schema
from vidtopics.online import OnlineClient, Status
from vidtopics.stores.feast_types import schema_of

NOW = datetime.now(UTC)
DTYPES = {
    "small": (Int32, [1, -(2**31)]), "large": (Int64, [2**62, -1]), "single": (Float32, [0.5, -2.0]), "double": (Float64, [1e300, 0.1]),
    "flag": (Bool, [True, False]), "text": (String, ["zwei", ""]), "raw": (Bytes, [b"\x00\xff", b""]),
    "at": (UnixTimestamp, [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC)]),
    "numbers": (Array(Int64), [[1, 2, 3], [4]]), "weights": (Array(Float32), [[0.5], [0.25, 1.0]]), 
    "words": (Array(String), [["a", "ö"], ["b"]]),
    "choices": (Array(Bool), [[True, False], [False]]), "mixed": (Map, [{"a": 1}, {"a": 2}]),
}  # fmt: skip


def view(name: str, fields: dict, *, ttl=timedelta(0), entity="user", keys=("user_id",)) -> FeatureView:
    entities = [Entity(name=f"{entity}_{key}", join_keys=[key], value_type=ValueType.STRING) for key in keys]
    source = FileSource(
        path=name,
        file_format=DeltaFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    schema = [*(Field(name=k, dtype=String) for k in keys), *(Field(name=n, dtype=t) for n, t in fields.items())]
    return FeatureView(name=name, entities=entities, schema=schema, source=source, ttl=ttl)


@pytest.fixture
def store(tmp_path, redis_url):
    """A store with no views yet, on an empty Redis."""
    redis.Redis.from_url(redis_url).flushall()
    return make_store(tmp_path, redis_url, "shop")


def make_store(folder, url, project):
    config = RepoConfig(
        project=project, provider="local", registry=str(folder / f"{project}.db"), entity_key_serialization_version=3,
        offline_store={"type": "vidtopics.stores.delta.DeltaOfflineStore", "root": str(folder)},
        online_store={"type": "vidtopics.stores.packed_redis.PackedRedisOnlineStore", "url": url},
    )  # fmt: skip
    return FeatureStore(config=config)


def register(store, *views):
    store.apply([*views, *(e for v in views for e in entities_of(v))])


def entities_of(v):
    return [
        Entity(name=name, join_keys=[c.name], value_type=ValueType.STRING)
        for name, c in zip(v.entities, v.entity_columns, strict=True)
    ]


def push(store, name, rows, at=None, created=None):
    import pandas as pd

    frame = pd.DataFrame(rows)
    frame["event_timestamp"] = at or NOW
    frame["created_timestamp"] = created or at or NOW
    store.write_to_online_store(name, df=frame)


def read(store, features, rows):
    return store.get_online_features(features=features, entity_rows=rows).proto


def statuses(response, name):
    index = list(response.metadata.feature_names.val).index(name)
    return [FieldStatus.Name(s) for s in response.results[index].statuses]


def test_our_views_are_stored_as_the_contracts_say():
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[2]))
    from feature_repo.feature_views import VIEW

    assert {name: schema_of(VIEW[name]).hash for name in VIEWS} == {name: Schema.of(table).hash for name, table in VIEWS.items()}


def test_values_of_all_types_come_back_as_they_went_in(store):
    register(store, view("all_types", {name: dtype for name, (dtype, _) in DTYPES.items()}))
    push(
        store,
        "all_types",
        [{"user_id": f"u{i}", **{name: values[i] for name, (_, values) in DTYPES.items()}} for i in range(2)],
    )
    found = store.get_online_features(
        [f"all_types:{name}" for name in DTYPES], [{"user_id": "u1"}, {"user_id": "u0"}]
    ).to_dict()
    for name, (_, (first, second)) in DTYPES.items():
        assert found[name] == [second, first], name


def test_each_status_and_a_null_beside_a_value(store):
    register(store, view("short_lived", {"a": Int64, "b": String}, ttl=timedelta(hours=1)))
    push(store, "short_lived", [{"user_id": "now", "a": 1, "b": None}, {"user_id": "ended", "a": None, "b": None}])
    push(store, "short_lived", [{"user_id": "old", "a": 2, "b": "x"}], at=NOW - timedelta(hours=2))
    response = read(
        store, ["short_lived:a", "short_lived:b"], [{"user_id": u} for u in ("now", "old", "ended", "never")]
    )
    assert statuses(response, "a") == ["PRESENT", "OUTSIDE_MAX_AGE", "NULL_VALUE", "NOT_FOUND"]
    assert statuses(response, "b") == ["NULL_VALUE", "OUTSIDE_MAX_AGE", "NULL_VALUE", "NOT_FOUND"]
    a = response.results[
        list(response.metadata.feature_names.val).index("a")
    ]  # Feast's own order changes from run to run
    assert [v.int64_val for v in a.values] == [1, 0, 0, 0]
    assert [t.seconds for t in a.event_timestamps][3] == 0


def test_a_correction_wins_and_an_older_row_does_not(store):
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", [{"user_id": "u", "n": 1}], at=NOW)
    push(store, "facts", [{"user_id": "u", "n": 2}], at=NOW, created=NOW + timedelta(seconds=1))
    push(store, "facts", [{"user_id": "u", "n": 3}], at=NOW - timedelta(days=1), created=NOW + timedelta(days=1))
    assert store.get_online_features(["facts:n"], [{"user_id": "u"}]).to_dict()["n"] == [2]


def test_composite_keys_stay_apart(store):
    register(store, view("pairs", {"n": Int64}, keys=("left", "right")))
    push(store, "pairs", [{"left": "1", "right": "23", "n": 1}, {"left": "12", "right": "3", "n": 2}])
    found = store.get_online_features(
        ["pairs:n"], [{"left": "12", "right": "3"}, {"left": "1", "right": "23"}]
    ).to_dict()
    assert found["n"] == [2, 1]


def test_the_client_reads_what_feast_wrote_and_async_reads_the_same(store, redis_url):
    register(store, view("facts", {"n": Int64, "w": Array(Float32)}), view("more", {"s": String}))
    push(store, "facts", [{"user_id": "u", "n": 5, "w": [1.0, 2.0]}])
    push(store, "more", [{"user_id": "v", "s": "ä"}])
    found = OnlineClient.from_url(redis_url, prefix="shop").read_views(["facts", "more"], ["u", "v"])
    assert found["facts"].status.tolist() == [Status.PRESENT, Status.NOT_FOUND]
    assert found["facts"]["n"].tolist() == [5, 0]
    assert found["more"]["s"].tolist() == [None, "ä"]
    asked = (["facts:n", "facts:w", "more:s"], [{"user_id": "v"}, {"user_id": "u"}])

    async def twice():
        try:
            return [(await store.get_online_features_async(*asked)).to_dict() for _ in range(2)]
        finally:
            await store.close()

    once = store.get_online_features(*asked).to_dict()
    assert once == {"user_id": ["v", "u"], "n": [None, 5], "w": [None, [1.0, 2.0]], "s": ["ä", None]}
    assert asyncio.run(twice()) == [once, once]


def test_teardown_removes_its_own_keys_alone(tmp_path, redis_url):
    redis.Redis.from_url(redis_url).flushall()
    stores = {name: make_store(tmp_path, redis_url, name) for name in ("m", "xm", "mx")}
    for store in stores.values():
        register(store, view("facts", {"n": Int64}))
        push(store, "facts", [{"user_id": "u", "n": 1}])
    stores["m"].teardown()
    left = {name: OnlineClient.from_url(redis_url, prefix=name) for name in ("xm", "mx")}
    assert [client.read("facts", ["u"])["n"].tolist() for client in left.values()] == [[1], [1]]
    with pytest.raises(StoreError, match="expected the view facts"):
        OnlineClient.from_url(redis_url, prefix="m").read("facts", ["u"])
    assert [k for k in redis.Redis.from_url(redis_url).keys("m:*") if k.startswith(b"m:1:")] == []


def test_precomputed_vectors_are_refused_by_name(store):
    from feast import FeatureService

    facts = view("facts", {"n": Int64})
    register(store, facts)
    push(store, "facts", [{"user_id": "u", "n": 1}])
    store.apply([FeatureService(name="fast", features=[facts], precompute_online=True)])
    with pytest.raises(StoreError, match="precompute_online"):
        store.get_online_features(store.get_feature_service("fast"), [{"user_id": "u"}])
