"""The nightly check finds each kind of difference, with examples, and none in a right store."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from online_home import SETTINGS, OnlineHome, dump

from vidtopics.cli import common
from vidtopics.contracts import VIDEO_STATISTICS
from vidtopics.failpoints import Crash, armed
from vidtopics.materialization.lock import hold
from vidtopics.materialization.reconcile import Reconciled, reconcile
from vidtopics.online import OnlineClient
from vidtopics.settings import OnlineSettings


@pytest.fixture
def home(tmp_path: Path, store: redis.Redis) -> OnlineHome:
    """Thirty videos of which v0 has ended, loaded; a commit that no release names yet."""
    made = OnlineHome(tmp_path / "home")
    made.statistics(*[(f"v{i}", 1, 1, i + 1) for i in range(30)])
    made.topics(("v1", 1, 1, 3))
    made.joint(("v1", 1, 1, 3), ("v2", 1, 1, None))
    made.release()
    made.run(store)
    made.statistics(("v0", 2, 2, None), ("v5", 2, 2, 55))
    made.release()
    made.run(store)
    made.statistics(("v6", 3, 3, 66))
    return made


def statistics(home: OnlineHome, store: redis.Redis) -> Reconciled:
    return {r.name: r for r in reconcile(home.tables, store, SETTINGS)}["video_statistics"]


def key(store: redis.Redis, video: bytes) -> bytes:
    return OnlineClient(store).directory().keys("video_statistics").of([video])[0]


def test_a_store_as_it_should_be_has_no_fault(home: OnlineHome, store: redis.Redis) -> None:
    before = dump(store)
    results = {r.name: r for r in reconcile(home.tables, store, SETTINGS)}
    assert {name: (r.live, r.ended, r.keys, r.compared) for name, r in results.items()} == {
        "video_statistics": (29, 1, 30, 30),
        "video_topics": (1, 0, 1, 1),
        "video_joint_representation": (1, 1, 2, 2),
    }
    assert [r.faults for r in results.values()] == [{}] * 3
    assert results["video_statistics"].version == 2  # the watermark's, not the table's latest
    assert dump(store) == before


def test_what_is_not_live_yet_is_no_fault_and_needs_no_lock(
    home: OnlineHome, store: redis.Redis
) -> None:
    """A run that goes on meanwhile, or died: its rows lie there, and nobody reads them."""
    home.statistics(("v1", 4, 4, 77), ("new", 4, 4, 1))
    home.release()
    with pytest.raises(Crash), armed("materialize.staged"):
        home.run(store)
    with hold(store, "vt"):
        result = statistics(home, store)
    assert (result.version, result.keys, result.faults, result.newer) == (2, 30, {}, 0)
    home.run(store)
    result = statistics(home, store)
    assert (result.version, result.keys, result.faults, result.newer) == (4, 31, {}, 0)


def test_what_came_after_the_watermark_is_no_fault(home: OnlineHome, store: redis.Redis) -> None:
    """A row that isn't due holds the watermark back; what is due goes on."""
    home.statistics(("v1", 4, 4, 77), ("new", 4, 4, 1), ("v2", 2**52, 4, 9))
    home.release()
    assert home.run(store)["video_statistics"].not_due == 1
    result = statistics(home, store)
    assert (result.version, result.keys, result.faults, result.newer) == (
        2,
        31,
        {},
        3,
    )  # v6's third row came with them
    store.set(key(store, b"v3"), store.get(key(store, b"v4")))
    store.delete(key(store, b"v5"))
    assert statistics(home, store).faults == {"another value": 1, "missing": 1}


def test_each_kind_of_difference_is_named(home: OnlineHome, store: redis.Redis) -> None:
    store.delete(key(store, b"v7"))
    store.set(key(store, b"stranger"), store.get(key(store, b"v8")))
    value = bytearray(store.get(key(store, b"v9")))
    value[-1] ^= 1
    store.set(key(store, b"v9"), bytes(value))
    store.set(key(store, b"v10"), b"short")
    result = statistics(home, store)
    assert result.examples == {
        "missing": ["v7"],
        "not in the table": ["stranger"],
        "another value": ["v10", "v9"],
    }
    assert (result.faults, result.keys) == (
        {"missing": 1, "not in the table": 1, "another value": 2},
        30,
    )


