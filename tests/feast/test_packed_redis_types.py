"""Every value type of Feast 0.67 round-trips, and reads as from Feast's own SQLite store."""

import asyncio
import math
from datetime import UTC, datetime
from decimal import Decimal as Exact
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import redis
from feast import types
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.types import Array, Set, Struct
from packed_shop import NOW, feasts_store, make_store, register, view

T, BEFORE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC)
ONE, TWO = UUID(int=1), UUID("c232ab00-9414-11ec-b3c8-9f6bdeced846")
# Left out, as Feast 0.67 has no value type for them: lists and sets of PdfBytes and ImageBytes,
# sets of Json.
SCALARS = {
    types.Bytes: (b"\x00\xff", b""),
    types.PdfBytes: (b"%PDF", b""),
    types.ImageBytes: (b"PNG", b""),
    types.String: ("zwei", ""),
    types.Int32: (1, -(2**31)),
    types.Int64: (2**62, -1),
    types.Float32: (0.5, -math.inf),
    types.Float64: (1e300, 0.1),
    types.Bool: (True, False),
    types.UnixTimestamp: (T, BEFORE),
    types.Map: ({"a": 1, "b": "x"}, {}),
    types.Json: ('{"a": [1]}', "[]"),
    types.Uuid: (ONE, TWO),
    types.TimeUuid: (TWO, TWO),
    types.Decimal: (Exact("1.10"), Exact("-3")),
    types.ScalarMap: ({1: "x", 2: "y"}, {3: "z"}),
    types.ZonedTimestamp: (T.astimezone(ZoneInfo("Europe/Berlin")), T),
    Struct({"a": types.Int64, "b": types.String}): ({"a": 1, "b": "x"}, {"a": 2, "b": ""}),
}
LISTS = {
    types.Bytes: ([b"a", b""], [b"\xff"]),
    types.String: (["a", "ö"], [""]),
    types.Int32: ([1, 2], [-(2**31)]),
    types.Int64: ([2**62, 2], [0]),
    types.Float32: ([0.5, -2.0], [0.25]),
    types.Float64: ([0.1, 1e300], [-0.0]),
    types.Bool: ([True, False], [False]),
    types.UnixTimestamp: ([T, BEFORE], [BEFORE]),
    types.Uuid: ([ONE, TWO], [TWO]),
    types.TimeUuid: ([TWO, ONE], [TWO]),
    types.Decimal: ([Exact("1.1"), Exact("2")], [Exact("0")]),
}
OTHERS = {
    Array(types.Map): ([{"a": 1}, {}], [{"b": "x"}]),
    Array(types.Json): (['{"a": 1}'], ["[]", "1"]),
    Array(Struct({"a": types.Int64})): ([{"a": 1}, {"a": 2}], [{"a": 3}]),
    Array(Array(types.Int64)): ([[1, 2], [3]], [[]]),
    Array(Set(types.Int64)): ([[1, 2]], [[3]]),
    Set(Array(types.String)): ([["a", "b"]], [["c"]]),
}
PAIRS = [
    *SCALARS.items(),
    *((Array(t), v) for t, v in LISTS.items()),
    *((Set(t), tuple(map(set, v))) for t, v in LISTS.items()),
    *OTHERS.items(),
]
CASES = {f"f{i}": pair for i, pair in enumerate(PAIRS)}
LISTED = [
    f"f{i}"
    for i, (dtype, _) in enumerate(PAIRS)
    if isinstance(dtype, Array) and dtype.base_type in LISTS
]
IDS = ["full", "mixed", "mixed again", "ended"]


def protos():
    """Of each user a value per field: all; every other one, and its complement; none."""
    rows = {user: {} for user in IDS}
    for i, (name, (dtype, values)) in enumerate(CASES.items()):
        first, second = python_values_to_proto_values(list(values), dtype.to_value_type())
        halves = (second, Value()) if i % 2 else (Value(), second)
        for user, value in zip(IDS, (first, *halves, Value()), strict=True):
            rows[user][name] = value
    return rows


