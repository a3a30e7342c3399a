"""The online store as Feast drives it: the client reads what Feast writes, with its status."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import redis
from feast import Field
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import (
    Array,
    Bool,
    Bytes,
    Float32,
    Float64,
    Int32,
    Int64,
    Map,
    String,
    UnixTimestamp,
)
from packed_shop import NOW, make_store, push, read, register, statuses, view

from vidtopics.contracts import VIEWS
from vidtopics.errors import ContractError, StoreError
from vidtopics.layout import Schema
from vidtopics.online import OnlineClient, Status, connect
from vidtopics.stores.feast_types import schema_of

DTYPES = {
    "small": (Int32, [1, -(2**31)]),
    "large": (Int64, [2**62, -1]),
    "single": (Float32, [0.5, -2.0]),
    "double": (Float64, [1e300, 0.1]),
    "flag": (Bool, [True, False]),
    "text": (String, ["zwei", ""]),
    "raw": (Bytes, [b"\x00\xff", b""]),
    "at": (
        UnixTimestamp,
        [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC)],
    ),
    "numbers": (Array(Int64), [[1, 2, 3], [4]]),
    "weights": (Array(Float32), [[0.5], [0.25, 1.0]]),
    "words": (Array(String), [["a", "ö"], ["b"]]),
    "choices": (Array(Bool), [[True, False], [False]]),
    "mixed": (Map, [{"a": 1}, {"a": 2}]),
}


@pytest.fixture(autouse=True)
def _no_reads_to_wait_for(monkeypatch):
    monkeypatch.setattr("vidtopics.materialization.generations.CLUSTER_GRACE_S", 0)


@pytest.fixture(params=["server", "cluster"])
def url(request, redis_url):
    """The address of an empty Redis."""
    store_url = redis_url if request.param == "server" else request.getfixturevalue("cluster")
    with connect(store_url, timeout_s=20) as connection:
        connection.flushall()
    return store_url


@pytest.fixture
def store(tmp_path, url):
    """A store with no views yet, on an empty Redis."""
    return make_store(tmp_path, url, "shop")


def test_our_views_are_stored_as_the_contracts_say():
    from feature_repo import feature_views

    assert {name: schema_of(getattr(feature_views, name)).hash for name in VIEWS} == {
        name: Schema.of(table).hash for name, table in VIEWS.items()
    }


def test_values_of_all_types_come_back_as_they_went_in(store):
    register(store, view("all_types", {name: dtype for name, (dtype, _) in DTYPES.items()}))
    push(
        store,
        "all_types",
        [
            {"user_id": f"u{i}", **{name: values[i] for name, (_, values) in DTYPES.items()}}
            for i in range(2)
        ],
    )
    features = store.get_online_features(
        [f"all_types:{name}" for name in DTYPES], [{"user_id": "u1"}, {"user_id": "u0"}]
    ).to_dict()
    for name, (_, (first, second)) in DTYPES.items():
        assert features[name] == [second, first], name


def test_each_status_and_a_null_beside_a_value(store):
    register(store, view("short_lived", {"a": Int64, "b": String}, ttl=timedelta(hours=1)))
    push(
        store,
        "short_lived",
        [{"user_id": "now", "a": 1, "b": None}, {"user_id": "ended", "a": None, "b": None}],
    )
    push(store, "short_lived", [{"user_id": "old", "a": 2, "b": "x"}], at=NOW - timedelta(hours=2))
    response = read(
        store,
        ["short_lived:a", "short_lived:b"],
        [{"user_id": u} for u in ("now", "old", "ended", "never")],
    )
    assert statuses(response, "a") == ["PRESENT", "OUTSIDE_MAX_AGE", "NULL_VALUE", "NOT_FOUND"]
    assert statuses(response, "b") == ["NULL_VALUE", "OUTSIDE_MAX_AGE", "NULL_VALUE", "NOT_FOUND"]
    a = response.results[
        list(response.metadata.feature_names.val).index("a")
    ]  # Feast's own order changes from run to run
    assert [v.WhichOneof("val") and v.int64_val for v in a.values] == [1, 2, None, None]
    assert [t.seconds for t in a.event_timestamps][3] == 0


def test_a_value_past_its_ttl_is_blank_where_the_setting_says_so(tmp_path, url):
    store = make_store(tmp_path, url, "shop", blank_expired=True)
    facts = view("short_lived", {"a": Int64}, ttl=timedelta(hours=1))
    register(store, facts)
    push(store, "short_lived", [{"user_id": "now", "a": 1}])
    push(store, "short_lived", [{"user_id": "old", "a": 2}], at=NOW - timedelta(hours=2))
    response = read(store, ["short_lived:a"], [{"user_id": "now"}, {"user_id": "old"}])
    assert statuses(response, "a") == ["PRESENT", "OUTSIDE_MAX_AGE"]
    assert store.get_online_features(
        ["short_lived:a"], [{"user_id": "now"}, {"user_id": "old"}]
    ).to_dict()["a"] == [1, None]
    rows = store._provider.online_read(store.config, facts, keys_of("now", "old"), ["a"])
    assert [time is None for time, _ in rows] == [False, True]


@pytest.mark.parametrize("kind", ["slots", "list", "text", "older schema"])
def test_a_value_past_its_ttl_of_any_kind_comes_back_sync_and_async(store, kind):
    fields = {
        "slots": Field(name="a", dtype=Array(Int64), tags={"width": "2"}),
        "list": Field(name="a", dtype=Array(Int64)),
        "text": Field(name="a", dtype=String),
        "older schema": Field(name="a", dtype=Int64),
    }
    value = {"slots": [1, 2], "list": [1, 2, 3], "text": "ä", "older schema": 7}[kind]
    register(store, view("facts", {"a": fields[kind]}, ttl=timedelta(hours=1)))
    push(store, "facts", [{"user_id": "old", "a": value}], at=NOW - timedelta(hours=2))
    if kind == "older schema":
        register(store, view("facts", {"a": fields[kind], "b": Int64}, ttl=timedelta(hours=1)))
    rows = [{"user_id": "never"}, {"user_id": "old"}]

    async def awaited():
        return await store.get_online_features_async(["facts:a"], rows)

    for response in (store.get_online_features(["facts:a"], rows), asyncio.run(awaited())):
        assert response.to_dict()["a"] == [None, value]
        assert statuses(response.proto, "a") == ["NOT_FOUND", "OUTSIDE_MAX_AGE"]


def test_online_read_gives_a_value_past_its_ttl_as_feasts_stores_do(store):
    facts = view("facts", {"a": Int64}, ttl=timedelta(hours=1))
    register(store, facts)
    push(store, "facts", [{"user_id": "old", "a": 2}], at=NOW - timedelta(hours=2))
    ((time, values), never) = store._provider.online_read(
        store.config, facts, keys_of("old", "never"), ["a"]
    )
    assert (time, values["a"].int64_val) == (NOW - timedelta(hours=2), 2)
    assert never == (None, None)


def keys_of(*users):
    return [EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=u)]) for u in users]


def test_a_correction_wins_and_an_older_row_does_not(store):
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", [{"user_id": "u", "n": 1}], at=NOW)
    push(store, "facts", [{"user_id": "u", "n": 2}], at=NOW, created=NOW + timedelta(seconds=1))
    push(
        store,
        "facts",
        [{"user_id": "u", "n": 3}],
        at=NOW - timedelta(days=1),
        created=NOW + timedelta(days=1),
    )
    assert store.get_online_features(["facts:n"], [{"user_id": "u"}]).to_dict()["n"] == [2]


def test_composite_keys_stay_apart(store):
    register(store, view("pairs", {"n": Int64}, keys=("left", "right")))
    push(
        store, "pairs", [{"left": "1", "right": "23", "n": 1}, {"left": "12", "right": "3", "n": 2}]
    )
    features = store.get_online_features(
        ["pairs:n"], [{"left": "12", "right": "3"}, {"left": "1", "right": "23"}]
    ).to_dict()
    assert features["n"] == [2, 1]


def test_the_client_reads_what_feast_wrote_and_async_reads_the_same(store, url):
    register(store, view("facts", {"n": Int64, "w": Array(Float32)}), view("more", {"s": String}))
    push(store, "facts", [{"user_id": "u", "n": 5, "w": [1.0, 2.0]}])
    push(store, "more", [{"user_id": "v", "s": "ä"}])
    features = OnlineClient.from_url(url, prefix="shop").read_views(["facts", "more"], ["u", "v"])
    assert features["facts"].status.tolist() == [Status.PRESENT, Status.NOT_FOUND]
    assert features["facts"]["n"].tolist() == [5, 0]
    assert features["more"]["s"].tolist() == [None, "ä"]
    asked = (["facts:n", "facts:w", "more:s"], [{"user_id": "v"}, {"user_id": "u"}])

    async def twice():
        try:
            return [(await store.get_online_features_async(*asked)).to_dict() for _ in range(2)]
        finally:
            await store.close()

    once = store.get_online_features(*asked).to_dict()
    assert once == {
        "user_id": ["v", "u"],
        "n": [None, 5],
        "w": [None, [1.0, 2.0]],
        "s": ["ä", None],
    }
    assert asyncio.run(twice()) == [once, once]


def test_teardown_removes_its_own_keys_alone(tmp_path, url):
    stores = {name: make_store(tmp_path, url, name) for name in ("m", "xm", "mx")}
    for store in stores.values():
        register(store, view("facts", {"n": Int64}))
        push(store, "facts", [{"user_id": "u", "n": 1}])
    stores["m"].teardown()
    left = {name: OnlineClient.from_url(url, prefix=name) for name in ("xm", "mx")}
    assert [client.read("facts", ["u"])["n"].tolist() for client in left.values()] == [[1], [1]]
    with pytest.raises(StoreError, match="expected the view facts"):
        OnlineClient.from_url(url, prefix="m").read("facts", ["u"])
    with connect(url) as connection:
        assert list(connection.scan_iter("m:1:*")) == []


def test_our_views_are_materialised_and_read_on_a_cluster(tmp_path, home, cluster, cluster_store):
    from feature_repo import entities, feature_views

    neighbour = make_store(tmp_path, cluster, "neighbour")
    register(neighbour, view("facts", {"n": Int64}))
    push(neighbour, "facts", [{"user_id": "u", "n": 1}])
    store = make_store(home, cluster, "videos", prefix="vt")
    store.apply([entities.video, entities.user, *(getattr(feature_views, name) for name in VIEWS)])
    store.materialize(datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC))
    asked = (
        ["video_topics:topic_ids", "video_statistics:video_exposures"],
        [{"video_id": v} for v in "abc"],
    )

    async def waited():
        try:
            return (await store.get_online_features_async(*asked)).to_dict()
        finally:
            await store.close()

    expected = {
        "video_id": ["a", "b", "c"],
        "topic_ids": [[8, *[-1] * 7], None, None],
        "video_exposures": [10, 4, None],
    }
    assert store.get_online_features(*asked).to_dict() == asyncio.run(waited()) == expected
    assert statuses(read(store, *asked), "topic_ids") == ["PRESENT", "NULL_VALUE", "NOT_FOUND"]
    store.teardown()
    assert list(cluster_store.scan_iter("vt:1:*")) == []
    assert neighbour.get_online_features(["facts:n"], [{"user_id": "u"}]).to_dict()["n"] == [1]


def test_the_pool_and_its_deadlines_are_as_configured(tmp_path, redis_url):
    store = make_store(
        tmp_path, f"{redis_url}?client_name=feast", "pooled", max_connections=2, timeout_s=20
    )
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", [{"user_id": "u", "n": 1}])
    with ThreadPoolExecutor(8) as threads, connect(redis_url) as admin:
        answers = list(threads.map(lambda _: read_n(store), range(100)))
        assert answers == [[1]] * 100
        assert sum(c["name"] == "feast" for c in admin.client_list()) == 2
    hasty = make_store(tmp_path, redis_url, "pooled", timeout_s=0.2)
    assert read_n(hasty) == [1]
    with connect(redis_url) as admin:
        admin.client_pause(700, all=True)
        with pytest.raises(redis.TimeoutError):
            read_n(hasty)
        admin.ping()  # answers once the pause is over


def read_n(store):
    return store.get_online_features(["facts:n"], [{"user_id": "u"}]).to_dict()["n"]


def test_half_precision_is_half_as_wide_and_rounds_to_it(store, url):
    """1/3 is 0.33325195 in half precision, 11 bits: 1365/4096."""
    half, vector = {"wire": "float16"}, {"wire": "float16", "width": "vector"}
    slots = {"wire": "float16", "width": "4"}
    wanted = {
        "score": Field(name="score", dtype=Float32, tags=half),
        "weights": Field(name="weights", dtype=Array(Float32), tags=slots),
        "z": Field(name="z", dtype=Array(Float32), tags=vector),
    }
    register(store, view("narrow", wanted))
    weights, z = [0.5, 0.25, 1 / 3, -2.0], [1 / 3] * 16
    push(store, "narrow", [{"user_id": "u", "score": 1 / 3, "weights": weights, "z": z}])
    third = 1365 / 4096
    features = store.get_online_features(
        ["narrow:score", "narrow:weights", "narrow:z"], [{"user_id": "u"}]
    ).to_dict()
    assert (features["score"], features["weights"], features["z"]) == (
        [third],
        [[0.5, 0.25, third, -2.0]],
        [[third] * 16],
    )
    client = OnlineClient.from_url(url, prefix="shop")
    read = client.read("narrow", ["u"])
    assert [read[n].dtype for n in wanted] == [np.float32] * 3
    assert read["z"].tolist() == [[third] * 16]
    with connect(url) as connection:
        (key,) = connection.scan_iter("shop:1:1:*")
        assert (
            connection.strlen(key) == 29 + 1 + 2 + 4 * 2 + 16 * 2
        )  # header, nulls, score, weights, z
    with pytest.raises(
        ContractError, match="score, row 0: expected numbers that fit float16, found 70000"
    ):
        push(store, "narrow", [{"user_id": "v", "score": 70_000.0, "weights": weights, "z": z}])


def test_precomputed_vectors_are_refused_by_name(store):
    from feast import FeatureService

    facts = view("facts", {"n": Int64})
    register(store, facts)
    push(store, "facts", [{"user_id": "u", "n": 1}])
    store.apply([FeatureService(name="fast", features=[facts], precompute_online=True)])
    with pytest.raises(StoreError, match="precompute_online"):
        store.get_online_features(store.get_feature_service("fast"), [{"user_id": "u"}])


def test_a_view_whose_fields_change_keeps_its_values_until_it_is_loaded_again(store):
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", {"user_id": ["u"], "n": [7]})
    register(store, view("facts", {"n": Int64, "new": String}))
    assert store.get_online_features(["facts:n", "facts:new"], [{"user_id": "u"}]).to_dict() == {
        "user_id": ["u"],
        "n": [7],
        "new": [None],
    }
    register(store, view("facts", {"other": Float64, "n": Int64}))
    assert store.get_online_features(["facts:n"], [{"user_id": "u"}]).to_dict()["n"] == [7]
    with pytest.raises(StoreError, match="expected the field other, found n, new"):
        store.get_online_features(["facts:other"], [{"user_id": "u"}])
    push(store, "facts", {"user_id": ["u"], "other": [0.5], "n": [8]})
    assert store.get_online_features(["facts:other", "facts:n"], [{"user_id": "u"}]).to_dict() == {
        "user_id": ["u"],
        "other": [0.5],
        "n": [8],
    }


def test_null_times_and_large_numbers_beside_nulls_come_back(store):
    """Feast writes a null time as -2**63 s; a float64 holds whole numbers up to 2**53 alone."""
    from feast.protos.feast.types.Value_pb2 import Int64List

    facts = view(
        "facts",
        {
            "at": UnixTimestamp,
            "n": Int64,
            "slots": Field(name="slots", dtype=Array(Int64), tags={"width": "2"}),
        },
    )
    register(store, facts)
    large = 2**60 + 1
    rows = [
        {
            "at": Value(unix_timestamp_val=-(2**63)),
            "n": Value(int64_val=large),
            "slots": Value(int64_list_val=Int64List(val=[large, 1])),
        },
        {"at": Value(unix_timestamp_val=7), "n": Value(), "slots": Value()},
    ]
    keys = [EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=u)]) for u in "ab"]
    store._provider.online_write_batch(
        store.config, facts, [(k, row, NOW, NOW) for k, row in zip(keys, rows, strict=True)], None
    )
    features = store.get_online_features(
        ["facts:at", "facts:n", "facts:slots"], [{"user_id": u} for u in "ab"]
    ).to_dict()
    assert features["n"] == [large, None]
    assert features["slots"] == [[large, 1], None]
    assert features["at"][0] is None
    assert features["at"][1].timestamp() == 7


@pytest.mark.parametrize(
    ("before", "after"),
    [(UnixTimestamp, Int64), (Int64, UnixTimestamp), (Int64, String), (Int64, Array(Int64))],
)
def test_a_field_of_another_type_than_the_stored_one_is_refused_until_it_is_loaded(
    store, before, after
):
    register(store, view("facts", {"n": before}))
    push(store, "facts", {"user_id": ["u"], "n": [NOW if before is UnixTimestamp else 7]})
    register(store, view("facts", {"n": after}))
    with pytest.raises(StoreError, match="view facts, field n: expected"):
        store.get_online_features(["facts:n"], [{"user_id": "u"}])


@pytest.mark.parametrize("prefix", ["p*", "pro?", "a{b}", "x y"])
def test_a_prefix_that_could_reach_other_keys_is_refused(tmp_path, redis_url, prefix):
    with pytest.raises(Exception, match="should match pattern"):
        make_store(tmp_path, redis_url, "shop", prefix=prefix).apply([])
