"""The sync and the async client against a real Valkey: one server, and a cluster of three."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_store import TOPICS, put, value

from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.errors import ContractError, StoreError
from vidtopics.layout import Directory, Field, Schema
from vidtopics.materialization import StoreWriter
from vidtopics.online import AsyncOnlineClient, Features, OnlineClient, Status
from vidtopics.online.connections import Connection
from vidtopics.online.requests import Request

LONGER = Schema((*TOPICS.fields, Field("score", "float32", "scalar", "float32", pad=-1)))
P, M = int(Status.PRESENT), int(Status.NOT_FOUND)


class Reader(Protocol):
    """What the sync and the async client have in common."""

    def read(self, view: str, ids: Any, names: list[str] | None = None) -> Features: ...
    def read_views(self, views: list[str], ids: Any) -> dict[str, Features]: ...


class Waiting:
    """An async client, each of whose reads is waited for."""

    def __init__(self, client: AsyncOnlineClient, loop: asyncio.AbstractEventLoop) -> None:
        self.client, self.loop = client, loop

    def read(self, *arguments: Any, **named: Any) -> Features:
        return self.loop.run_until_complete(self.client.read(*arguments, **named))

    def read_views(self, *arguments: Any) -> dict[str, Features]:
        return self.loop.run_until_complete(self.client.read_views(*arguments))


Readers = Callable[..., Reader]


on_one_server = pytest.mark.parametrize("store", ["server"], indirect=True)


@pytest.fixture(params=["server", "cluster"])
def store(
    request: pytest.FixtureRequest, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> Connection:
    monkeypatch.setattr(
        "vidtopics.materialization.generations.CLUSTER_GRACE_S", 0
    )  # no read is under way here
    return store if request.param == "server" else request.getfixturevalue("cluster_store")


@pytest.fixture(params=["sync", "async"])
def reader(request: pytest.FixtureRequest, store: Connection) -> Iterator[Readers]:
    """`reader(prefix="vt")`: a client of the test's store."""
    url = request.getfixturevalue("cluster" if isinstance(store, redis.RedisCluster) else "valkey")
    if request.param == "sync":
        yield lambda prefix="vt": OnlineClient.from_url(url, prefix=prefix, timeout_s=20)
        return
    loop, made = asyncio.new_event_loop(), []

    def make(prefix: str = "vt") -> Waiting:
        made.append(AsyncOnlineClient.from_url(url, prefix=prefix, timeout_s=20))
        return Waiting(made[-1], loop)

    yield make
    for client in made:
        loop.run_until_complete(client.aclose())
    loop.close()


def commands(store: redis.Redis) -> dict[str, int]:
    """How often each command ran since CONFIG RESETSTAT, without those of this test."""
    counts = {
        name.removeprefix("cmdstat_"): s["calls"] for name, s in store.info("commandstats").items()
    }
    return {
        name: n for name, n in counts.items() if name.partition("|")[0] not in ("config", "info")
    }


def test_every_status_from_a_store(
    store: Connection, reader: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = put(store, {"present": value(1), "cut": value(4)}, ttl_us=40, event_us=60)
    put(store, {"ended": None}, ttl_us=40, event_us=60)
    put(store, {"old": value(3)}, ttl_us=40, event_us=59)
    store.setrange(space.of([b"cut"])[0], 60, b"more")
    monkeypatch.setattr("vidtopics.online.requests.time", SimpleNamespace(time_ns=lambda: 100_999))
    ids = ["present", "ended", "unknown", "old", "cut"]
    features = reader().read("topics", ids)
    assert [Status(s).name for s in features.status] == [
        "PRESENT",
        "NULL",
        "NOT_FOUND",
        "OUTSIDE_MAX_AGE",
        "UNREADABLE",
    ]
    monkeypatch.setattr("vidtopics.online.requests.time", SimpleNamespace(time_ns=lambda: 101_000))
    assert reader().read("topics", ids[:1]).status.tolist() == [
        Status.OUTSIDE_MAX_AGE
    ]  # 60 < 100 - 40


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["a", "ü", "日本", "a b:{1}", "\x00", "unknown", ""]), max_size=12))
def test_rows_stand_in_the_order_asked_for_each_as_often_as_asked(
    store: Connection, reader: Readers, ids: list[str]
) -> None:
    numbers = {"a": 1, "ü": 2, "日本": 3, "a b:{1}": 4, "\x00": 5}
    put(store, {i: value(n) for i, n in numbers.items()})
    features = reader().read("topics", ids)
    assert features["topic_count"].tolist() == [numbers.get(i, 0) for i in ids]
    assert features.status.tolist() == [P if i in numbers else M for i in ids]
    assert features["topic_ids"].shape == (len(ids), 2)


