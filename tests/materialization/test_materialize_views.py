"""Views into Redis: what is read, what is written, and what a reader then sees."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis
from online_home import SETTINGS, OnlineHome, Row, dump

from vidtopics import server
from vidtopics.contracts import VIDEO_JOINT_REPRESENTATION, VIDEO_STATISTICS
from vidtopics.errors import TableError
from vidtopics.layout import Field, Schema
from vidtopics.materialization import Moved, StoreWriter, preview
from vidtopics.online import OnlineClient, Status

VIDEOS = ["a", "b", "c", "d", "ü"]


@pytest.fixture
def home(tmp_path: Path) -> OnlineHome:
    return OnlineHome(tmp_path)


def online(store: redis.Redis) -> dict[str, tuple[int, int, int | None]]:
    """Event, created and exposures (None: ended) of each video that Redis knows."""
    features = OnlineClient(store).read("video_statistics", VIDEOS)
    rows = zip(
        VIDEOS,
        features.status,
        features.event_us.tolist(),
        features.created_us.tolist(),
        features["video_exposures"],
        strict=True,
    )
    return {
        v: (e, c, int(n) if s == Status.PRESENT else None)
        for v, s, e, c, n in rows
        if s != Status.NOT_FOUND
    }


def counts(moved: Moved) -> tuple[int, int, int, int]:
    return moved.read, moved.written, moved.older, moved.not_due


Run = Callable[..., tuple[int, int, int, int]]


@pytest.fixture
def step(home: OnlineHome, store: redis.Redis) -> Run:
    """Commit rows, release, materialise. Returns rows read, written, older and not due."""

    def commit(*rows: Row, **options: Any) -> tuple[int, int, int, int]:
        if rows:
            home.statistics(*rows)
            home.release()
        return counts(home.run(store, **options)["video_statistics"])

    return commit


def test_only_new_commits_are_read_and_the_latest_row_is_written(
    step: Run, store: redis.Redis
) -> None:
    assert step(("a", 1, 1, 10), ("b", 1, 1, 20), ("a", 2, 2, 11), ("ü", 1, 1, 30)) == (4, 3, 0, 0)
    assert online(store) == {"a": (2, 2, 11), "b": (1, 1, 20), "ü": (1, 1, 30)}
    assert step(("b", 3, 3, 21), ("c", 3, 3, 40)) == (2, 2, 0, 0)
    assert online(store) == {"a": (2, 2, 11), "b": (3, 3, 21), "c": (3, 3, 40), "ü": (1, 1, 30)}


def test_with_nothing_new_nothing_is_written(
    step: Run, home: OnlineHome, store: redis.Redis
) -> None:
    step(("a", 1, 1, 10))
    before = dump(store)
    store.config_resetstat()
    (moved,) = home.run(store).values()
    assert (moved.up_to_date, counts(moved)) == (True, (0, 0, 0, 0))
    assert "cmdstat_evalsha" not in store.info("commandstats")
    assert dump(store) == before


def test_a_release_is_what_counts_not_the_table(
    step: Run, home: OnlineHome, store: redis.Redis
) -> None:
    step(("a", 1, 1, 10))
    home.statistics(("a", 2, 2, 11))
    assert step() == (0, 0, 0, 0)
    assert online(store) == {"a": (1, 1, 10)}


def test_late_rows_corrections_and_ends(step: Run, store: redis.Redis) -> None:
    step(("a", 5, 5, 10), ("b", 5, 5, 20), ("c", 5, 5, 30))
    # a: an event that came late; b: a correction of the same event; c: the value ended
    assert step(("a", 4, 9, 99), ("b", 5, 9, 21), ("c", 6, 9, None)) == (3, 2, 1, 0)
    assert online(store) == {"a": (5, 5, 10), "b": (5, 9, 21), "c": (6, 9, None)}
    assert step(("c", 5, 10, 30), ("b", 5, 8, 98)) == (
        2,
        0,
        2,
        0,
    )  # late: the end stays, the correction too
    assert step(("c", 7, 11, 31)) == (1, 1, 0, 0)
    assert online(store) == {"a": (5, 5, 10), "b": (5, 9, 21), "c": (7, 11, 31)}


def test_within_one_commit_the_correction_wins_wherever_it_lies(
    step: Run, store: redis.Redis
) -> None:
    step(
        ("a", 5, 6, 11),
        ("a", 5, 5, 10),
        ("b", 5, 5, 20),
        ("b", 5, 6, None),
        ("c", 9, 1, 30),
        ("c", 8, 8, 31),
    )
    assert online(store) == {"a": (5, 6, 11), "b": (5, 6, None), "c": (9, 1, 30)}


def test_small_batches_and_many_files_give_the_same(
    step: Run, home: OnlineHome, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are judged by narrow columns and taken batch by batch: the two must stay aligned."""
    monkeypatch.setattr("vidtopics.materialization.changes.BATCH", 2)
    for i in range(4):
        home.statistics(
            *[(v, 1 + (i * 7 + j) % 5, i, 10 * i + j + 1) for j, v in enumerate(VIDEOS)]
        )
    home.release()
    assert step()[:2] == (20, 5)
    best = {
        v: max((1 + (i * 7 + j) % 5, i, 10 * i + j + 1) for i in range(4))
        for j, v in enumerate(VIDEOS)
    }
    assert online(store) == best


