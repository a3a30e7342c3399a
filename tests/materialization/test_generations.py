"""A generation is filled beside the live one, takes its place at once, and leaves no old key."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest
import redis
from online_home import SETTINGS, OnlineHome, dump, dying_at, lease_ends, stages

from vidtopics.contracts import VIDEO_STATISTICS, Column, Table
from vidtopics.failpoints import Crash, Point, armed
from vidtopics.layout import Field, Schema
from vidtopics.materialization import StoreWriter, generations, switching
from vidtopics.materialization.switching import Staged, Switch
from vidtopics.online import OnlineClient, Status

VIDEOS = [f"v{i}" for i in range(40)]


def fill(home: OnlineHome, *, n: int) -> None:
    home.statistics(*[(v, n, n, n) for v in VIDEOS])
    home.topics(*[(v, n, n, n) for v in VIDEOS[:5]])
    home.clicks(u=["v1"])


LOADED = ("video_statistics", "video_topics", "user_recent_clicks")
"""Views that these homes have rows of."""


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[OnlineHome]:
    return stages(tmp_path_factory.mktemp("stages"), [partial(fill, n=n) for n in (1, 2)])


def contract(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    monkeypatch.setattr("vidtopics.materialization.releases.VIEWS", {table.name: table})


def exposures(store: redis.Redis) -> tuple[set[int], set[int]]:
    """Statuses and exposures of all videos."""
    features = OnlineClient(store).read("video_statistics", VIDEOS)
    return set(features.status.tolist()), set(features["video_exposures"].tolist())


def test_readers_see_one_generation_or_the_other_whole(
    homes: list[OnlineHome], store: redis.Redis, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The live generation is spoilt, so that its rows can be told from the new one's."""
    homes[0].run(store)
    monkeypatch.setattr("vidtopics.materialization.writer.BATCH", 1)
    seen, stop = [], Event()

    def read() -> None:
        client = OnlineClient(redis.Redis.from_url(valkey))
        while not stop.is_set():
            features = client.read("video_statistics", VIDEOS)
            seen.append((set(features.status.tolist()), set(features.created_us.tolist())))

    thread = Thread(target=read)
    thread.start()
    while len(seen) < 20:
        pass
    homes[1].run(store, full=True)
    count = len(seen)
    while len(seen) < count + 20:
        pass
    stop.set()
    thread.join()
    assert [s for i, s in enumerate(seen) if s not in seen[:i]] == [
        ({Status.PRESENT}, {1}),
        ({Status.PRESENT}, {2}),
    ]


@pytest.fixture
def rebuilt(homes: list[OnlineHome], store: redis.Redis) -> dict[bytes, object]:
    """Everything after a rebuild that nothing disturbed; the store is as before it."""
    homes[0].run(store)
    homes[1].run(store, full=True)
    content = dump(store)
    store.flushall()
    homes[0].run(store)
    return content


@pytest.mark.parametrize("point", ["materialize.batch", "materialize.view", "materialize.switched"])
def test_a_rebuild_that_dies_is_cleaned_by_the_next_run(
    homes: list[OnlineHome], store: redis.Redis, rebuilt: dict[bytes, object], point: Point
) -> None:
    with pytest.raises(Crash), armed(point):
        homes[1].run(store, full=True)
    statuses, counts = exposures(store)
    assert (statuses, len(counts)) == ({Status.PRESENT}, 1)
    homes[1].run(store)
    live = [OnlineClient(store).directory().view(v) for v in LOADED]
    keys = {
        k
        for k in store.scan_iter(count=1000)
        if k.startswith(b"vt:") and k.split(b":")[1].isdigit()
    }
    assert {(k.split(b":")[1], k.split(b":")[2].lstrip(b"w")) for k in keys} == {
        (b"%d" % entry.generation, b"%d" % entry.number) for entry in live
    }
    assert not store.exists("vt:{directory}:generations")
    assert exposures(store) == ({Status.PRESENT}, {2})


