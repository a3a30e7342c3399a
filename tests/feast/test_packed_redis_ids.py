"""Ids of requests: a null is one row that isn't found, a wrong type is named by its row."""

import asyncio

import numpy as np
import pandas as pd
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Int64, String
from packed_shop import NOW, make_store, push, read, statuses

from vidtopics.errors import ContractError, StoreError
from vidtopics.stores.entity_ids import NULL_ID, entity_key_of, ids_of_columns, ids_of_keys

USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
SHOP = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT64)
KEYS = {"user_id": String, "shop_id": Int64}


def view(name, *entities):
    keys = [entity.join_key for entity in entities]
    source = FileSource(
        path=name, file_format=DeltaFormat(), timestamp_field="event_timestamp", name=name
    )
    schema = [*(Field(name=key, dtype=KEYS[key]) for key in keys), Field(name="n", dtype=Int64)]
    return FeatureView(name=name, entities=list(entities), schema=schema, source=source)


FACTS, SHOPS, PAIRS = view("facts", USER), view("shops", SHOP), view("pairs", USER, SHOP)


@pytest.fixture(scope="module")
def store(tmp_path_factory, redis_url):
    store = make_store(tmp_path_factory.mktemp("ids"), redis_url, "ids")
    store.apply([USER, SHOP, FACTS, SHOPS, PAIRS])
    push(store, "facts", [{"user_id": "a", "n": 1}])
    push(store, "shops", [{"shop_id": 1, "n": 10}])
    push(store, "pairs", [{"user_id": "a", "shop_id": 1, "n": 100}])
    return store


def answers(store, features, rows):
    """The response of the sync and of the async request."""

    async def awaited():
        try:
            return await store.get_online_features_async(features, rows, full_feature_names=True)
        finally:
            await store.close()

    yield store.get_online_features(features, rows, full_feature_names=True)
    yield asyncio.run(awaited())


@pytest.mark.parametrize("null", [None, float("nan"), pd.NA, pd.NaT, np.float64("nan")])
def test_a_null_id_is_one_row_that_is_not_found(store, null):
    rows = [{"user_id": "a"}, {"user_id": null}, {"user_id": "b"}]
    for answer in answers(store, ["facts:n"], rows):
        assert answer.to_dict()["facts__n"] == [1, None, None]
        assert statuses(answer.proto, "facts__n") == ["PRESENT", "NOT_FOUND", "NOT_FOUND"]


@pytest.mark.parametrize(
    ("features", "rows", "expected"),
    [
        (["facts:n"], [{"user_id": None}], [None]),
        (["facts:n"], [{"user_id": None}, {"user_id": None}], [None, None]),
        (["shops:n"], [{"shop_id": None}, {"shop_id": 1}], [None, 10]),
        (
            ["pairs:n"],
            [
                {"user_id": "a", "shop_id": None},
                {"user_id": None, "shop_id": 1},
                {"user_id": None, "shop_id": None},
                {"user_id": "a", "shop_id": 1},
            ],
            [None, None, None, 100],
        ),
    ],
)
def test_nulls_of_integer_and_composite_keys_and_nothing_but_nulls(store, features, rows, expected):
    name = features[0].replace(":", "__")
    for answer in answers(store, features, rows):
        assert answer.to_dict()[name] == expected


def test_a_null_of_one_view_leaves_the_other_view_alone(store):
    rows = [{"user_id": None, "shop_id": 1}, {"user_id": "a", "shop_id": None}]
    for answer in answers(store, ["facts:n", "shops:n"], rows):
        assert answer.to_dict() == {
            "user_id": [None, "a"],
            "shop_id": [1, None],
            "facts__n": [None, 1],
            "shops__n": [10, None],
        }


def test_columns_instead_of_rows_may_have_nulls_too(store):
    answer = store.get_online_features(["facts:n"], {"user_id": ["a", None]})
    assert answer.to_dict()["n"] == [1, None]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("abc", r"'abc' \(str\)"),
        (1.5, r"1\.5 \(float\)"),
        (np.float32(1.5), r"\(float32\)"),
        (True, r"True \(bool\)"),
        ([1], r"\[1\] \(list\)"),
        ({"a": 1}, r"\(dict\)"),
        (b"1", r"\(bytes\)"),
        (2**70, r"1180591620717411303424 \(int\)"),
    ],
)
def test_an_id_that_is_no_integer_is_named_by_its_row(store, value, named):
    rows = [{"shop_id": 1}, {"shop_id": None}, {"shop_id": value}]
    pattern = rf"entity row 2, shop_id: expected a value of type int64, found .*{named}"
    with pytest.raises(StoreError, match=pattern):
        store.get_online_features(["shops:n"], rows)
    with pytest.raises(ValueError, match=pattern):
        asyncio.run(store.get_online_features_async(["shops:n"], rows))


@pytest.mark.parametrize("value", [b"a", ["a"], {"a": 1}, "\ud800"])
def test_an_id_that_is_no_text_is_named_by_its_row(store, value):
    with pytest.raises(StoreError, match="entity row 1, user_id: expected a value of type string"):
        store.get_online_features(["facts:n"], [{"user_id": "a"}, {"user_id": value}])


@pytest.mark.parametrize("value", ["1", 1.0, np.int32(1), np.int64(1)])
def test_a_whole_number_of_any_type_is_the_same_id(store, value):
    answer = store.get_online_features(["shops:n"], [{"shop_id": value}])
    assert answer.to_dict()["n"] == [10]


def test_rows_to_be_written_with_a_null_id_are_refused_and_none_is_written(store):
    keys = [
        EntityKey(join_keys=["user_id"], entity_values=[value])
        for value in (Value(string_val="new"), Value())
    ]
    rows = [(key, {"n": Value(int64_val=1)}, NOW, NOW) for key in keys]
    with pytest.raises(ContractError, match="view facts, row 1: expected a value in user_id"):
        store._provider.online_write_batch(store.config, FACTS, rows, None)
    assert statuses(read(store, ["facts:n"], [{"user_id": "new"}]), "n") == ["NOT_FOUND"]


def test_reads_by_entity_keys_take_a_null_too(store):
    keys = [EntityKey(join_keys=["user_id"], entity_values=[v]) for v in (Value(), string("a"))]
    rows = store._provider.online_read(store.config, FACTS, keys, ["n"])
    assert [values and values["n"].int64_val for _, values in rows] == [None, 1]


def test_a_mixed_column_has_the_ids_of_its_rows():
    """Rows are written one by one and read by column: both give the same bytes."""
    column = [string("a"), Value(int64_val=7), Value(bytes_val=b"x"), Value()]
    ids = ids_of_columns({"user_id": column}, 3)
    keys = [EntityKey(join_keys=["user_id"], entity_values=[value]) for value in column]
    assert ids == ids_of_keys(FACTS, keys, 3)
    assert (ids[0], ids[1], ids[3]) == (b"a", b"7", NULL_ID)


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (FACTS, {"user_id": Value(string_val="ä b")}),
        (SHOPS, {"shop_id": Value(int64_val=-8)}),
        (PAIRS, {"shop_id": Value(int64_val=7), "user_id": Value(string_val="a")}),
    ],
)
def test_an_id_gives_its_entity_key_back(table, values):
    key = EntityKey(join_keys=list(values), entity_values=list(values.values()))
    assert entity_key_of(table, ids_of_keys(table, [key], 3)[0], 3) == key


def string(text):
    return Value(string_val=text)
