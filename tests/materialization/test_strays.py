"""What a failover leaves: keys of unknown generations, and runs whose last marks are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from online_home import OnlineHome, dump
from redis.cluster import ClusterNode

from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.errors import StoreError
from vidtopics.layout import KeySpace, Layout, Schema
from vidtopics.materialization import StoreWriter, releases, strays
from vidtopics.materialization.lock import hold
from vidtopics.online import OnlineClient
from vidtopics.online.connections import Cluster, connect

SERVERS = "vt:{directory}:servers"
STRAY = KeySpace("vt", 7, 1, Layout(4))


@pytest.fixture
def home(tmp_path: Path, store: redis.Redis) -> OnlineHome:
    """Loaded; the view has number 1 and generation 1."""
    made = OnlineHome(tmp_path)
    made.statistics(*[(f"v{i}", 1, 1, i + 1) for i in range(30)])
    made.clicks(u=["v1"])
    made.release()
    made.run(store)
    return made


def leave(store: redis.Redis) -> None:
    """Values and watermarks of a generation that no one lists."""
    for key in (*STRAY.of([b"v1", b"v2", b"{9}"]), STRAY.watermark(0), STRAY.watermark(3)):
        store.set(key, "x")


def test_keys_of_an_unknown_generation_go_with_the_first_run_on_other_servers(
    home: OnlineHome, store: redis.Redis
) -> None:
    before = dump(store)
    leave(store)
    home.run(store)
    assert len(dump(store)) == len(before) + 5  # the same server as before: it isn't searched
    store.set(SERVERS, "another")
    home.run(store)
    assert dump(store) == before
    assert store.get(SERVERS) == store.info("server")["run_id"].encode()


def test_what_is_live_or_listed_or_no_value_stays(home: OnlineHome, store: redis.Redis) -> None:
    leave(store)
    store.hset("vt:{directory}:generations", "1:7", "video_statistics")
    others = ("vt:7:note", "vt:7:1:{A}b", "vt:7:x1:{7}b", "vt2:7:1:{7}b", "other:vt:7:1:{7}b")
    for key in others:
        store.set(key, "x")
    before = dump(store)
    with hold(store, "vt") as lease:
        lease.claim(Layout(4))
        generations = StoreWriter(store, buckets=4, lease=lease).generations
        assert strays.remove(generations, lease) == 0
        assert dump(store) == before
        store.hdel("vt:{directory}:generations", "1:7")
        assert strays.remove(generations, lease) == 5
    assert store.exists(*others) == len(others)


def test_a_view_that_is_entered_while_keys_are_looked_through_keeps_its_values(
    home: OnlineHome, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Feast's writer takes no lock."""
    scan = store.scan_iter

    def late(*arguments: Any, **options: Any) -> Iterator[bytes]:
        writer = StoreWriter(store, buckets=4)
        key = writer.keys(writer.register("video_topics", Schema.of(VIDEO_TOPICS))).of([b"v1"])[0]
        store.set(key, "x")
        yield from scan(*arguments, **options)

    with hold(store, "vt") as lease:
        lease.claim(Layout(4))
        writer = StoreWriter(store, buckets=4, lease=lease)
        monkeypatch.setattr(store, "scan_iter", late)
        assert strays.remove(writer.generations, lease) == 0


def test_where_the_directory_was_lost_the_keys_of_before_go(
    home: OnlineHome, store: redis.Redis
) -> None:
    old = set(store.scan_iter(match="vt:1:1:*"))
    store.delete(*store.scan_iter(match="vt:{directory}:*"))
    home.run(store)
    assert len(old) == 30
    assert not old & set(store.scan_iter())
    assert OnlineClient(store).read("video_statistics", ["v7"])["video_exposures"].tolist() == [8]


def test_on_a_cluster_they_go_from_every_node(
    tmp_path: Path, cluster_store: redis.RedisCluster
) -> None:
    home = OnlineHome(tmp_path)
    home.statistics(("v1", 1, 1, 1))
    home.release()
    home.run(cluster_store)
    before = dump(cluster_store)
    leave(cluster_store)  # type: ignore[arg-type]
    assert len(cluster_store.get(SERVERS).split(b" ")) == 3
    cluster_store.set(SERVERS, "another")
    home.run(cluster_store)
    assert dump(cluster_store) == before


LOSSES: dict[str, Callable[[redis.Redis], object]] = {
    "a watermark": lambda s: s.delete("vt:1:w1:{9}"),
    "a view": lambda s: s.hdel("vt:{directory}:views", "video_statistics"),
    "a bucket's mark of lists": lambda s: s.delete("vt:lists:{6}"),
    "what is known of lists": lambda s: s.hdel("vt:{directory}:structures", "topic_queues"),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_a_run_looks_again_before_it_says_that_all_is_well(
    home: OnlineHome,
    store: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    lose: Callable[[redis.Redis], object],
) -> None:
    home.statistics(("v1", 2, 2, 99))
    home.queues({1: ["v2"]})
    home.release()
    look = releases._look_again

    def lost(*arguments: Any) -> None:
        lose(store)
        look(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(releases, "_look_again", lost)
        with pytest.raises(StoreError, match="Redis lost writes of this run"):
            home.run(store)
    assert releases.loaded_release(store, "vt") == 1
    home.run(store)
    assert releases.loaded_release(store, "vt") == 2
    assert all(moved.up_to_date for moved in home.run(store).values())


def test_a_node_that_goes_away_in_the_midst_of_a_scan_is_an_error_of_redis(
    cluster: str, cluster_store: redis.RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(300):
        cluster_store.set(f"k{n}", n)
    with connect(cluster) as connection:
        assert isinstance(connection, Cluster)
        new_node: Any = ClusterNode
        scan, gone = connection.scan_iter(count=10), new_node("127.0.0.1", 1)
        next(scan)
        real = connection.scan
        monkeypatch.setattr(connection, "scan", lambda **k: ({gone.name: 1}, real(**k)[1]))
        with pytest.raises(redis.ConnectionError, match="went away during a SCAN"):
            list(scan)
