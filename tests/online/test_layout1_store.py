"""A store that commit ada0568 wrote in layout 1 (`layout1_store.json`) is read as ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from vidtopics.errors import StoreError
from vidtopics.layout import Layout, Structures
from vidtopics.materialization import StoreWriter
from vidtopics.online import Catalogue, OnlineClient, Status
from vidtopics.online.connections import Connection


@pytest.fixture(params=["server", "cluster"])
def store(
    request: pytest.FixtureRequest,
    store: redis.Redis,
    restore_layout1: Callable[[Any], None],
) -> Connection:
    connection = store if request.param == "server" else request.getfixturevalue("cluster_store")
    restore_layout1(connection)
    return connection


def test_values_of_layout_1_are_read(store: Connection) -> None:
    client = OnlineClient(store)
    topics = client.read("topics", ["a", "gone", "b", "nobody"])
    assert topics.status.tolist() == [
        Status.PRESENT,
        Status.NULL,
        Status.PRESENT,
        Status.NOT_FOUND,
    ]
    assert topics["topic_ids"].tolist() == [[1, -1], [-1, -1], [2, -1], [-1, -1]]
    assert topics["label"].tolist() == ["topic 1", None, "topic 2", None]
    assert topics.event_us.tolist() == [17 * 10**14] * 3 + [0]
    assert topics.created_us.tolist() == [17 * 10**14 + 1] * 3 + [0]
    vectors = client.read("vectors", ["v0", "v4"])
    assert vectors["vector"].tolist() == [[0, 1, 2], [4, 5, 6]]
    numbers = client.read("numbers", [f"v{i}" for i in range(20)])
    assert numbers["n"].tolist() == list(range(20))


def test_lists_of_layout_1_are_read_by_their_epoch(store: Connection) -> None:
    client = OnlineClient(store)
    assert client.catalogue() == Catalogue(2, (7, 5))
    assert client.queues([5, 7, 9], epoch=2, limit=9) == [["a", "b"], ["b"], []]
    assert client.queues([5], epoch=1, limit=9) == [[]]


def test_a_writer_of_layout_1_that_is_still_at_work_is_followed(store: Connection) -> None:
    """It swaps lists without a new version of the directory."""
    client = OnlineClient(store)
    assert client.catalogue() == Catalogue(2, (7, 5))
    names = Structures("vt", Layout(16, version=1))
    store.rename(names.queue(2, 5), names.queue(3, 5))
    store.hset("vt:{directory}:structures", "topic_queues", '{"epoch":3,"topics":[5]}')
    assert client.catalogue() == Catalogue(3, (5,))
    assert client.queues([5], epoch=3, limit=9) == [["a", "b"]]


def test_a_writer_of_this_layout_leaves_it_as_it_is(store: Connection) -> None:
    before = {key: store.dump(key) for key in store.scan_iter()}
    with pytest.raises(StoreError, match=r"expected layout 2 with 16 .*, found layout 1 with 16"):
        StoreWriter(store)
    assert {key: store.dump(key) for key in store.scan_iter()} == before