@pytest.mark.parametrize(
    ("ids", "value_text"),
    [
        (["v", 7], r"7 \(int\)"),
        ([b"v"], r"b'v' \(bytes\)"),
        ([None], r"None \(NoneType\)"),
        ("v1", r"'v1' \(str\)"),
        (np.array([1, 2]), r"1\S* \(int64\)"),
    ],
)
def test_ids_that_are_no_strings_are_named(
    store: Connection, reader: Readers, ids: Any, value_text: str
) -> None:
    put(store, {"v": value(1)})
    with pytest.raises(
        TypeError,
        match=f"ids: expected a list of strings, found .*{value_text}. Mend: (pass|leave) ",
    ):
        reader().read("topics", ids)


def test_ids_of_numpy_are_strings(store: Connection, reader: Readers) -> None:
    put(store, {"v": value(1)})
    assert reader().read("topics", np.array(["v", "w"])).status.tolist() == [P, M]


@on_one_server
def test_many_ids_of_two_views_are_one_command(store: Connection, reader: Readers) -> None:
    put(store, {"a": value(1), "b": value(2)})
    put(store, {"b": value(20), "c": value(30)}, view="more")
    client = reader()
    client.read("topics", [])
    store.config_resetstat()
    features = client.read_views(["more", "topics", "more"], ["a", "b", "c"])
    assert commands(store) == {"mget": 1}
    assert list(features) == ["more", "topics"]
    assert features["topics"]["topic_count"].tolist() == [1, 2, 0]
    assert features["more"]["topic_count"].tolist() == [0, 20, 30]
    assert client.read_views([], ["a"]) == {}


def test_names_choose_fields(store: Connection, reader: Readers) -> None:
    put(store, {"a": value(1)})
    features = reader().read("topics", ["a"], names=["label"])
    assert (features.names, features["label"].tolist()) == (("label",), ["topic 1"])


def test_weights_and_vectors_in_half_precision(store: Connection, reader: Readers) -> None:
    """1/3 is 1365/4096 in half precision (11 bits); a row is 8 x 2 bytes shorter than 132."""
    narrow = tuple(
        replace(c, wire="float16") if c.name == "topic_weights" else c for c in VIDEO_TOPICS.columns
    )
    topics = Schema.of(replace(VIDEO_TOPICS, columns=narrow))
    weights = [1 / 3, 0.25, *[0.0] * 6]
    row = {
        "topic_ids": [7, 3, *[-1] * 6],
        "topic_weights": weights,
        "parent_topic_ids": [1, 1, *[-1] * 6],
        "topic_count": 2,
        "below_threshold": False,
        "topic_epoch": 1,
    }
    space = put(store, {"a": row}, schema=topics)
    assert store.strlen(space.of([b"a"])[0]) == topics.row.itemsize == 132 - 8 * 2
    features = reader().read("topics", ["a", "b"])
    assert features["topic_weights"].dtype == np.float32
    assert features["topic_weights"].tolist() == [[1365 / 4096, 0.25, *[0.0] * 6], [0.0] * 8]
    wide = Schema((Field("z", "float32", "vector", "float16"),))
    space = put(store, {"a": {"z": [1 / 3] * 64}}, schema=wide, view="vectors")
    assert store.strlen(space.of([b"a"])[0]) == 29 + 1 + 4 + 64 * 2  # header, nulls, end, vector
    assert reader().read("vectors", ["a"])["z"].tolist() == [[1365 / 4096] * 64]
    with pytest.raises(
        ContractError, match="z, row 0: expected numbers that fit float16, found 70000"
    ):
        put(store, {"a": {"z": [7e4]}}, schema=wide, view="vectors")


