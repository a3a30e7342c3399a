"""A stream without some entries is the same stream otherwise: numbers, counts, cursors."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from vidtopics.erasure import online
from vidtopics.erasure.ids import Ids
from vidtopics.failpoints import Crash
from vidtopics.layout import ViewEntry

KEY = b"vt:events:user:{3}"
IDS = Ids.of(["u-her"])


def fill(store: Any, users: list[str]) -> None:
    for n, user in enumerate(users, 1):
        store.xadd(KEY, {"k": "i", "e": f"e{n}", "u": user, "v": "v1"}, id=f"{n}-1")


def facts(store: Any) -> dict[str, Any]:
    names = ("length", "last-generated-id", "entries-added", "max-deleted-entry-id")
    info = store.xinfo_stream(KEY)
    return {name: info[name] for name in names}


def test_others_keep_their_numbers_and_what_comes_goes_on(store: redis.Redis) -> None:
    fill(store, ["u-her" if n % 3 else f"u{n}" for n in range(2500)])
    store.xdel(KEY, "1-1")
    before, others = facts(store), [e for e in store.xrange(KEY) if e[1][b"u"] != b"u-her"]
    assert b"u-her" in (store.dump(KEY) or b"")
    went = online.erase_online(store, "vt", IDS, [])
    assert went == {"entries": 1666}
    assert store.xrange(KEY) == others
    assert b"u-her" not in (store.dump(KEY) or b"")
    assert facts(store) == before | {"length": len(others)}
    with pytest.raises(redis.ResponseError):
        store.xadd(KEY, {"k": "i"}, id="2500-1")  # no number is given twice
    store.xadd(KEY, {"k": "i", "u": "u9"}, id="2501-1")
    assert online.erase_online(store, "vt", IDS, []) == {}
    assert not store.exists(KEY + b":erasing")


def test_a_stream_of_hers_alone_is_empty_and_goes_on_behind_it(store: redis.Redis) -> None:
    fill(store, ["u-her"] * 3)
    assert online.erase_online(store, "vt", IDS, []) == {"entries": 3}
    assert store.xlen(KEY) == 0
    assert facts(store)["last-generated-id"] == b"3-1"
    assert b"u-her" not in (store.dump(KEY) or b"")


def test_entries_of_her_events_go_from_videos_streams_too(store: redis.Redis) -> None:
    fill(store, ["u-her", "u2"])
    for n in (1, 2):
        store.xadd("vt:events:video:{3}", {"k": "i", "e": f"e{n}", "v": "v1"})
    store.sadd("vt:live:1:video:ids:{3}", "ie1", "ie2", "iold")
    went = online.erase_online(store, "vt", IDS, ["old"])
    assert went == {"entries": 2, "event_ids": 2}
    assert [e[1][b"e"] for e in store.xrange("vt:events:video:{3}")] == [b"e2"]
    assert store.smembers("vt:live:1:video:ids:{3}") == {b"ie2"}


def test_dead_behind_the_streams_nothing_is_forgotten(store: redis.Redis, monkeypatch: Any) -> None:
    fill(store, ["u-her", "u2"])
    store.sadd("vt:live:1:user:ids:{3}", "ie1", "ie2")

    def die(*_: Any) -> int:
        raise Crash("held")

    store.zadd("vt:{directory}:landing-held", {"[]": 1})
    with monkeypatch.context() as patch:
        patch.setattr(online, "_unhold", die)
        with pytest.raises(Crash):
            online.erase_online(store, "vt", IDS, [])
    assert store.xlen(KEY) == 1
    online.erase_online(store, "vt", IDS, [])  # the stream doesn't say any more which ids are hers
    assert store.smembers("vt:live:1:user:ids:{3}") == {b"ie2"}


def test_only_keys_of_her_id_and_of_the_prefix_go(store: redis.Redis) -> None:
    entry = ViewEntry(4, 1, 0, 7, ("video_id",)).to_json()
    store.hset("vt:{directory}:views", mapping={"video_topics": entry})
    kept = ["vt:1:4:{a}u-her", "vt:1:2:{a}u-her2", "other:1:2:{a}u-her", "vt:1:2:{a}xu-her"]
    store.mset(dict.fromkeys([*kept, "vt:1:2:{a}u-her", "vt:7:12:{b}u-her"], "x"))
    assert online.erase_online(store, "vt", IDS, []) == {"values": 2}
    assert sorted(key.decode() for key in store.scan_iter("*her*")) == sorted(kept)


def test_on_a_cluster(cluster_store: redis.RedisCluster) -> None:
    fill(cluster_store, ["u-her", "u2"])
    cluster_store.set("vt:1:2:{b}u-her", "x")
    assert online.erase_online(cluster_store, "vt", IDS, []) == {"entries": 1, "values": 1}
    assert cluster_store.xlen(KEY) == 1
    assert online.rewrite_files(cluster_store) == []
