"""A Feast repo beside homes: whose prefix it is, and how `feast apply` leaves layout 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from feast.types import Int64
from packed_shop import make_store, push, read, register, view

from benchmarks.homes import release_tables
from vidtopics.contracts import VIDEO_STATISTICS
from vidtopics.errors import StoreError
from vidtopics.layout import Layout, place
from vidtopics.materialization import materialize
from vidtopics.online import OnlineClient
from vidtopics.settings import OnlineSettings
from vidtopics.tables import Commit, Tables
from vidtopics.tables.deltalake_engine import append, counted
from vidtopics.tables.schemas import arrow_schema

SETTINGS = OnlineSettings(prefix="shop")


def home(folder: Path, exposures: int) -> Tables:
    """A home with one released video."""
    import pyarrow as pa

    tables = Tables(folder)
    row: dict[str, Any] = {
        "video_id": "v1",
        "video_exposures": exposures,
        "video_clicks": 1,
    }
    times = {"event_timestamp": 1, "created_timestamp": 1, "value_hash": 1}
    rows = pa.Table.from_pylist([row | times], arrow_schema(VIDEO_STATISTICS))
    commit = counted(Commit("by hand", 1, 1), 1, rows["created_timestamp"].cast(pa.int64()))
    delta = tables.delta(VIDEO_STATISTICS, create=True)
    append(VIDEO_STATISTICS, delta, iter(rows.to_batches()), commit)
    release_tables(tables, as_of_us=1, created_us=1, settings="s")
    return tables


def test_a_repo_has_no_home_and_a_home_that_loads_its_prefix_owns_it(
    store: redis.Redis, valkey: str, tmp_path: Path
) -> None:
    shop = make_store(tmp_path, valkey, "shop")
    register(shop, view("facts", {"n": Int64}))
    push(shop, "facts", [{"user_id": "a", "n": 1}])
    assert not store.exists(place("shop", "owner"))
    materialize(home(tmp_path / "ours", 7), store, SETTINGS)
    with pytest.raises(StoreError, match=r"the keys of the home .*other.*, found those of .*ours"):
        materialize(home(tmp_path / "other", 9), store, SETTINGS)
    push(shop, "facts", [{"user_id": "b", "n": 2}])  # a repo asks nobody
    rows = read(shop, ["facts:n"], [{"user_id": "a"}, {"user_id": "b"}])
    assert [v.int64_val for v in rows.results[-1].values] == [1, 2]
    client = OnlineClient(store, prefix="shop")
    assert client.read("video_statistics", ["v1"])["video_exposures"].tolist() == [7]


def test_apply_brings_a_prefix_of_layout_1_to_layout_2(
    store: redis.Redis,
    valkey: str,
    tmp_path: Path,
    restore_layout1: Callable[[Any], None],
) -> None:
    restore_layout1(store)
    repo = make_store(tmp_path, valkey, "vt")
    register(repo, view("facts", {"n": Int64}))
    assert store.get(place("vt", "layout")) == Layout(16).to_json().encode()
    push(repo, "facts", [{"user_id": "a", "n": 1}])
    client = OnlineClient(store)
    assert client.read("numbers", ["v7", "v8"])["n"].tolist() == [7, 8]
    assert {key.split(b":")[1] for key in store.scan_iter(match="vt:[0-9]*")} == {b"1", b"2"}