def test_compaction_changes_nothing(step: Run, home: OnlineHome, store: redis.Redis) -> None:
    step(("a", 1, 1, 10), ("b", 1, 1, 20))
    step(("a", 2, 2, 11), ("b", 2, 2, None))
    home.tables.delta(VIDEO_STATISTICS).optimize.compact()
    # the compacted file holds all five rows; the newest of each are as in Redis, and written over
    # themselves
    assert step(("c", 3, 3, 30))[0] == 5
    assert online(store) == {"a": (2, 2, 11), "b": (2, 2, None), "c": (3, 3, 30)}


def at(us: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Materialisation at a time of the test's choice."""
    clock = SimpleNamespace(time_ns=lambda: us * 1000, monotonic=lambda: 0.0)
    monkeypatch.setattr("vidtopics.materialization.releases.time", clock)


def test_rows_that_are_not_due_wait_and_are_not_forgotten(
    step: Run, home: OnlineHome, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(10, monkeypatch)
    assert step(("a", 1, 1, 10), ("a", 2, 11, 11), ("b", 11, 5, 20), ("c", 10, 10, 30)) == (
        4,
        2,
        0,
        2,
    )
    assert online(store) == {"a": (1, 1, 10), "c": (10, 10, 30)}
    assert step(("d", 3, 3, 40)) == (5, 3, 0, 2)  # not due yet: looked at again
    at(11, monkeypatch)
    assert step() == (5, 4, 0, 0)
    assert online(store) == {"a": (2, 11, 11), "b": (11, 5, 20), "c": (10, 10, 30), "d": (3, 3, 40)}
    assert home.run(store)["video_statistics"].up_to_date


def test_a_bucket_that_lost_its_watermark_brings_all_back(step: Run, store: redis.Redis) -> None:
    """Redis lost writes, watermark and values alike: the others' watermarks don't hide that."""
    step(("a", 1, 1, 10), ("b", 1, 1, 20), ("c", 1, 1, 30), ("d", 1, 1, 40))
    before = dump(store)
    for key in before:
        if b"{9}" in key:
            store.delete(key)
    assert step()[0] == 4
    assert dump(store) == before


def test_values_of_every_kind_arrive_as_the_tables_hold_them(
    home: OnlineHome, store: redis.Redis
) -> None:
    home.topics(("a", 1, 1, 3), ("b", 1, 1, None), ("ü", 2, 2, 4))
    home.joint(("a", 1, 1, 5), ("b", 1, 1, 6), ("ü", 2, 2, None))
    home.release()
    home.run(store)
    features = OnlineClient(store).read_views(
        ["video_topics", "video_joint_representation"], ["ü", "a", "b", "x"]
    )
    topics, joint = features.values()
    assert [Status(s).name for s in topics.status] == ["PRESENT", "PRESENT", "NULL", "NOT_FOUND"]
    assert topics["topic_ids"].tolist() == [[4] + [-1] * 7, [3] + [-1] * 7, [-1] * 8, [-1] * 8]
    assert topics["topic_weights"][:2, 0].tolist() == [0.5, 0.375]
    assert topics["below_threshold"].tolist() == [False, True, False, False]
    assert [Status(s).name for s in joint.status] == ["NULL", "PRESENT", "PRESENT", "NOT_FOUND"]
    assert joint["joint_embedding"].tolist() == [[0, 0, 0], [5, 5, 5], [6, 6, 6], [0, 0, 0]]
    assert joint["encoder_version"].tolist() == [None, "é5", "é6", None]
    assert joint["content_blocks"].dtype == np.int64


def test_vectors_of_a_new_width_are_a_new_generation(home: OnlineHome, store: redis.Redis) -> None:
    """While rows of both widths are the latest of their videos, the old ones stay."""
    home.joint(("a", 1, 1, 5), ("b", 1, 1, 6))
    home.release()
    home.run(store)
    home.joint(("a", 2, 2, 7), ("c", 2, 2, None), width=4)
    home.release()
    with pytest.raises(TableError, match=r"\(id b\): expected a vector of 4 numbers"):
        home.run(store)
    client = OnlineClient(store)
    features = client.read("video_joint_representation", ["a", "b"])
    assert features["joint_embedding"].tolist() == [[5] * 3, [6] * 3]
    home.joint(("b", 3, 3, 8), width=4)
    home.release()
    assert home.run(store)["video_joint_representation"].why == "fields changed"
    features = client.read("video_joint_representation", ["a", "b", "c"])
    assert [Status(s).name for s in features.status] == ["PRESENT", "PRESENT", "NULL"]
    assert features["joint_embedding"].tolist() == [[7] * 4, [8] * 4, [0] * 4]


def test_vectors_stay_off_line_where_settings_say_so(home: OnlineHome, store: redis.Redis) -> None:
    home.statistics(("a", 1, 1, 1))
    home.joint(("a", 1, 1, 5))
    home.release()
    assert list(home.run(store, SETTINGS.model_copy(update={"vectors": False}))) == [
        "video_statistics"
    ]
    assert list(home.run(store)) == ["video_joint_representation", "video_statistics"]
    reported: list[Moved] = []
    assert list(home.run(store, report=reported.append).values()) == reported


def test_vectors_leave_redis_where_settings_change_their_mind(
    home: OnlineHome, store: redis.Redis
) -> None:
    home.statistics(("a", 1, 1, 1))
    home.joint(("a", 1, 1, 5))
    home.release()
    without = SETTINGS.model_copy(update={"vectors": False})
    home.run(store, without)
    never = dump(store)
    home.run(store)
    (joint,) = store.scan_iter(match="vt:1:2:*")
    assert preview(home.tables, store, without)[0] == Moved(
        "video_joint_representation", 1, taken_out=True
    )
    assert store.exists(joint)
    moved = home.run(store, without)
    assert moved["video_joint_representation"].taken_out
    assert moved["video_statistics"].up_to_date
    assert dump(store).keys() == never.keys()
    assert not store.exists(joint)
    assert list(home.run(store, without)) == ["video_statistics"]
    assert home.run(store)["video_joint_representation"].written == 1
    assert OnlineClient(store).read("video_joint_representation", ["a"])[
        "joint_embedding"
    ].tolist() == [[5] * 3]


def test_a_view_of_vectors_that_feast_alone_wrote_stays(
    home: OnlineHome, store: redis.Redis
) -> None:
    home.statistics(("a", 1, 1, 1))
    home.release()
    StoreWriter(store, buckets=4).register(
        "video_joint_representation", Schema.of(VIDEO_JOINT_REPRESENTATION)
    )
    without = SETTINGS.model_copy(update={"vectors": False})
    for _ in range(2):
        assert list(home.run(store, without)) == ["video_statistics"]
        assert "video_joint_representation" in OnlineClient(store).directory().views


def test_a_view_that_feast_changes_during_a_run_was_not_lost(
    home: OnlineHome, store: redis.Redis
) -> None:
    home.statistics(("a", 1, 1, 1))
    home.topics(("a", 1, 1, 1))
    home.release()
    fields = (*Schema.of(VIDEO_STATISTICS).fields, Field("more", "int64", "scalar", "int64"))

    def apply(moved: Moved) -> None:
        if moved.name == "video_statistics":
            StoreWriter(store, buckets=4).register("video_statistics", Schema(fields))

    home.run(store, report=apply)
    assert home.run(store)["video_statistics"].up_to_date
    assert OnlineClient(store).read("video_statistics", ["a"])["video_exposures"].tolist() == [1]


def test_two_runs_at_once_leave_what_one_leaves(
    home: OnlineHome, store: redis.Redis, valkey: str
) -> None:
    for i in range(3):
        home.statistics(*[(f"v{j}", i, i, 1 + i * 100 + j) for j in range(50) if (i + j) % 3])
        home.topics(*[(f"v{j}", i, i, 1 + j) for j in range(50) if (i * j) % 5])
        home.queues({t: [f"v{t}", "w"] for t in range(i + 3)}, epoch=i)
        home.clicks(**{f"u{u}": [f"v{u + i}"] for u in range(i, 9)})
    home.release()
    home.run(store)
    alone = dump(store)
    store.flushall()
    threads = [Thread(target=home.run, args=(redis.Redis.from_url(valkey),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dump(store) == alone


def test_a_server_that_was_restarted_goes_on_where_it_was(home: OnlineHome) -> None:
    home.statistics(("a", 1, 1, 10))
    home.release()
    try:
        with redis.Redis.from_url(server.start(home.root)) as first:
            home.run(first)
            before = dump(first)
        server.stop(home.root)
        home.statistics(("b", 2, 2, 20))
        home.release()
        with redis.Redis.from_url(server.start(home.root)) as second:
            assert dump(second) == before
            assert counts(home.run(second)["video_statistics"]) == (1, 1, 0, 0)
            assert online(second) == {"a": (1, 1, 10), "b": (2, 2, 20)}
    finally:
        server.stop(home.root)


def test_without_a_release_or_a_table_the_error_says_so(
    home: OnlineHome, store: redis.Redis
) -> None:
    with pytest.raises(TableError, match="releases: expected a release, found none"):
        home.run(store)
    home.joint(("a", 1, 1, 1))
    home.release()
    shutil.rmtree(home.root / "tables" / VIDEO_JOINT_REPRESENTATION.name)
    with pytest.raises(
        TableError, match="expected the table video_joint_representation, found nothing"
    ):
        home.run(store)
