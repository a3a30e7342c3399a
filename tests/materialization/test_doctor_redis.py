"""`vidtopics doctor` on Redis: reachable, and never evicting."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from vidtopics import doctor


def test_a_server_that_evicts_is_a_warning_with_its_mend(
    store: redis.Redis, valkey: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey)
    assert doctor.online_store(tmp_path).state == "ok"
    store.config_set("maxmemory-policy", "allkeys-lru")
    try:
        check = doctor.online_store(tmp_path)
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
    assert doctor.online_store(tmp_path).state == "ok"
    node = cluster_store.get_nodes()[-1]
    cluster_store.config_set("maxmemory-policy", "volatile-ttl", target_nodes=node)
    try:
        check = doctor.online_store(tmp_path)
    finally:
        cluster_store.config_set("maxmemory-policy", "noeviction", target_nodes=node)
    assert (check.state, "noeviction, volatile-ttl" in check.found) == ("warning", True)


def test_a_server_that_does_not_answer_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:secret@127.0.0.1:1")
    check = doctor.online_store(tmp_path)
    assert (check.state, "secret" in check.found) == ("missing", False)
    monkeypatch.delenv("REDIS_URL")
    assert doctor.online_store(tmp_path).state == "ok"
