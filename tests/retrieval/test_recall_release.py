"""Recall reads the release that its topics came from, whatever goes live between its reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from consumers.retrieval import Recall
from vidtopics.contracts import USER_RECENT_CLICKS, VIDEO_TOPICS
from vidtopics.layout import Layout, Schema, Structures, ViewEntry, encode, place
from vidtopics.materialization import StoreWriter
from vidtopics.online import OnlineClient
from vidtopics.settings import RecallSettings

SETTINGS = RecallSettings(recent_clicks=5, topics=2, candidates=6, floor=0.1)
VIDEOS = ["x", "y"]


def release(store: redis.Redis, load: int) -> None:
    """Topic 5 of epoch `load`: in each release another thing by the same number."""
    writer, schema = StoreWriter(store), Schema.of(VIDEO_TOPICS)
    entry = writer.register("video_topics", schema)
    sender = writer.load(entry, load=load, retained=range(1, load))
    ids = [v.encode() for v in VIDEOS]
    columns = {
        "topic_ids": [[5, *[-1] * 7]] * 2,
        "topic_weights": [[1.0, *[0.0] * 7]] * 2,
        "parent_topic_ids": [[1, *[-1] * 7]] * 2,
        "topic_count": [1, 1],
        "below_threshold": [False, False],
        "topic_epoch": [load, load],
    }
    prints = sender.space.fingerprints(ids)
    values = encode(schema, columns, fingerprints=prints, event_us=[load] * 2, created_us=[1] * 2)
    sender.add(ids, values)
    sender.finish()
    for queue in ("5", "p1", "all"):
        store.rpush(Structures("vt", Layout()).queue(load, queue), f"of release {load}")
    live = ViewEntry.from_json(store.hget(place("vt", "views"), "video_topics") or b"")
    facts = json.dumps(
        {
            **{"load": load, "epoch": load, "topics": [5], "parents": [1], "parent_clicks": [1.0]},
            "popular_clicks": [1.0],
        }
    )
    with store.pipeline() as pipe:
        entry = ViewEntry(live.number, live.generation, 0, live.schema, live.keys, load)
        pipe.hset(place("vt", "views"), "video_topics", entry.to_json())
        pipe.hset(place("vt", "structures"), "topic_queues", facts)
        pipe.hset(place("vt", "releases"), str(load), "{}")
        pipe.incr(place("vt", "directory"))
        pipe.execute()


@pytest.fixture
def client(store: redis.Redis) -> OnlineClient:
    release(store, 1)
    users = {"ann": VIDEOS, "bob": ["unknown"]}
    writer, schema = StoreWriter(store), Schema.of(USER_RECENT_CLICKS)
    sender = writer.load(writer.register("user_recent_clicks", schema))
    columns = {
        "recent_video_ids": list(users.values()),
        "recent_times": [[1] * len(videos) for videos in users.values()],
        "recent_watch_seconds": [[-1.0] * len(videos) for videos in users.values()],
    }
    ids = [user.encode() for user in users]
    prints = sender.space.fingerprints(ids)
    times = {"event_us": [1] * 2, "created_us": [1] * 2}
    sender.add(ids, encode(schema, columns, fingerprints=prints, **times))
    sender.finish()
    return OnlineClient(store)


@pytest.mark.parametrize(("user", "reads"), [("ann", 10), ("bob", 9), ("nobody", 9)])
def test_a_switch_between_any_two_reads_mixes_nothing(
    client: OnlineClient,
    store: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    user: str,
    reads: int,
) -> None:
    """Of ann's own topics; of popular ones, as bob's click has no topic and nobody has no click."""
    seen, real = [], OnlineClient._run
    for switch_at in range(reads + 1):
        load, done = 2 * switch_at + 1, 0
        release(store, load)

        def run(self: Any, read: Any, load: int = load, switch_at: int = switch_at) -> Any:
            nonlocal done
            if done == switch_at:
                release(store, load + 1)
            done += 1
            return real(self, read)

        with monkeypatch.context() as patch:
            patch.setattr(OnlineClient, "_run", run)
            candidates = Recall(client, SETTINGS).recall(user)
        assert candidates.video_ids == [f"of release {candidates.epoch}"]
        seen.append(candidates.epoch - load)
        assert done == reads
    assert seen == [1, 1, *[0] * (reads - 1)]  # the first value that is read decides


def test_popular_videos_are_read_once_a_release(
    client: OnlineClient, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one Recall that a service keeps; what another release brings is seen at once."""
    reads, real = [], OnlineClient.queues

    def queues(self: Any, names: Any, **options: Any) -> Any:
        reads.append([*names])
        return real(self, names, **options)

    monkeypatch.setattr(OnlineClient, "queues", queues)
    recall = Recall(client, SETTINGS.model_copy(update={"popular_share": 1.0, "candidates": 1}))
    for load in (1, 2):
        release(store, load)
        for user in ("ann", "nobody", "ann"):
            assert recall.recall(user).video_ids == [f"of release {load}"]
        assert reads.count(["all"]) == load
