"""Exact search of vectors that are online, held to a plain oracle in float64."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import redis
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float32, Int64, String
from packed_shop import NOW, make_store, push

from vidtopics.errors import ContractError, StoreError
from vidtopics.stores import vector_search

USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
SHOP = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT64)
WIDTH = 6


def view(name, *entities, ttl=timedelta(0), tags=None, more=()):
    keys = {"user_id": String, "shop_id": Int64}
    vector = Field(
        name="z", dtype=Array(Float32), tags={"width": "vector"} if tags is None else tags
    )
    return FeatureView(
        name=name,
        entities=list(entities),
        schema=[
            *(Field(name=e.join_key, dtype=keys[e.join_key]) for e in entities),
            vector,
            Field(name="title", dtype=String),
            *more,
        ],
        source=FileSource(
            path=name, file_format=DeltaFormat(), timestamp_field="event_timestamp", name=name
        ),
        ttl=ttl,
    )


@pytest.fixture
def store(tmp_path, redis_url):
    with redis.Redis.from_url(redis_url) as connection:
        connection.flushall()
    return make_store(tmp_path, redis_url, "search", vector_search_rows=500)


@pytest.fixture
def vectors(store):
    """200 vectors of users u0 to u199, the first one zero."""
    drawn = np.random.default_rng(5).normal(size=(200, WIDTH)).astype(np.float32)
    drawn[0] = 0
    store.apply([USER, view("facts", USER)])
    push(
        store,
        "facts",
        [{"user_id": f"u{i}", "z": z.tolist(), "title": f"t{i}"} for i, z in enumerate(drawn)],
    )
    return drawn


def oracle(vectors, query, metric, k):
    """The k nearest rows, worked number by number."""

    def distance(vector):
        dot = sum(float(a) * float(b) for a, b in zip(vector, query, strict=True))
        if metric == "L2":
            return math.sqrt(sum((float(a) - b) ** 2 for a, b in zip(vector, query, strict=True)))
        if metric == "inner_product":
            return -dot
        lengths = math.hypot(*map(float, vector)) * math.hypot(*query)
        return 1 - (dot / lengths if lengths else 0)

    return dict(sorted(((i, distance(v)) for i, v in enumerate(vectors)), key=lambda f: f[1])[:k])


def retrieve(store, query, *, features=("facts:z", "facts:title"), top_k=5, **options):
    return store.retrieve_online_documents_v2(
        features=list(features), query=query, top_k=top_k, **options
    ).to_dict()


@pytest.mark.parametrize("batch", [17, 5_000])
@pytest.mark.parametrize("metric", ["L2", "cosine", "inner_product"])
def test_the_nearest_are_those_of_the_oracle(store, vectors, metric, batch, monkeypatch):
    monkeypatch.setattr(vector_search, "BATCH", batch)
    query = [0.5, -1.0, 0.25, 2.0, 0.0, -0.5]
    neighbours = retrieve(store, query, top_k=7, distance_metric=metric)
    expected = oracle(vectors, query, metric, 7)
    rows = [int(user[1:]) for user in neighbours["user_id"]]
    assert set(rows) == set(expected)
    for row, distance, title, z in zip(
        rows, neighbours["distance"], neighbours["title"], neighbours["z"], strict=True
    ):
        assert distance == pytest.approx(expected[row], abs=1e-5)
        assert title == f"t{row}"
        assert z == vectors[row].tolist()


def test_metrics_by_feasts_other_names_and_by_default(store, vectors):
    query = [1.0] * WIDTH
    named = {m: retrieve(store, query, distance_metric=m) for m in ("cosine", "L2", "dot", "l2")}
    assert named["L2"] == named["l2"] == retrieve(store, query)
    assert retrieve(store, query, distance_metric="COSINE") == named["cosine"]
    assert retrieve(store, query, distance_metric="IP") == named["dot"]


def test_fewer_rows_than_asked_for_and_none(store):
    store.apply([USER, view("facts", USER)])
    assert retrieve(store, [1.0, 0.0])["distance"] == []
    push(store, "facts", [{"user_id": "a", "z": [0.0, 1.0], "title": "t"}])
    assert retrieve(store, [1.0, 0.0], distance_metric="cosine") == {
        "user_id": ["a"],
        "z": [[0.0, 1.0]],
        "title": ["t"],
        "distance": [1.0],
    }


def test_what_ended_is_null_or_past_its_ttl_is_no_document(store):
    store.apply([USER, view("facts", USER, ttl=timedelta(hours=1))])
    push(
        store,
        "facts",
        [
            {"user_id": "live", "z": [0.0, 3.0], "title": None},
            {"user_id": "ended", "z": None, "title": None},
            {"user_id": "no_vector", "z": None, "title": "t"},
        ],
    )
    old = [{"user_id": "old", "z": [0.0, 0.0], "title": "t"}]
    push(store, "facts", old, at=NOW - timedelta(hours=2))
    assert retrieve(store, [0.0, 0.0]) == {
        "user_id": ["live"],
        "z": [[0.0, 3.0]],
        "title": [None],
        "distance": [3.0],
    }


@pytest.mark.parametrize(
    ("entities", "rows"),
    [
        ((SHOP,), [{"shop_id": 10}, {"shop_id": 9}, {"shop_id": -8}]),
        (
            (USER, SHOP),
            [{"user_id": u, "shop_id": s} for u, s in (("b", 1), ("a", 23), ("a", 3))],
        ),
    ],
)
def test_documents_stand_beside_their_own_integer_and_composite_ids(store, entities, rows):
    """Their nearest first would be the order of the rows."""
    store.apply([*entities, view("facts", *entities)])
    rows = [{**row, "z": [float(i)], "title": f"t{i}"} for i, row in enumerate(rows)]
    push(store, "facts", rows)
    documents = retrieve(store, [0.0])
    columns = zip(*(documents[name] for name in rows[0]), strict=True)
    assert sorted(map(repr, columns)) == sorted(repr(tuple(row.values())) for row in rows)
    assert documents["distance"] == [z[0] for z in documents["z"]]


@pytest.mark.parametrize("tags", [{}, {"width": "2"}, {"width": "vector", "wire": "float16"}])
def test_lists_slots_and_half_precision_are_searched_too(store, tags):
    store.apply([USER, view("facts", USER, tags=tags)])
    push(
        store,
        "facts",
        [{"user_id": u, "z": [x, 0.0], "title": u} for u, x in (("a", 1.0), ("b", 2.0))],
    )
    assert retrieve(store, [2.5, 0.0], top_k=1)["title"] == ["b"]


def test_more_rows_than_the_limit_are_refused_before_a_value_is_read(store, vectors, monkeypatch):
    store.config.online_store.vector_search_rows = 199
    monkeypatch.setattr(
        vector_search.OnlineClient, "read_parts", lambda *_, **__: pytest.fail("values were read")
    )
    with pytest.raises(StoreError, match=r"view facts.*199 rows at most \(vector_search_rows\)"):
        retrieve(store, [1.0] * WIDTH)


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        ([1.0], {}, "a query of 1, vectors of 6"),
        ([float("nan")] * WIDTH, {}, "an embedding of finite numbers"),
        ([1.0] * WIDTH, {"distance_metric": "hamming"}, "found 'hamming'"),
        ([1.0] * WIDTH, {"top_k": 0}, "top_k of 1 or more"),
        ([1.0] * WIDTH, {"query_string": "cats"}, "without query_string"),
        (None, {"query_string": "cats"}, "without query_string"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(store, vectors, query, options, message):
    with pytest.raises(StoreError, match=message):
        retrieve(store, query, **options)


def test_filters_and_unknown_features_are_refused_by_name(store, vectors):
    online, facts = store._provider.online_store, store.get_feature_view("facts")
    with pytest.raises(StoreError, match="without filters"):
        online.retrieve_online_documents_v2(
            store.config, facts, ["title"], [1.0] * WIDTH, 1, filters=object()
        )
    with pytest.raises(StoreError, match="found nothing_like_it"):
        online.retrieve_online_documents_v2(
            store.config, facts, ["nothing_like_it"], [1.0] * WIDTH, 1
        )


def test_of_several_vectors_the_index_says_which(store):
    other = Field(name="w", dtype=Array(Float32), vector_index=True, vector_search_metric="cosine")
    store.apply([USER, view("facts", USER, more=[other])])
    row = {"user_id": "a", "z": [9.0, 9.0], "title": "t", "w": [0.0, 2.0]}
    push(store, "facts", [row])
    # The field's metric wins over the call's, as Feast has it.
    assert retrieve(store, [1.0, 0.0], distance_metric="L2")["distance"] == [1.0]
    store.apply([USER, view("facts", USER, more=[Field(name="w", dtype=Array(Float32))])])
    with pytest.raises(StoreError, match=r"expected one field of vectors .*found z, w"):
        retrieve(store, [1.0, 0.0])


def test_the_stores_own_answer_is_in_the_order_of_ids(store, vectors):
    """Feast's response would else have one entity's values beside another's id."""
    online, facts = store._provider.online_store, store.get_feature_view("facts")
    documents = online.retrieve_online_documents_v2(
        store.config, facts, ["title"], [1.0] * WIDTH, 9, "cosine"
    )
    users = [key.entity_values[0].string_val for _, key, _ in documents]
    assert users == sorted(users)
    assert documents[0][1] == EntityKey(
        join_keys=["user_id"], entity_values=[Value(string_val=users[0])]
    )
    assert all(set(values) == {"title", "distance"} for _, _, values in documents)


