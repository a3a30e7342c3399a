"""Numbers of views and versions are used once; a writer of an old registry removes nothing."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import redis
from online_home import OnlineHome

from vidtopics.layout import Field, Schema, ViewEntry, encode
from vidtopics.materialization import StoreWriter
from vidtopics.online import OnlineClient, Status

OLD = Schema((Field("n", "int64", "scalar", "int64"),))
NEW = Schema((*OLD.fields, Field("m", "int64", "scalar", "int64")))
IDS = [f"v{i}" for i in range(1_000)]


def put(
    store: redis.Redis, view: str, schema: Schema, rows: dict[str, int], *, at: int = 1
) -> ViewEntry:
    """Register, then write by the known schema, as Feast does; every field has the same number."""
    writer = StoreWriter(store, buckets=3)
    entry = writer.register(view, schema)
    load, ids = writer.load(entry), [i.encode() for i in rows]
    columns = {f.name: np.array(list(rows.values())) for f in schema.fields}
    times = [at] * len(ids)
    marks = load.space.fingerprints(ids)
    load.add(ids, encode(schema, columns, fingerprints=marks, event_us=times, created_us=times))
    assert load.finish() == len(ids)
    return entry


def test_a_push_from_before_fields_were_added_takes_nothing_away(store: redis.Redis) -> None:
    entry = put(store, "view", NEW, dict.fromkeys(IDS, 7))
    version = store.get("vt:{directory}:directory")
    assert put(store, "view", OLD, {"v3": 8}, at=2) == entry
    features = OnlineClient(store).read("view", IDS)
    assert (features.status == Status.PRESENT).all()
    assert features["n"].tolist() == [8 if i == "v3" else 7 for i in IDS]
    assert features["m"].tolist() == [0 if i == "v3" else 7 for i in IDS]
    assert (
        int(store.get("vt:{directory}:directory")) == int(version) + 1
    )  # so that readers come to know the old schema
    put(store, "view", OLD, {"v3": 9}, at=3)
    assert int(store.get("vt:{directory}:directory")) == int(version) + 1


def test_a_reader_that_is_open_reads_what_an_old_registry_pushed(store: redis.Redis) -> None:
    put(store, "view", NEW, {"a": 7})
    client = OnlineClient(store)
    assert client.read("view", ["a"])["m"].tolist() == [7]
    put(store, "view", OLD, {"a": 8}, at=2)
    features = client.read("view", ["a"])
    assert (features["n"].tolist(), features["m"].tolist(), features.status.tolist()) == (
        [8],
        [0],
        [Status.PRESENT],
    )


def test_a_number_is_not_given_again_after_a_drop(store: redis.Redis) -> None:
    put(store, "one", OLD, {"a": 1})
    two = put(store, "two", OLD, {"a": 2})
    StoreWriter(store, buckets=3).drop("two")
    again = put(store, "three", OLD, {"b": 3})
    assert (two.number, again.number, again.generation) == (2, 3, 1)
    late = StoreWriter(store, buckets=3).load(two)  # of a writer that had registered before
    late.add(
        [b"a"],
        encode(
            OLD,
            {"n": [2]},
            fingerprints=late.space.fingerprints([b"a"]),
            event_us=[9],
            created_us=[9],
        ),
    )
    late.finish()
    assert OnlineClient(store).read("three", ["a"]).status.tolist() == [Status.NOT_FOUND]


def test_views_registered_after_the_directory_was_lost_have_other_numbers(
    store: redis.Redis,
) -> None:
    """Its node came back empty; the values lie on others."""
    put(store, "a", OLD, {"x": 1, "only in a": 1}, at=9)
    put(store, "b", OLD, {"x": 2}, at=5)
    store.delete(*store.keys("vt:{directory}:*"))
    before = int(time.time())
    first = put(store, "b", OLD, {"x": 2}, at=5)
    second = put(store, "a", OLD, {"x": 1}, at=9)
    assert before <= first.number <= time.time() + 1
    assert (second.number, first.generation) == (first.number + 1, 1)
    features = OnlineClient(store).read("b", ["x", "only in a"])
    assert (features.status.tolist(), features["n"].tolist()) == (
        [Status.PRESENT, Status.NOT_FOUND],
        [2, 0],
    )


@pytest.mark.parametrize("lost", ["all", "the directory"])
def test_an_open_reader_notices_that_everything_was_written_anew(
    store: redis.Redis, lost: str
) -> None:
    """The other way round: under the numbers that it knows there lie, or lay, other views."""
    put(store, "a", OLD, {"x": 1})
    put(store, "b", OLD, {"x": 2})
    client = OnlineClient(store)
    assert client.read("b", ["x"])["n"].tolist() == [2]
    if lost == "all":
        store.flushall()
    else:
        store.delete(*store.keys("vt:{directory}:*"))
    put(store, "b", OLD, {"x": 4})
    put(store, "a", OLD, {"x": 3})
    assert client.read("b", ["x"])["n"].tolist() == [4]
    assert client.read("a", ["x"])["n"].tolist() == [3]


def test_a_run_after_the_directory_was_lost_fills_all_again(
    store: redis.Redis, tmp_path: Path
) -> None:
    home = OnlineHome(tmp_path)
    home.statistics(("a", 1, 1, 10), ("b", 1, 1, 20))
    home.topics(("a", 1, 1, 3))
    home.release()
    home.run(store)
    store.delete(*store.keys("vt:{directory}:*"))
    assert {name: moved.written for name, moved in home.run(store).items()} == {
        "video_statistics": 2,
        "video_topics": 1,
    }
    assert OnlineClient(store).read("video_statistics", ["a", "b"])["video_exposures"].tolist() == [
        10,
        20,
    ]
