"""The nightly check of topic queues, beside worlds written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from online_home import SETTINGS, OnlineHome, dump

from vidtopics.cli import common
from vidtopics.contracts import TOPIC_QUEUES
from vidtopics.layout import Layout, Structures
from vidtopics.materialization.reconcile import Reconciled, reconcile
from vidtopics.settings import OnlineSettings

NAMES = Structures(SETTINGS.prefix, Layout(SETTINGS.buckets))
FIRST, SECOND = NAMES.queue(2, 1), NAMES.queue(2, 2)  # the second load's, of epoch 3
CATALOGUE = "vt:{directory}:structures"
Spoil = Callable[[redis.Redis], object]


@pytest.fixture
def home(tmp_path: Path, store: redis.Redis) -> OnlineHome:
    """Epoch 3 of two topics over an epoch that is gone.

    The last commit is named by no release yet.
    """
    made = OnlineHome(tmp_path / "home")
    made.queues({1: ["old"], 9: ["old"]}, epoch=2)
    made.release()
    made.run(store)
    made.queues({1: ["v1", "v2", "v3"], 2: ["v2"]}, epoch=3)
    made.release()
    made.run(store)
    made.queues({1: ["later"]}, epoch=3)
    return made


def list_results(home: OnlineHome, store: redis.Redis) -> dict[str, Reconciled]:
    return {r.name: r for r in reconcile(home.tables, store, SETTINGS)}


def test_lists_as_they_should_be_have_no_fault_and_stay_as_they_are(
    home: OnlineHome, store: redis.Redis
) -> None:
    before = dump(store)
    assert {k: v for k, v in before.items() if isinstance(v, list)} == {
        NAMES.queue(0, 1): [b"v1", b"v2", b"v3"],
        NAMES.queue(0, 2): [b"v2"],
    }
    for name, result in list_results(home, store).items():
        assert result == Reconciled(name, 2, live=2, keys=2, compared=2)
    assert dump(store) == before


QUEUES = "topic_queues"
FAULTS: dict[str, tuple[Spoil, str, str, list[str]]] = {
    "a topic's list is gone": (lambda s: s.delete(SECOND), QUEUES, "missing", ["3:2"]),
    "a topic that the table lacks": (
        lambda s: s.rpush(NAMES.queue(2, 9), "old"),
        QUEUES,
        "not in the table",
        ["3:9"],
    ),
    "an order": (lambda s: (s.lpop(FIRST), s.rpush(FIRST, "v1")), QUEUES, "another list", ["3:1"]),
    "an element": (lambda s: s.lset(FIRST, 1, "v9"), QUEUES, "another list", ["3:1"]),
    "one element more": (lambda s: s.rpush(FIRST, "v9"), QUEUES, "another list", ["3:1"]),
    "one element less": (lambda s: s.rpop(FIRST), QUEUES, "another list", ["3:1"]),
    "no list": (
        lambda s: (s.delete(SECOND), s.set(SECOND, "v2")),
        QUEUES,
        "another list",
        ["3:2"],
    ),
    "another epoch in the catalogue": (
        lambda s: enter(s, epoch=2),
        QUEUES,
        "another catalogue",
        ["epoch 2"],
    ),
    "topics in the catalogue": (
        lambda s: enter(s, topics=[2, 7]),
        QUEUES,
        "another catalogue",
        ["topic 1", "topic 7"],
    ),
}


def enter(store: redis.Redis, **changed: object) -> None:
    """Change facts of topic queues."""
    text = store.hget(CATALOGUE, QUEUES)
    assert text
    store.hset(CATALOGUE, QUEUES, json.dumps(json.loads(text) | changed))


@pytest.mark.parametrize(("spoil", "name", "kind", "examples"), FAULTS.values(), ids=FAULTS)
def test_each_fault_is_found_and_named_and_no_other(
    home: OnlineHome, store: redis.Redis, spoil: Spoil, name: str, kind: str, examples: list[str]
) -> None:
    spoil(store)
    results = list_results(home, store)
    assert (results[name].faults, results[name].examples) == (
        {kind: len(examples)},
        {kind: examples},
    )
    home.run(store, full=True)  # what the docs say to do
    assert [r.faults for r in list_results(home, store).values()] == [{}]


def test_a_list_in_another_bucket_than_its_own_is_missing_and_foreign(
    home: OnlineHome, store: redis.Redis
) -> None:
    tag = FIRST.split(b"{")[1].split(b"}")[0].decode()
    other = next(t for t in Layout(SETTINGS.buckets).tags if t != tag)
    store.rename(FIRST, FIRST.replace(f"{{{tag}}}".encode(), f"{{{other}}}".encode()))
    assert list_results(home, store)[QUEUES].examples == {
        "missing": ["3:1"],
        "not in the table": ["3:1"],
    }


def test_of_a_sample_only_the_content_is_left_out(tmp_path: Path, store: redis.Redis) -> None:
    home = OnlineHome(tmp_path)
    home.queues({i: ["v"] for i in range(40)})
    home.release()
    home.run(store)
    for i in range(40):
        store.lset(NAMES.queue(1, i), 0, "w")
    store.delete(NAMES.queue(1, 7))
    parts = [
        reconcile(home.tables, store, SETTINGS, sample=10, seed=seed)[0] for seed in (0, 0, 1, 2)
    ]
    assert all(part.faults["missing"] == 1 and part.keys == 39 for part in parts)
    assert all(0 < part.faults["another list"] <= part.compared < 30 for part in parts)
    assert parts[0] == parts[1]
    assert len({tuple(part.examples["another list"]) for part in parts}) == 3


def test_lists_that_were_never_loaded_are_not_loaded_to_their_end(
    home: OnlineHome, store: redis.Redis
) -> None:
    store.flushall()
    assert [(r.version, r.faults) for r in list_results(home, store).values()] == [
        (None, {"not loaded to its end": 1})
    ]


def test_lists_that_no_release_names_yet_are_not_missed(tmp_path: Path, store: redis.Redis) -> None:
    home = OnlineHome(tmp_path)
    home.statistics(("v1", 1, 1, 1))
    home.release()
    home.run(store)
    home.queues({1: ["v1"]})
    assert list_results(home, store)["video_statistics"].faults == {}
    assert QUEUES not in list_results(home, store)
    home.release()
    assert list_results(home, store)[QUEUES].faults == {"not loaded to its end": 1}


def test_a_bucket_that_fell_back_to_earlier_lists_is_not_whole(
    home: OnlineHome, store: redis.Redis
) -> None:
    store.hset("vt:lists:{9}", "topic_queues:2", "0 0")
    assert list_results(home, store)[QUEUES].faults == {"not loaded to its end": 1}


def test_lists_of_another_table_than_the_one_that_is_there(
    home: OnlineHome, store: redis.Redis
) -> None:
    enter(store, table_id="another")
    assert list_results(home, store)[QUEUES].faults == {"loaded from another table": 1}


def test_a_table_without_rows_has_no_lists(tmp_path: Path, store: redis.Redis) -> None:
    home = OnlineHome(tmp_path)
    home.queues({})
    home.release()
    home.run(store)
    for name, result in list_results(home, store).items():
        assert result == Reconciled(name, 1)


def test_on_a_cluster(tmp_path: Path, cluster_store: redis.RedisCluster) -> None:
    home = OnlineHome(tmp_path)
    home.queues({t: [f"v{t}"] for t in range(20)})
    home.release()
    home.run(cluster_store)
    assert [(r.keys, r.faults) for r in reconcile(home.tables, cluster_store, SETTINGS)] == [
        (20, {})
    ]
    cluster_store.delete(NAMES.queue(1, 7))
    cluster_store.set(NAMES.queue(1, 5), "no list", keepttl=False)
    [result] = reconcile(home.tables, cluster_store, SETTINGS)
    assert result.examples == {"missing": ["1:7"], "another list": ["1:5"]}


def test_the_command_ends_with_1_and_names_the_list(
    home: OnlineHome,
    store: redis.Redis,
    valkey: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey)
    settings = home.root / "settings.yaml"
    settings.write_text(json.dumps({"online": OnlineSettings(buckets=4).model_dump(mode="json")}))
    ask = ["reconcile", "--home", str(home.root)]
    assert common.run(ask) == 0
    assert TOPIC_QUEUES.name in capsys.readouterr().out
    store.delete(SECOND)
    assert common.run(ask) == 1
    assert "missing 1: 3:2" in capsys.readouterr().out
