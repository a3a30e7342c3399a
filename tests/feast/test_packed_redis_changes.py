"""Views that change while processes with older registries run: no value is lost or mixed up."""

import asyncio
import gc
import json
import os
import warnings
from datetime import timedelta

import pytest
import redis
from feast import Field
from feast.types import Array, Float64, Int64, String
from packed_shop import entities_of, make_store, push, read, register, statuses, view

from vidtopics.contracts import VIDEO_STATISTICS, VIEWS
from vidtopics.errors import ContractError, StoreError
from vidtopics.layout import Schema, place
from vidtopics.materialization import StoreWriter
from vidtopics.materialization.switching import Staged, Switch, go_live, next_load
from vidtopics.stores.feast_types import schema_of


@pytest.fixture
def url(redis_url):
    """The address of an empty Redis."""
    with redis.Redis.from_url(redis_url) as connection:
        connection.flushall()
    return redis_url


@pytest.fixture
def store(tmp_path, url):
    """A store with no views yet, on an empty Redis."""
    return make_store(tmp_path, url, "shop")


@pytest.fixture
def old(tmp_path, url):
    """A process whose registry is from before what `store` applies, on the same Redis."""
    (tmp_path / "old").mkdir()
    return make_store(tmp_path / "old", url, "shop")


def writer_of(url):
    return StoreWriter(redis.Redis.from_url(url), prefix="shop", buckets=16)


def registered_alone(old, fields, **options):
    """Enter a view into a registry and leave Redis as it is."""
    facts = view("facts", fields, **options)
    for thing in entities_of(facts):
        old.registry.apply_entity(thing, "shop")
    old.registry.apply_feature_view(facts, "shop")


def values_of(store, ids, key="user_id"):
    return store.get_online_features(["facts:n"], [{key: i} for i in ids]).to_dict()["n"]


# Join keys


def test_no_value_is_read_as_one_of_another_entity(store):
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", [{"user_id": "7", "n": 1}])
    register(store, view("facts", {"n": Int64}, entity="shop", keys=("shop_id",)))
    with pytest.raises(
        StoreError, match="view facts, join keys: expected shop_id in Redis, found user_id"
    ):
        values_of(store, ["7"], "shop_id")
    with pytest.raises(StoreError, match="view facts, join keys"):
        asyncio.run(store.get_online_features_async(["facts:n"], [{"shop_id": "7"}]))
    push(store, "facts", [{"shop_id": "8", "n": 2}])
    assert values_of(store, ["7", "8"], "shop_id") == [None, 2]
    assert statuses(read(store, ["facts:n"], [{"shop_id": "7"}]), "n") == ["NOT_FOUND"]


def test_keys_of_an_entry_from_before_are_taken_from_who_comes_first(store, url):
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", [{"user_id": "7", "n": 1}])
    with redis.Redis.from_url(url) as connection:
        entry = json.loads(connection.hget(place("shop", "views"), "facts"))
        assert entry.pop("keys") == ["user_id"]
        connection.hset(place("shop", "views"), "facts", json.dumps(entry))
        connection.incr(place("shop", "directory"))
    assert values_of(store, ["7"]) == [1]
    push(store, "facts", [{"user_id": "8", "n": 2}])
    assert values_of(store, ["7", "8"]) == [1, 2]
    assert writer_of(url).generations.entries()["facts"].keys == ("user_id",)


def test_both_writers_of_our_views_enter_the_same_keys():
    from feature_repo import feature_views

    assert {name: schema_of(getattr(feature_views, name)).keys for name in VIEWS} == {
        n: Schema.of(t).keys for n, t in VIEWS.items()
    }
    assert Schema.of(VIDEO_STATISTICS).keys == ("video_id",)


# Old registries


def test_a_push_with_fields_from_before_empties_no_view_that_was_loaded_since(store, old, url):
    registered_alone(old, {"n": Int64})
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", [{"user_id": "a", "n": 1}])
    register(store, view("facts", {"n": Float64}))
    push(
        old, "facts", [{"user_id": "a", "n": 2}]
    )  # not loaded yet: the live values are of these fields
    assert values_of(old, ["a"]) == [2]
    push(store, "facts", [{"user_id": "a", "n": 0.5}, {"user_id": "b", "n": 1.5}])
    generation = writer_of(url).generations.entries()["facts"].generation
    with pytest.raises(
        StoreError, match=r"view facts: expected .* found n int64 .*restart this process"
    ):
        push(old, "facts", [{"user_id": "c", "n": 3}])
    assert values_of(store, ["a", "b", "c"]) == [0.5, 1.5, None]
    assert writer_of(url).generations.entries()["facts"].generation == generation


def test_a_push_by_another_key_from_before_empties_no_view(store, old):
    registered_alone(old, {"n": Int64})
    register(store, view("facts", {"n": Int64}, entity="shop", keys=("shop_id",)))
    push(store, "facts", [{"shop_id": "a", "n": 1}])
    with pytest.raises(StoreError, match=r"found n int64 by user_id\. Mend: restart this process"):
        push(old, "facts", [{"user_id": "c", "n": 3}])
    assert values_of(store, ["a"], "shop_id") == [1]