def test_a_client_that_lives_long_notices_new_fields_and_views(
    store: Connection, reader: Readers
) -> None:
    put(store, {"a": value(1), "b": value(2)})
    client = reader()
    assert client.read("topics", ["a"]).names == ("topic_ids", "topic_count", "label")
    put(store, {"a": {**value(3), "score": 0.5}}, schema=LONGER, created_us=2)
    features = client.read("topics", ["a", "b"])
    assert features["score"].tolist() == [0.5, -1]
    assert features["topic_count"].tolist() == [3, 2]
    with pytest.raises(
        StoreError, match="Redis, prefix 'vt': expected the view more, found topics"
    ):
        client.read("more", ["a"])
    put(store, {"a": value(9)}, view="more")
    assert client.read("more", ["a"])["topic_count"].tolist() == [9]


class OlderDirectory:
    """A cache whose directory another thread replaces at once by an older one."""

    first: Directory | None = None

    @property
    def directory(self) -> Directory | None:
        return self.first

    @directory.setter
    def directory(self, directory: Directory | None) -> None:
        self.first = self.first or directory


@on_one_server
@pytest.mark.parametrize("of", [OnlineClient, AsyncOnlineClient])
def test_a_new_view_is_found_whatever_directory_other_threads_put_in_place(
    store: redis.Redis, request: pytest.FixtureRequest, of: Any
) -> None:
    put(store, {"a": value(1)})

    async def read() -> list[int]:
        client = of.from_url(request.getfixturevalue("valkey"), timeout_s=20)
        client._cache = OlderDirectory()
        awaited = isinstance(client, AsyncOnlineClient)

        async def count(view: str) -> int:
            features = client.read(view, ["a"])
            return int((await features if awaited else features)["topic_count"][0])

        first = await count("topics")
        put(store, {"a": value(2)}, view="more")
        counts = [first, await count("more")]
        await client.aclose() if awaited else client.close()
        return counts

    assert asyncio.run(read()) == [1, 2]


def test_a_ttl_that_changes_is_followed(store: Connection, reader: Readers) -> None:
    put(store, {"a": value(1)})
    client = reader()
    assert client.read("topics", ["a"]).present.all()
    StoreWriter(store).register("topics", TOPICS, ttl_us=10)
    assert client.read("topics", ["a"]).status.tolist() == [Status.OUTSIDE_MAX_AGE]


@on_one_server
def test_news_between_two_reads_cost_one_more_round(store: Connection, reader: Readers) -> None:
    put(store, {"a": value(1)})
    client = reader()
    client.read("topics", ["a"])
    put(store, {}, view="more")
    store.config_resetstat()
    client.read("topics", ["a"])
    client.read("topics", ["a"])
    assert commands(store)["mget"] == 3  # one that found news, its repetition, and the next read


def test_what_is_not_there_is_said(store: Connection, reader: Readers) -> None:
    mend = r"Mend: load it \(`vidtopics materialize` or `feast materialize`\), or name its prefix"
    with pytest.raises(
        StoreError, match=f"Redis, prefix 'vt': expected a store, found nothing. {mend}"
    ):
        reader().read("topics", ["a"])
    put(store, {"a": value(1)})
    put(store, {"a": value(1)}, view="more")
    with pytest.raises(
        StoreError, match=f"Redis, prefix 'vt': expected the view wrong, found .*topics.* {mend}"
    ):
        reader().read_views(["topics", "wrong"], ["a"])
    with pytest.raises(StoreError, match="Redis, prefix 'v': expected a store, found nothing"):
        reader("v").read("topics", ["a"])


