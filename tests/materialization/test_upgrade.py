"""A prefix of layout 1 comes to layout 2 by copies and one switch, and nothing of it is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from online_home import OnlineHome, lease_ends

from vidtopics.failpoints import Crash, armed
from vidtopics.layout import Layout, place
from vidtopics.materialization.generations import Generations
from vidtopics.materialization.lock import hold
from vidtopics.materialization.upgrade import upgrade
from vidtopics.online import Catalogue, OnlineClient
from vidtopics.settings import OnlineSettings

SETTINGS = OnlineSettings()


def answers(store: Any) -> list[Any]:
    """All that the sample has."""
    client = OnlineClient(store)
    topics = client.read("topics", ["a", "gone", "b", "nobody"])
    return [
        topics.status.tolist(),
        topics["topic_ids"].tolist(),
        topics["label"].tolist(),
        topics.event_us.tolist(),
        topics.created_us.tolist(),
        client.read("vectors", [f"v{i}" for i in range(5)])["vector"].tolist(),
        client.read("numbers", [f"v{i}" for i in range(20)])["n"].tolist(),
        client.catalogue(),
        client.queues([5, 7, 9], epoch=2, limit=9),
    ]


@pytest.mark.parametrize("topology", ["single", "cluster"])
def test_all_that_layout_1_had_is_read_from_layout_2(
    request: pytest.FixtureRequest,
    topology: str,
    restore_layout1: Callable[[Any], None],
) -> None:
    store = request.getfixturevalue("store" if topology == "single" else "cluster_store")
    restore_layout1(store)
    before, reader = answers(store), OnlineClient(store)
    reader.read("numbers", ["v1"])
    with hold(store, "vt") as lease:
        assert upgrade(lease, 16)
        assert not upgrade(lease, 16)
    assert store.get(place("vt", "layout")) == Layout(16).to_json().encode()
    assert answers(store) == before
    assert reader.read("numbers", ["v1"])["n"].tolist() == [1]  # one that was open
    assert reader.catalogue() == Catalogue(2, (7, 5))
    generations = Generations(store, "vt", 16)
    entry = generations.entries()["numbers"]
    assert {str(mark) for mark in generations.watermarks(entry)} == {"3 2 table"}


def test_an_upgrade_that_dies_leaves_layout_1_and_is_made_again(
    store: redis.Redis,
    restore_layout1: Callable[[Any], None],
) -> None:
    restore_layout1(store)
    before = answers(store)
    with armed("materialize.staged"), pytest.raises(Crash), hold(store, "vt") as lease:
        upgrade(lease, 16)
    assert answers(store) == before
    assert json.loads(store.get(place("vt", "layout")) or b"")["layout"] == 1
    lease_ends(store)
    with hold(store, "vt") as lease:
        upgrade(lease, 16)
        Generations(store, "vt", 16, lease).sweep()
    assert answers(store) == before
    assert {k.split(b":")[1] for k in store.scan_iter(match="vt:[0-9]*")} == {b"3"}


def test_the_next_run_brings_layout_1_to_layout_2_and_goes_on(
    store: redis.Redis,
    tmp_path: Path,
    restore_layout1: Callable[[Any], None],
) -> None:
    restore_layout1(store)
    before = answers(store)
    home = OnlineHome(tmp_path)
    home.statistics(("a", 1, 1, 10))
    home.queues({5: ["a"]}, epoch=3)
    home.release()
    home.run(store, SETTINGS)
    assert answers(store)[:7] == before[:7]  # what the home doesn't have stays
    client = OnlineClient(store)
    assert client.read("video_statistics", ["a"])["video_exposures"].tolist() == [10]
    assert client.queues([5], epoch=3, limit=9) == [["a"]]
    tags = set(Layout(16).tags)
    kinds = ("vt:[0-9]*", "vt:clicks:*", "vt:queue:*", "vt:lists:*")
    keys = [key for kind in kinds for key in store.scan_iter(match=kind)]
    assert {key.partition(b"{")[2].partition(b"}")[0].decode() for key in keys} <= tags
    assert not list(store.scan_iter(match="vt:clicks:*"))  # a view now
    assert not store.exists(place("vt", "layout1"))