def test_versions_come_as_feast_adds_them(store, vectors):
    response = store.retrieve_online_documents_v2(
        features=["facts:title"],
        query=[1.0] * WIDTH,
        top_k=1,
        include_feature_view_version_metadata=True,
    ).proto
    assert [m.name for m in response.metadata.feature_view_metadata] == ["facts"]


# What can't be among the others' values


def test_a_vector_of_another_width_is_refused_with_its_id(store, vectors):
    rows = [{"user_id": "x", "z": [1.0] * WIDTH, "title": "t"}, {"user_id": "y", "z": [1.0]}]
    with pytest.raises(
        ContractError, match=r"z, row 1 \(id y\): expected a vector of 6 numbers, .* found one of 1"
    ):
        push(store, "facts", [{"title": "", **row} for row in rows])
    with pytest.raises(StoreError, match=r"view facts: .* found z float32\[3\], title string"):
        push(store, "facts", [{"user_id": "x", "z": [1.0] * 3, "title": "t"}])
    neighbours = retrieve(store, vectors[7].tolist(), top_k=1)
    assert neighbours["title"] == ["t7"]


def test_a_row_far_in_the_future_is_refused_with_its_id(store, vectors):
    row = {"user_id": "u7", "z": vectors[7].tolist(), "title": "of 2100"}
    with pytest.raises(
        ContractError, match=r"view facts, id u7: expected an event time before .*, found 2100-"
    ):
        push(store, "facts", [row], at=datetime(2100, 1, 1, tzinfo=UTC))
    assert retrieve(store, vectors[7].tolist(), top_k=1)["title"] == ["t7"]