def test_an_older_value_and_one_that_came_back_are_differences(
    home: OnlineHome, store: redis.Redis
) -> None:
    fresh = home.tables.delta(VIDEO_STATISTICS)
    assert fresh.version() == 3
    first = store.get(key(store, b"v5"))
    home.release()
    home.run(store)
    store.set(key(store, b"v6"), first)
    assert statistics(home, store).examples == {"another value": ["v6"]}


def test_a_key_in_another_bucket_than_its_own_is_foreign(
    home: OnlineHome, store: redis.Redis
) -> None:
    stored_key = key(store, b"v7")
    bucket = int(stored_key.split(b"{")[1].split(b"}")[0])
    store.rename(stored_key, stored_key.replace(b"{%d}" % bucket, b"{%d}" % ((bucket + 1) % 4)))
    assert statistics(home, store).faults == {"missing": 1, "not in the table": 1}


def test_a_sample_is_a_part_and_another_seed_another_part(
    home: OnlineHome, store: redis.Redis
) -> None:
    samples = [reconcile(home.tables, store, SETTINGS, sample=10, seed=seed) for seed in range(6)]
    parts = [r for views in samples for r in views if r.name == "video_statistics"]
    assert all(0 < part.compared < 25 for part in parts)
    assert len({part.compared for part in parts}) > 1
    assert not any(part.faults for part in parts)


def test_values_from_before_a_field_came_at_the_end_are_right(
    tmp_path: Path, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = OnlineHome(tmp_path)
    shorter = replace(VIDEO_STATISTICS, columns=VIDEO_STATISTICS.columns[:-1])
    monkeypatch.setattr("vidtopics.materialization.releases.VIEWS", {shorter.name: shorter})
    home.statistics(("a", 1, 1, 1), ("b", 1, 1, 2))
    home.release()
    home.run(store)
    monkeypatch.undo()
    home.statistics(("b", 2, 2, 3))
    home.release()
    home.run(store)
    assert statistics(home, store).faults == {}
    value = bytearray(store.get(key(store, b"a")))
    value[-1] ^= 1
    store.set(key(store, b"a"), bytes(value))
    assert statistics(home, store).examples == {"another value": ["a"]}


def test_values_of_fields_that_are_gone_from_the_end_are_right(
    home: OnlineHome, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a contract goes on in its generation, as a process of before does; v0 has ended."""
    shorter = replace(VIDEO_STATISTICS, columns=VIDEO_STATISTICS.columns[:-1])
    for module in ("releases", "reconcile"):
        monkeypatch.setattr(f"vidtopics.materialization.{module}.VIEWS", {shorter.name: shorter})
    home.release()
    assert home.run(store)["video_statistics"].why == ""
    assert statistics(home, store).faults == {}
    spoilt = {b"v1": 34, b"v2": -1}  # of the fields that are left, and of the one that is gone
    for video, at in spoilt.items():
        value = bytearray(store.get(key(store, video)))
        value[at] ^= 1
        store.set(key(store, video), bytes(value))
    assert statistics(home, store).examples == {"another value": ["v1"]}


def test_a_load_that_did_not_end_is_told(home: OnlineHome, store: redis.Redis) -> None:
    home.release()
    with pytest.raises(Crash), armed("materialize.batch"):
        home.run(store)
    assert statistics(home, store).faults == {}  # no bucket has moved yet
    mark = next(iter(store.scan_iter(match="vt:1:w*:{9}")))
    store.delete(mark)
    assert [r.faults for r in reconcile(home.tables, store, SETTINGS) if r.faults] == [
        {"not loaded to its end": 1}
    ]


def test_the_command_ends_with_1_on_a_difference(
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
    store.delete(key(store, b"v7"))
    assert common.run(ask) == 1
    assert "missing 1: v7" in capsys.readouterr().out
    store.flushall()
    assert common.run(ask) == 1