def test_a_push_of_the_first_fields_that_were_applied_may_begin_anew(store, old):
    """The registry is from between two applies; the view was loaded before both."""
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", [{"user_id": "a", "n": 1}])
    registered_alone(old, {"n": Float64})
    register(store, view("facts", {"n": Float64, "m": String}))
    push(old, "facts", [{"user_id": "a", "n": 0.5}])
    push(store, "facts", [{"user_id": "b", "n": 1.5, "m": "x"}])
    assert values_of(store, ["a", "b"]) == [0.5, 1.5]


def test_an_apply_that_is_taken_back_lets_no_one_begin_anew(store, old):
    registered_alone(old, {"n": Float64})
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", [{"user_id": "a", "n": 1}])
    register(store, view("facts", {"n": Float64}))
    register(store, view("facts", {"n": Int64}))
    with pytest.raises(StoreError, match="restart this process"):
        push(old, "facts", [{"user_id": "a", "n": 0.5}])
    assert values_of(store, ["a"]) == [1]


@pytest.mark.parametrize("fields", [{"n": Int64}, {"n": Int64, "last": Int64}])
def test_a_push_leaves_the_ttl_as_it_was_applied(store, old, url, fields):
    registered_alone(old, fields, ttl=timedelta(hours=1))
    register(store, view("facts", {"n": Int64}, ttl=timedelta(hours=9)))
    push(old, "facts", [{"user_id": "a", **dict.fromkeys(fields, 1)}])
    assert writer_of(url).generations.entries()["facts"].ttl_us == 9 * 3_600_000_000


def test_a_ttl_that_comes_with_a_last_field_less_is_applied(store, url):
    register(store, view("facts", {"n": Int64, "m": Int64}, ttl=timedelta(hours=1)))
    register(store, view("facts", {"n": Int64}, ttl=timedelta(hours=9)))
    assert writer_of(url).generations.entries()["facts"].ttl_us == 9 * 3_600_000_000


def test_a_load_from_a_contract_is_not_undone_by_a_push_from_before(store, url):
    """`vidtopics materialize` goes by its contract: no apply has to come before or after it."""
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", [{"user_id": "a", "n": 1}])
    register(store, view("facts", {"n": String}))
    contract = Schema.of(VIDEO_STATISTICS)
    writer = writer_of(url)
    entry = writer.generations.begin("facts", contract, 0)
    make_live(writer.generations, entry, contract)
    with pytest.raises(StoreError, match="restart this process"):
        push(store, "facts", [{"user_id": "a", "n": "x"}])
    live = writer.generations.entries()["facts"]
    assert (live.generation, live.schema) == (entry.generation, contract.hash)


def test_dropping_a_view_forgets_what_was_applied(store, url):
    register(store, view("facts", {"n": Int64}))
    register(store, view("facts", {"n": String}))
    with redis.Redis.from_url(url) as connection:
        assert connection.hkeys(place("shop", "wanted")) == [b"facts"]
        store.teardown()
        assert not connection.exists(place("shop", "wanted"))


def test_first_fields_fit(url):
    """A materialiser from before a field was applied goes on; it doesn't rebuild each time."""
    writer = writer_of(url)
    short = Schema.of(VIDEO_STATISTICS)
    long = Schema((*short.fields, *Schema.of(VIEWS["video_topics"]).fields), short.keys)
    entry = writer.register("facts", long)
    generations = writer.generations
    assert [
        generations.fits(entry, s) for s in (long, short, Schema(short.fields, ("user_id",)))
    ] == [
        True,
        True,
        False,
    ]
    assert not generations.fits(entry, Schema(short.fields[1:], short.keys))


# A rebuild beside a push


@pytest.mark.parametrize("switches", [1, 2])
def test_a_push_that_a_rebuild_overtakes_is_seen_and_leaves_no_key(
    store, url, monkeypatch, switches
):
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", [{"user_id": "a", "n": 1}])
    rebuild(monkeypatch, url, switches)
    push(store, "facts", [{"user_id": "b", "n": 2}, {"user_id": "c", "n": 3}])
    assert values_of(store, ["a", "b", "c"]) == [None, 2, 3]  # the rebuild's table is empty
    with redis.Redis.from_url(url) as connection:
        live = writer_of(url).generations.entries()["facts"].generation
        assert {key.split(b":")[1] for key in connection.scan_iter("shop:[0-9]*")} == {b"%d" % live}


def test_a_push_that_every_rebuild_overtakes_says_so(store, url, monkeypatch):
    register(store, view("facts", {"n": Int64}))
    rebuild(monkeypatch, url, 99)
    with pytest.raises(StoreError, match="view facts: expected a generation that stays"):
        push(store, "facts", [{"user_id": "b", "n": 2}])


