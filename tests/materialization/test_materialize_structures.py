"""Topic queues: lists that change as wholes, and none left behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from online_home import KEEP, SETTINGS, OnlineHome, dying_at, lease_ends, stages

from vidtopics.failpoints import Crash
from vidtopics.layout import Layout, Structures
from vidtopics.materialization import switching
from vidtopics.materialization.generations import Generations
from vidtopics.online import Catalogue, OnlineClient

NAMES = Structures(SETTINGS.prefix, Layout(SETTINGS.buckets))


@pytest.fixture
def home(tmp_path: Path) -> OnlineHome:
    return OnlineHome(tmp_path)


def lists(store: redis.Redis) -> dict[bytes, list[bytes]]:
    """What follows the bucket in the key of each queue, and the queue."""
    return {k.split(b"}")[1]: store.lrange(k, 0, -1) for k in store.scan_iter(match="vt:queue:*")}


def moved(home: OnlineHome, store: redis.Redis, name: str, **options: bool) -> tuple[int, int]:
    """Rows read and lists written or dropped, in a new release."""
    home.release()
    report = home.run(store, **options)[name]
    return report.read, report.written


def test_queues_keep_positions_and_topics_come_by_falling_clicks(
    home: OnlineHome, store: redis.Redis
) -> None:
    # clicks, 10 exposures a video at CTR 0.5: topic 7 has 15, topics 3 and 9 have 10 each, 4 has 5
    home.queues({4: ["v1"], 9: ["v3", "v2"], 3: ["ü", "v1"], 7: ["c", "a", "b"]}, epoch=2)
    assert moved(home, store, "topic_queues") == (8, 4)
    client = OnlineClient(store)
    assert client.catalogue() == Catalogue(2, (7, 3, 9, 4))
    assert client.queues([3, 4, 7, 9], epoch=2, limit=99) == [
        ["ü", "v1"],
        ["v1"],
        ["c", "a", "b"],
        ["v3", "v2"],
    ]


def test_queues_of_parents_the_catalogue_and_fresh_videos(
    home: OnlineHome, store: redis.Redis
) -> None:
    """Parent 8 has 15 clicks, of which 5 lie in its fresh video; parent 6 has 5."""
    home.queues({1: ["a"], "p6": ["b"], "p8": ["b", "c"], "p8:fresh": ["d"], "all": ["c", "a"]})
    assert moved(home, store, "topic_queues") == (7, 5)
    client = OnlineClient(store)
    assert client.catalogue() == Catalogue(1, (1,), (8, 6), (15.0, 5.0), (5.0, 5.0))
    assert client.queues(["p8", "p8:fresh", "all", "p9", 1], epoch=1, limit=9) == [
        ["b", "c"],
        ["d"],
        ["c", "a"],
        [],
        ["a"],
    ]


def test_a_topic_that_vanished_has_no_list(home: OnlineHome, store: redis.Redis) -> None:
    home.queues({1: ["a"], 2: ["b"]})
    moved(home, store, "topic_queues")
    home.queues({2: ["b", "c"], 3: ["d"]})
    moved(home, store, "topic_queues")
    assert lists(store) == {b"2": [b"b", b"c"], b"3": [b"d"]}
    home.queues({})
    assert moved(home, store, "topic_queues") == (0, 0)
    assert (lists(store), OnlineClient(store).catalogue().topics) == ({}, ())


def test_another_epoch_takes_the_place_of_the_old_one(home: OnlineHome, store: redis.Redis) -> None:
    home.queues({1: ["a"], 2: ["b"]}, epoch=1)
    moved(home, store, "topic_queues")
    home.queues({2: ["c"]}, epoch=2)
    moved(home, store, "topic_queues")
    client = OnlineClient(store)
    assert client.queues([1, 2], epoch=1, limit=9) == [[], []]
    assert client.queues([1, 2], epoch=2, limit=9) == [[], ["c"]]
    assert client.catalogue() == Catalogue(2, (2,))


def test_readers_stay_with_the_old_epoch_until_the_new_one_is_whole(
    home: OnlineHome, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.queues({1: ["a"]}, epoch=1)
    moved(home, store, "topic_queues")
    home.queues({1: ["b"], 5: ["c"]}, epoch=2)
    home.release()
    seen, real, client = [], redis.Connection.send_packed_command, OnlineClient(store)

    def look(*arguments: object, **named: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(redis.Connection, "send_packed_command", real)
            now = client.catalogue()
            seen.append(
                (now.epoch, list(now.topics), client.queues(now.topics, epoch=now.epoch, limit=9))
            )
        real(*arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, redis.Redis(**store.get_connection_kwargs()) as writer:
        patch.setattr(redis.Connection, "send_packed_command", look)
        home.run(writer)
    assert [s for i, s in enumerate(seen) if s not in seen[:i]] == [
        (1, [1], [["a"]]),
        (2, [1, 5], [["b"], ["c"]]),
    ]


def test_rows_after_the_release_are_not_served(home: OnlineHome, store: redis.Redis) -> None:
    home.queues({1: ["v"]})
    home.release()
    home.queues({1: ["later"], 2: ["w"]})
    home.run(store)
    assert lists(store) == {b"1": [b"v"]}
    moved(home, store, "topic_queues")
    assert lists(store) == {b"1": [b"later"], b"2": [b"w"]}


def test_a_long_queue_and_many_users_arrive_whole(home: OnlineHome, store: redis.Redis) -> None:
    long = [f"v{i}" for i in range(2500)]  # Lua hands on some thousands of values at once
    home.queues({1: long})
    home.clicks(**{f"u{i}": [f"v{i}"] for i in range(1200)})
    home.release()
    home.run(store)
    client = OnlineClient(store)
    assert client.queues([1], epoch=1, limit=9999) == [long]
    assert all(client.recent_clicks(f"u{i}") == [f"v{i}"] for i in (0, 999, 1000, 1199))


def test_clicks_go_back_with_their_release(home: OnlineHome, store: redis.Redis) -> None:
    home.clicks(a=["v"], gone=["w"])
    home.release()
    home.run(store, KEEP)
    home.clicks(a=["x", "v"])
    home.release()
    home.run(store, KEEP)
    client = OnlineClient(store)
    assert [client.recent_clicks(user) for user in ("a", "gone")] == [["x", "v"], []]
    switching.go_back(Generations(store, "vt", 4), 1)
    assert [client.recent_clicks(user) for user in ("a", "gone")] == [["v"], ["w"]]


def test_full_writes_all_lists_and_leaves_none_of_before(
    home: OnlineHome, store: redis.Redis
) -> None:
    home.queues({1: ["v"]})
    moved(home, store, "topic_queues")
    store.rpush(NAMES.queue(1, 44), "forgotten")
    home.queues({2: ["w"]})
    assert moved(home, store, "topic_queues", full=True) == (1, 1)
    assert lists(store) == {b"2": [b"w"]}
    assert home.run(store, full=True)["topic_queues"].written == 1


FIRST = {"clicks": {"a": ["v"], "b": ["w"]}, "queues": {1: ["v"], 2: ["w"]}}
SECOND = {"clicks": {"a": ["x"], "c": ["y"]}, "queues": {2: ["x"], 3: ["y"]}}


@pytest.fixture(scope="module")
def there_and_back(tmp_path_factory: pytest.TempPathFactory) -> list[OnlineHome]:
    def step(state: dict[str, Any]) -> Callable[[OnlineHome], None]:
        return lambda home: (home.clicks(**state["clicks"]), home.queues(state["queues"]))[0]

    return stages(tmp_path_factory.mktemp("stages"), map(step, (FIRST, SECOND, FIRST)))


@pytest.mark.parametrize("command", range(1, 115, 4))
def test_a_run_that_dies_is_made_good_even_if_the_next_release_goes_back(
    there_and_back: list[OnlineHome],
    store: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    command: int,
) -> None:
    """The second release may be half written; the third is as the first for these users."""
    first, second, third = there_and_back
    first.run(store)
    with dying_at(command, monkeypatch), suppress(Crash):
        second.run(store)
    lease_ends(store)
    third.run(store)
    client = OnlineClient(store)
    assert [client.recent_clicks(user) for user in "abc"] == [["v"], ["w"], []]
    assert lists(store) == {b"1": [b"v"], b"2": [b"w"]}
    assert all(moved.up_to_date for moved in third.run(store).values())


def test_the_deaths_above_are_at_every_fourth_command(
    there_and_back: list[OnlineHome], store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    there_and_back[0].run(store)
    with dying_at(0, monkeypatch) as sent:
        there_and_back[1].run(store)
    assert 100 < sent[0] < 115