def test_a_rebuild_that_dies_at_any_command_and_is_asked_for_again(
    homes: list[OnlineHome],
    store: redis.Redis,
    rebuilt: dict[bytes, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until the switch readers have all rows of the first release, then all of the second."""
    command, died = 6, True
    while died:
        store.flushall()
        homes[0].run(store)
        with dying_at(command, monkeypatch):
            try:
                homes[1].run(store, full=True)
                died = False
            except Crash:
                pass
        lease_ends(store)
        statuses, counts = exposures(store)
        assert (statuses, len(counts)) == ({Status.PRESENT}, 1)
        homes[1].run(store)
        assert exposures(store) == ({Status.PRESENT}, {2})
        left = {k.rsplit(b"{", 1)[0] for k in store.scan_iter(match="vt:[0-9]*", count=1000)}
        assert len(left) == 2 * len(LOADED), left  # values and watermarks: one generation each
        command += 9
    assert command > 60
    assert dump(store) == rebuilt


def test_a_field_at_the_end_stays_in_its_generation(
    homes: list[OnlineHome], store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = replace(VIDEO_STATISTICS, columns=VIDEO_STATISTICS.columns[:-1])
    contract(monkeypatch, shorter)
    homes[0].run(store)
    contract(monkeypatch, VIDEO_STATISTICS)
    moved = homes[1].run(store)["video_statistics"]
    assert (moved.why, OnlineClient(store).directory().view("video_statistics").generation) == (
        "",
        1,
    )
    assert OnlineClient(store).read("video_statistics", VIDEOS)["video_clicks"].tolist() == [1] * 40


def test_a_run_from_before_a_last_field_came_does_not_rebuild(
    homes: list[OnlineHome], store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`feast apply` has entered the field; each of the two would undo what the other did."""
    homes[0].run(store)
    contract(monkeypatch, replace(VIDEO_STATISTICS, columns=VIDEO_STATISTICS.columns[:-1]))
    moved = homes[1].run(store)["video_statistics"]
    entry = OnlineClient(store).directory().view("video_statistics")
    assert (moved.why, entry.generation, entry.schema) == ("", 1, Schema.of(VIDEO_STATISTICS).hash)
    assert exposures(store) == ({Status.PRESENT}, {2})


@pytest.mark.parametrize("change", ["a field less", "another order", "another wire type"])
def test_any_other_change_of_fields_goes_to_a_new_generation(
    homes: list[OnlineHome], store: redis.Redis, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    video, shown, clicks, *_ = VIDEO_STATISTICS.columns
    columns: dict[str, tuple[Column, ...]] = {
        "a field less": (video, clicks),
        "another order": (video, clicks, shown),
        "another wire type": (video, replace(shown, wire="int8"), clicks),
    }
    homes[0].run(store)
    contract(monkeypatch, replace(VIDEO_STATISTICS, columns=columns[change]))
    moved = homes[0].run(store)["video_statistics"]
    assert (moved.read, moved.written, moved.why) == (40, 40, "fields changed")
    features = OnlineClient(store).read("video_statistics", VIDEOS)
    name = "video_clicks" if change == "a field less" else "video_exposures"
    assert (set(features.status), features[name].tolist()) == ({Status.PRESENT}, [1] * 40)
    assert homes[0].run(store)["video_statistics"].up_to_date


def test_a_ttl_that_changed_is_entered_where_nothing_else_did(
    homes: list[OnlineHome], store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    homes[0].run(store)
    assert VIDEO_STATISTICS.view is not None
    aged = replace(VIDEO_STATISTICS, view=replace(VIDEO_STATISTICS.view, ttl=timedelta(seconds=3)))
    contract(monkeypatch, aged)
    assert homes[0].run(store)["video_statistics"].up_to_date
    entry = OnlineClient(store).directory().view("video_statistics")
    assert (entry.ttl_us, entry.generation) == (3_000_000, 1)


def test_a_writer_without_tables_starts_a_changed_view_anew(store: redis.Redis) -> None:
    """Feast's path: a value of the old fields is never read as one of the new."""
    writer = StoreWriter(store, buckets=3)
    old, new = (Schema((Field(name, "int64", "scalar", "int64"),)) for name in ("n", "m"))
    first = writer.register("view", old)
    writer.write(writer.keys(first), 0, [(b"vt:1:1:{0}x", bytes(40))])
    second = writer.register("view", new)
    assert (first.generation, second.generation, second.number) == (1, 2, first.number)
    assert list(store.scan_iter(match="vt:1:*")) == []
    assert writer.register("view", new) == second


def test_a_generation_is_never_swept_while_it_is_live(
    homes: list[OnlineHome], store: redis.Redis
) -> None:
    """An answer to a switch that got lost has it sent again."""
    homes[0].run(store)
    before = dump(store)
    writer = StoreWriter(store, buckets=SETTINGS.buckets)
    entry = OnlineClient(store).directory().view("video_statistics")
    with writer._leased() as leased:
        live = switching.records(leased)[-1]
        source, mark = live.sources["video_statistics"], live.marks["video_statistics"]
        schema, shown = Schema.of(VIDEO_STATISTICS), entry.source
        staged = Staged("video_statistics", entry, schema, source, mark, True, shown)
        switch = Switch(live.load, live.release, live.live_us, [staged], {})
        switching.go_live(leased, switch)
        leased.sweep()
    assert dump(store) == before


def test_the_same_home_leaves_the_same_on_one_server_and_on_a_cluster(
    homes: list[OnlineHome],
    store: redis.Redis,
    cluster_store: redis.RedisCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generations, "CLUSTER_GRACE_S", 0.01)
    for target in (store, cluster_store):
        homes[0].run(target)  # type: ignore[arg-type]
        homes[1].run(target)  # type: ignore[arg-type]
        homes[1].run(target, full=True)  # type: ignore[arg-type]
    content = dump(cluster_store)
    assert content == dump(store)
    assert len(content) > 40
    nodes = {cluster_store.get_node_from_key(key.decode()).name for key in content}
    assert len(nodes) == 3


def test_a_run_on_a_cluster_that_dies_is_made_good(
    homes: list[OnlineHome],
    store: redis.Redis,
    cluster_store: redis.RedisCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    homes[0].run(store)
    undisturbed = dump(store)
    for command in (15, 30, 45):
        cluster_store.flushall()
        with dying_at(command, monkeypatch), pytest.raises(Crash):
            homes[0].run(cluster_store)  # type: ignore[arg-type]
        lease_ends(cluster_store)
        homes[0].run(cluster_store)  # type: ignore[arg-type]
        assert dump(cluster_store) == undisturbed


def test_drop_on_a_cluster_leaves_other_views_alone(
    homes: list[OnlineHome],
    cluster_store: redis.RedisCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generations, "CLUSTER_GRACE_S", 0.01)
    homes[0].run(cluster_store)  # type: ignore[arg-type]
    before = dump(cluster_store)
    writer = StoreWriter(cluster_store, buckets=SETTINGS.buckets)
    number = OnlineClient(cluster_store).directory().view("video_statistics").number
    assert writer.drop("video_statistics") == 40 + SETTINGS.buckets
    gone = before.keys() - dump(cluster_store).keys()
    assert {k.split(b":")[2] for k in gone} == {b"%d" % number, b"w%d" % number}