def make_live(generations, entry, schema):
    """What a run does that has filled a generation of the view."""
    staged = Staged("facts", entry, schema, "{}", "", True, "")
    go_live(generations, Switch(next_load(generations, 1), 1, 1, [staged], {}))


def rebuild(monkeypatch, url, switches):
    """Rebuilds that switch and sweep between a push's look-up of the generation and its write."""
    load, left = StoreWriter.load, iter(range(switches))

    def overtaken(self, entry, **options):
        if next(left, None) is not None:
            (schema,) = (s for s in self.generations.schemas() if s.hash == entry.schema)
            with writer_of(url)._leased() as leased:
                goal = leased.begin("facts", schema, entry.ttl_us)
                make_live(leased, goal, schema)
                leased.sweep()
        return load(self, entry, **options)

    monkeypatch.setattr(StoreWriter, "load", overtaken)


# Requests and rows that lack something


@pytest.mark.parametrize(
    ("asked", "row", "missing"),
    [
        (
            ["facts:n"],
            {"wrong": "u"},
            "view facts: expected the join key user_id, found no join key",
        ),
        (
            ["facts:n", "shops:m"],
            {"user_id": "u"},
            "view shops: expected the join key shop_id, found user_id",
        ),
        (["pairs:n"], {"left": "1"}, "view pairs: expected the join key right, found left"),
        (
            ["facts:n", "pairs:n"],
            {"left": "1", "user_id": "u"},
            "view pairs: expected the join key right, found left, user_id",
        ),
    ],
)
def test_a_missing_join_key_is_named(store, asked, row, missing):
    shops = view("shops", {"m": Int64}, entity="shop", keys=("shop_id",))
    register(
        store,
        view("facts", {"n": Int64}),
        shops,
        view("pairs", {"n": Int64}, entity="pair", keys=("left", "right")),
    )
    with pytest.raises(KeyError, match=missing):
        store.get_online_features(asked, [row], full_feature_names=True)
    with pytest.raises(StoreError, match=missing):
        asyncio.run(store.get_online_features_async(asked, [row], full_feature_names=True))


def test_slots_of_another_length_are_refused_by_name(store):
    slots = Field(name="slots", dtype=Array(Int64), tags={"width": "2"})
    register(store, view("facts", {"n": Int64, "slots": slots}))
    rows = [{"user_id": "a", "n": 1, "slots": [1, 2]}, {"user_id": "b", "n": 1, "slots": [1, 2, 3]}]
    with pytest.raises(
        ContractError, match="view facts, field slots: expected lists of 2, found one of 3"
    ):
        push(store, "facts", rows)
    with pytest.raises(
        ContractError, match="view facts, field slots: expected lists of 2, found one of 3"
    ):
        push(store, "facts", rows[1:])


# Connections


def test_a_loop_after_another_leaves_no_connection_open(store):
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", [{"user_id": "u", "n": 1}])
    asked = (["facts:n"], [{"user_id": "u"}])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        counts = []
        for _ in range(4):
            assert asyncio.run(store.get_online_features_async(*asked)).to_dict()["n"] == [1]
            gc.collect()
            counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[-1] <= counts[0]


def test_two_loops_that_take_turns_keep_their_connections(store):
    """Each loop has a client of its own; neither closes the other's."""
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", [{"user_id": "u", "n": 1}])
    online = store._provider.online_store
    loops = [asyncio.new_event_loop() for _ in range(2)]

    async def client():
        return online._async_client(store.config)

    async def one():
        return (await store.get_online_features_async(["facts:n"], [{"user_id": "u"}])).to_dict()[
            "n"
        ]

    first = [loop.run_until_complete(client()) for loop in loops]
    assert [loop.run_until_complete(one()) for loop in loops * 2] == [[1]] * 4
    assert [loop.run_until_complete(client()) for loop in loops] == first
    assert first[0] is not first[1]
    for loop in loops:
        loop.run_until_complete(store.close())
        loop.close()


def test_closing_a_store_closes_both_clients_and_it_may_be_used_again(store, url):
    register(store, view("facts", {"n": Int64}))
    push(store, "facts", [{"user_id": "u", "n": 1}])
    named = f"{url}?client_name=closing"
    store.config.online_store.url = named
    store._provider.online_store._connected = None
    sync = store._provider.online_store._client(
        store.config
    )  # held, as nothing else would close it than close()

    async def all_of():
        await store.get_online_features_async(["facts:n"], [{"user_id": "u"}])
        assert values_of(store, ["u"]) == [1]
        with redis.Redis.from_url(url) as admin:
            before = sum(c["name"] == "closing" for c in admin.client_list())
            await store.close()
            return before, sum(c["name"] == "closing" for c in admin.client_list())

    assert asyncio.run(all_of()) == (2, 0)
    assert store._provider.online_store._client(store.config) is not sync
    assert values_of(store, ["u"]) == [1]