def keys_of(users):
    return [EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=u)]) for u in users]


@pytest.fixture(scope="module")
def ours(tmp_path_factory, redis_url):
    store = make_store(tmp_path_factory.mktemp("ours"), redis_url, "every_type")
    yield filled(store)
    asyncio.run(store.close())


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sqlite")
    return filled(
        feasts_store(folder, "every_type", {"type": "sqlite", "path": str(folder / "online.db")})
    )


def filled(store):
    facts = view("facts", {name: dtype for name, (dtype, _) in CASES.items()})
    register(store, facts)
    rows = protos()
    written = [(key, row, NOW, NOW) for key, row in zip(keys_of(rows), rows.values(), strict=True)]
    store._provider.online_store.online_write_batch(store.config, facts, written, None)
    return store


def asked(store, *, waits=False):
    question = ([f"facts:{name}" for name in CASES], [{"user_id": u} for u in IDS])
    return (
        asyncio.run(awaited(store, question))
        if waits
        else store.get_online_features(*question).to_dict()
    )


async def awaited(store, question):
    return (await store.get_online_features_async(*question)).to_dict()


@pytest.mark.parametrize("waits", [False, True])
def test_values_read_as_from_feasts_own_store(ours, sqlite, waits):
    features, expected = asked(ours, waits=waits), asked(sqlite)
    for name, (dtype, _) in CASES.items():
        assert features[name] == expected[name], dtype
        assert [value is None for value in features[name]] == [
            False,
            int(name[1:]) % 2 == 0,
            int(name[1:]) % 2 == 1,
            True,
        ], dtype


@pytest.mark.parametrize("waits", [False, True])
def test_rows_read_as_they_were_written(ours, waits):
    store, facts = ours._provider.online_store, ours.get_feature_view("facts")
    question = (ours.config, facts, keys_of([*IDS, "never"]))
    rows = (
        asyncio.run(store.online_read_async(*question)) if waits else store.online_read(*question)
    )
    for user, (time, row) in zip(IDS[:3], rows, strict=False):
        assert (time, row) == (NOW, protos()[user]), user
    assert rows[4] == (None, None)


def test_rows_that_are_written_async_are_the_same(ours, redis_url):
    store, facts = ours._provider.online_store, ours.get_feature_view("facts")
    with redis.Redis.from_url(redis_url) as connection:
        before = {key: connection.get(key) for key in connection.scan_iter("every_type:1:*")}
        connection.delete(*before)
        rows, counted = protos(), []
        written = [
            (key, row, NOW, NOW) for key, row in zip(keys_of(rows), rows.values(), strict=True)
        ]
        asyncio.run(store.online_write_batch_async(ours.config, facts, written, counted.append))
        assert (len(before), counted) == (4, [4])
        assert {key: connection.get(key) for key in before} == before


def test_some_features_of_a_row(ours):
    store, facts = ours._provider.online_store, ours.get_feature_view("facts")
    ((_, row),) = store.online_read(ours.config, facts, keys_of(["full"]), ["f5", "f0"])
    assert row == {name: protos()["full"][name] for name in ("f0", "f5")}


def test_an_empty_list_is_a_value(ours):
    """Each list type by its own field; Feast's conversion from Python would make nulls of them."""
    store, facts = ours._provider.online_store, ours.get_feature_view("facts")
    row = {name: Value() for name in CASES}
    for name in LISTED:
        row[name].CopyFrom(protos()["full"][name])
        getattr(row[name], row[name].WhichOneof("val")).ClearField("val")
    store.online_write_batch(ours.config, facts, [(keys_of(["empty"])[0], row, NOW, NOW)], None)
    ((_, values),) = store.online_read(ours.config, facts, keys_of(["empty"]))
    assert {name: values[name].WhichOneof("val") for name in LISTED} == {
        n: row[n].WhichOneof("val") for n in LISTED
    }
    assert values == row
