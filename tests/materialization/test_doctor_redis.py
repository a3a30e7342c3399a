"""`vidtopics doctor` on Redis: reachable, never evicting, with scripts, room and even slots."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from online_home import OnlineHome

from vidtopics.doctor.findings import Finding
from vidtopics.doctor.store import examine_store
from vidtopics.materialization import materialize
from vidtopics.settings import OnlineSettings


def finding(home: Path, name: str = "Redis") -> Finding:
    (named,) = [f for f in examine_store(home, "vt") if f.name == name]
    return named


def test_a_server_that_evicts_is_a_warning_with_its_mend(
    store: redis.Redis, valkey: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey)
    assert finding(tmp_path).state == "ok"
    store.config_set("maxmemory-policy", "allkeys-lru")
    try:
        check = finding(tmp_path)
    finally:
        store.config_set("maxmemory-policy", "noeviction")
    assert (check.state, "allkeys-lru" in check.found) == ("warning", True)
    assert "CONFIG SET maxmemory-policy noeviction" in check.mend


def test_one_node_of_a_cluster_that_evicts_is_a_warning(
    cluster: str, cluster_store: redis.RedisCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", cluster)
    for node in cluster_store.get_nodes():
        cluster_store.config_set("maxmemory-policy", "noeviction", target_nodes=node)
    assert finding(tmp_path).state == "ok"
    node = cluster_store.get_nodes()[-1]
    cluster_store.config_set("maxmemory-policy", "volatile-ttl", target_nodes=node)
    try:
        check = finding(tmp_path)
    finally:
        cluster_store.config_set("maxmemory-policy", "noeviction", target_nodes=node)
    assert (check.state, "noeviction, volatile-ttl" in check.found) == ("warning", True)


def test_a_server_that_does_not_answer_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:secret@127.0.0.1:1")
    check = finding(tmp_path)
    assert (check.state, "secret" in check.found) == ("missing", False)
    monkeypatch.delenv("REDIS_URL")
    assert finding(tmp_path).state == "ok"


def test_scripts_that_are_off_or_not_allowed_are_told_apart(
    store: redis.Redis, valkey: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Valkey without its Lua module knows no EVAL; a reader's user may not run it."""
    monkeypatch.setenv("REDIS_URL", valkey)
    assert finding(tmp_path, "Redis scripts").state == "ok"
    store.acl_setuser("reader", enabled=True, nopass=True, keys="*", commands=["+@all", "-eval"])
    try:
        monkeypatch.setenv("REDIS_URL", valkey.replace("//", "//reader:x@"))
        assert finding(tmp_path, "Redis scripts").state == "warning"
    finally:
        store.acl_deluser("reader")
    monkeypatch.setenv("REDIS_URL", valkey)

    def without_lua(self: redis.Redis, *arguments: object, **options: object) -> object:
        if arguments[0] == "EVAL":
            raise redis.ResponseError("unknown command 'EVAL'")
        return execute(self, *arguments, **options)

    execute = redis.Redis.execute_command
    monkeypatch.setattr(redis.Redis, "execute_command", without_lua)
    assert finding(tmp_path, "Redis scripts").state == "missing"


def test_a_server_that_is_nearly_full_is_a_warning(
    store: redis.Redis, valkey: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey)
    assert finding(tmp_path, "Redis memory").found.endswith("no maxmemory")
    used = int(store.info("memory")["used_memory"])
    try:
        store.config_set("maxmemory", used * 100)
        assert finding(tmp_path, "Redis memory").state == "ok"
        store.config_set("maxmemory", used * 10 // 9)
        check = finding(tmp_path, "Redis memory")
    finally:
        store.config_set("maxmemory", 0)
    assert (check.state, "a rebuild needs a view twice" in check.mend) == ("warning", True)


def test_how_a_cluster_shares_the_buckets_is_shown(
    cluster: str, cluster_store: redis.RedisCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", cluster)
    assert finding(tmp_path, "Redis slots").found.startswith("nothing to spread")
    home = OnlineHome(tmp_path / "home")
    home.statistics(("a", 1, 1, 1))
    home.release()
    materialize(home.tables, cluster_store, OnlineSettings(buckets=2))
    check = finding(tmp_path, "Redis slots")
    assert check.found.startswith("2 buckets on 3 nodes: 0 to ")
    assert finding(tmp_path, "Redis memory").found.startswith("largest node 127.0.0.1:")