def test_a_view_of_several_join_keys_is_refused(store: Connection, reader: Readers) -> None:
    """Feast serializes such keys: plain ids would never match. Views of one key are read."""
    put(store, {"a": value(1)})
    put(
        store, {"a": value(1)}, view="pairs", schema=replace(TOPICS, keys=("driver_id", "rider_id"))
    )
    client = reader()
    with pytest.raises(
        StoreError, match="view pairs: expected one join key, found driver_id, rider_id"
    ):
        client.read_views(["topics", "pairs"], ["a"])
    assert client.read("topics", ["a"]).present.tolist() == [True]


def test_a_store_that_is_emptied_is_noticed(store: Connection, reader: Readers) -> None:
    put(store, {"a": value(1)})
    client = reader()
    client.read("topics", ["a"])
    store.flushall()
    with pytest.raises(StoreError, match="expected a store, found nothing"):
        client.read("topics", ["a"])


def test_a_value_copied_to_another_id_or_view_is_unreadable(
    store: Connection, reader: Readers
) -> None:
    """The fingerprint is of view and id: no row is taken for another's."""
    topics_space, more_space = put(store, {"a": value(1)}), put(store, {"x": value(2)}, view="more")
    (key,) = topics_space.of([b"a"])
    store.set(topics_space.of([b"b"])[0], store.get(key))
    store.set(more_space.of([b"a"])[0], store.get(key))
    features = reader().read_views(["topics", "more"], ["a", "b"])
    assert features["topics"].status.tolist() == [P, Status.UNREADABLE]
    assert features["more"].status.tolist() == [Status.UNREADABLE, M]


def test_prefixes_of_which_one_begins_the_other_share_nothing(
    store: Connection, reader: Readers
) -> None:
    for n, prefix in enumerate(["vt", "vt2", "v", "vt.1"]):
        put(store, {"a": value(n), "b": value(n)}, prefix=prefix)
        put(store, {"a": value(50 + n)}, prefix=prefix, view="more")
    StoreWriter(store, prefix="vt").drop("topics")
    for n, prefix in ((1, "vt2"), (2, "v"), (3, "vt.1")):
        assert reader(prefix).read("topics", ["a", "b"])["topic_count"].tolist() == [n, n]
    assert reader().read("more", ["a"])["topic_count"].tolist() == [50]
    with pytest.raises(StoreError, match="expected the view topics, found more"):
        reader().read("topics", ["a"])


@on_one_server
def test_a_directory_that_changes_during_the_read_is_read_again(
    store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, {"a": value(1)})
    client, real, calls = OnlineClient(store), Request.of, []

    def of(directory: Any, parts: Any) -> Request:
        calls.append(directory.version)
        if len(calls) == 1:  # after the directory was read, before the values are
            put(store, {"a": {**value(2), "score": 0.5}}, schema=LONGER, created_us=2)
        return real(directory, parts)

    monkeypatch.setattr(Request, "of", of)
    features = client.read("topics", ["a"])
    assert (features["topic_count"].tolist(), features["score"].tolist()) == ([2], [0.5])
    assert calls == [calls[0], calls[0] + 1]


def test_a_field_that_no_view_has_is_told(store: Connection, reader: Readers) -> None:
    put(store, {"v1": value(1)})
    with pytest.raises(StoreError, match="expected the field nope, found"):
        reader().read("topics", ["v1"], [TOPICS.fields[0].name, "nope"])


@on_one_server
def test_values_of_a_schema_that_came_after_the_directory_are_read(
    store: Connection, reader: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster the version's node may answer before the change, a value's after it."""
    put(store, {"a": value(1)})
    client = reader()
    client.read("topics", ["a"])
    put(store, {"a": value(2) | {"score": 0.5}}, schema=LONGER, event_us=2)
    real, seen = Request.stale, []
    monkeypatch.setattr(
        Request, "stale", lambda *a: (bool(seen) and real(*a)) or bool(seen.append(1))
    )
    assert client.read("topics", ["a"])["score"].tolist() == [0.5]
