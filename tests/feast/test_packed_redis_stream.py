"""Stream feature views: Feast's registry has their fields in random order, join keys among them."""

import asyncio
from datetime import timedelta
from itertools import permutations

import pytest
import redis
from feast import (
    Entity,
    FeatureService,
    Field,
    FileSource,
    PushSource,
    StreamFeatureView,
    ValueType,
)
from feast.data_format import DeltaFormat
from feast.types import Float64, Int64, String
from packed_shop import NOW, make_store, push, read, statuses

from vidtopics.layout import place
from vidtopics.stores.feast_types import schema_of

USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
BATCH = FileSource(
    path="facts",
    file_format=DeltaFormat(),
    timestamp_field="event_timestamp",
    created_timestamp_column="created_timestamp",
)
KEY = Field(name="user_id", dtype=String)
N, M, A = (Field(name=name, dtype=Int64) for name in "nma")


def stream_view(*features, ttl=timedelta(0)):
    """A stream view as a registry gives it back: these fields, in this order."""
    view = StreamFeatureView(
        name="facts",
        entities=[USER],
        schema=[KEY, *features],
        source=PushSource(name="facts_push", batch_source=BATCH),
        ttl=ttl,
    )
    view.features, view.entity_columns = list(features), [KEY]
    return view


@pytest.fixture
def url(redis_url):
    """The address of an empty Redis."""
    with redis.Redis.from_url(redis_url) as connection:
        connection.flushall()
    return redis_url


def process(folder, url, name, view):
    """A process whose registry has this view, fields in the view's order; Redis stays as it is."""
    folder = folder / name
    folder.mkdir()
    store = make_store(folder, url, "shop")
    store.registry.apply_entity(USER, "shop")
    store.registry.apply_data_source(view.source, "shop")
    store.registry.apply_feature_view(view, "shop")
    return store


def generation_of(url):
    with redis.Redis.from_url(url) as connection:
        return connection.hget(place("shop", "views"), "facts").split(b'"generation":')[1][:1]


def test_every_order_of_the_fields_is_one_schema_without_join_keys():
    schemas = [schema_of(stream_view(*order)) for order in permutations([KEY, N, M, A])]
    assert {tuple(f.name for f in schema.fields) for schema in schemas} == {("a", "m", "n")}
    assert {(schema.hash, schema.keys, schema.ordered) for schema in schemas} == {
        (schemas[0].hash, ("user_id",), False)
    }


def test_feasts_own_copy_of_the_view_is_the_same_schema(tmp_path, url):
    """As `apply` stores it: the order comes from a set, and differs from process to process."""
    store = make_store(tmp_path, url, "shop")
    store.apply([USER, stream_view(N, M)])
    copy = store.registry.get_stream_feature_view("facts", "shop")
    assert schema_of(copy).to_json() == schema_of(stream_view(M, KEY, N)).to_json()
    push(store, "facts", [{"user_id": "u", "n": 1, "m": 2}])
    assert store.get_online_features(["facts:n", "facts:m"], [{"user_id": "u"}]).to_dict() == {
        "user_id": ["u"],
        "n": [1],
        "m": [2],
    }


def test_processes_with_other_orders_write_to_one_generation(tmp_path, url):
    orders = list(permutations([KEY, N, M]))
    stores = [process(tmp_path, url, f"p{i}", stream_view(*o)) for i, o in enumerate(orders)]
    for i, store in enumerate(stores):
        push(store, "facts", [{"user_id": f"u{i}", "n": i, "m": 10 * i}])
    assert generation_of(url) == b"1"
    rows = [{"user_id": f"u{i}"} for i in range(len(stores))]
    for store in stores:
        answer = store.get_online_features(["facts:n", "facts:m"], rows).to_dict()
        assert answer["n"] == [0, 1, 2, 3, 4, 5]
        assert answer["m"] == [0, 10, 20, 30, 40, 50]


def test_a_new_field_reads_as_null_wherever_it_stands(tmp_path, url):
    """`a` comes before the others by name; an old registry goes on pushing."""
    old = process(tmp_path, url, "old", stream_view(N, M))
    push(old, "facts", [{"user_id": "u", "n": 1, "m": 2}])
    new = make_store(tmp_path, url, "shop")
    new.apply([USER, stream_view(A, KEY, M, N)])
    push(new, "facts", [{"user_id": "v", "n": 3, "m": 4, "a": 5}])
    push(old, "facts", [{"user_id": "w", "n": 6, "m": 7}])
    answer = new.get_online_features(
        ["facts:a", "facts:n"], [{"user_id": u} for u in "uvw"]
    ).to_dict()
    assert (answer["a"], answer["n"]) == ([None, 5, None], [1, 3, 6])
    assert generation_of(url) == b"1"


def test_a_field_of_another_type_is_another_schema(tmp_path, url):
    store = make_store(tmp_path, url, "shop")
    store.apply([USER, stream_view(N, M)])
    push(store, "facts", [{"user_id": "u", "n": 1, "m": 2}])
    store.apply([USER, stream_view(Field(name="n", dtype=Float64), M)])
    push(store, "facts", [{"user_id": "v", "n": 0.5, "m": 2}])
    answer = store.get_online_features(["facts:n"], [{"user_id": u} for u in "uv"]).to_dict()
    assert answer["n"] == [None, 0.5]


def test_a_service_of_the_whole_view_has_the_join_key_as_a_feature(tmp_path, url):
    """Feast lists the join key among the view's features, and asks for it."""
    store = process(tmp_path, url, "p", stream_view(M, KEY, N))
    push(store, "facts", [{"user_id": "u", "n": 1, "m": 2}])
    view = store.registry.get_stream_feature_view("facts", "shop")
    service = FeatureService(name="all_of_it", features=[view])
    assert {f.name for f in service.feature_view_projections[0].features} == {"m", "n", "user_id"}
    store.registry.apply_feature_service(service, "shop")
    rows = [{"user_id": "u"}, {"user_id": "never"}]
    answers = [
        store.get_online_features(service, rows).to_dict(),
        asyncio.run(store.get_online_features_async(service, rows)).to_dict(),
    ]
    assert answers == [{"user_id": ["u", "never"], "n": [1, None], "m": [2, None]}] * 2
    named = store.get_online_features(service, rows, full_feature_names=True).proto
    assert statuses(named, "facts__n") == ["PRESENT", "NOT_FOUND"]


def test_a_join_key_alone_is_answered_from_the_request(tmp_path, url):
    store = process(tmp_path, url, "p", stream_view(N, KEY))
    push(store, "facts", [{"user_id": "u", "n": 1}], at=NOW)
    response = read(store, ["facts:user_id", "facts:n"], [{"user_id": "u"}, {"user_id": "never"}])
    assert statuses(response, "n") == ["PRESENT", "NOT_FOUND"]
