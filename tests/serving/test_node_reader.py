"""`clients/node/reader.mjs` against a real Redis: what the Python client reads there."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from serving_world import VIDEOS, release

from vidtopics.layout import Layout, place
from vidtopics.layout.directory import LIVE_QUEUES
from vidtopics.layout.live import LiveKeys
from vidtopics.online import OnlineClient, Status

READER = Path(__file__).parents[2] / "clients" / "node" / "reader.mjs"


@pytest.fixture
def node(store, valkey):
    """Runs the reader's command over two releases, of which the second is live."""
    path = shutil.which("node")
    assert path, "expected node, 20.15 or later, found none. Mend: install nodejs."
    release(store, 1)
    release(store, 2)

    def run(*command, ok=True):
        done = subprocess.run(
            [path, READER, valkey, *command], check=False, capture_output=True, text=True
        )
        assert (done.returncode == 0) == ok, done.stderr
        return json.loads(done.stdout) if ok else done.stderr

    return run


def test_it_reads_features_queues_and_live_counts(node, store):
    client = OnlineClient(store)
    ids = [*VIDEOS, "nobody"]
    for view in ("video_topics", "video_statistics"):
        rows, features = node("features", view, *ids), client.read(view, ids)
        for at, row in enumerate(rows):
            assert row["status"] == Status(features.status[at]).name.lower()
            for name in features.names if row["status"] == "present" else ():
                assert row["features"][name] == pytest.approx(features[name][at].tolist()), name
        assert [row["status"] for row in rows] == ["present"] * len(VIDEOS) + ["not_found"]
    [clicks] = node("features", "user_recent_clicks", "ann")
    assert clicks["features"]["recent_video_ids"] == ["v0"]
    for name, limit in (("5", 3), ("p1", 8), ("all", 1)):
        expected = client.queues([name], epoch=2, limit=limit)[0]
        assert node("queue", name, str(limit)) == expected
        assert len(expected) == limit
    keys = LiveKeys("vt", Layout())
    for video, counts in (("v3", (7, 2)), ("v5", (1, 0))):
        key = keys.state(0, "video", "state", keys.bucket(video.encode()))
        store.hset(key, video, struct.pack("<IId", *counts, 0.5))
    live = client.live_statistics(["v3", "v4", "v5"])
    assert node("live", "v3", "v4", "v5") == [
        {"exposures": e, "clicks": c}
        for e, c in zip(live.live_exposures.tolist(), live.live_clicks.tolist(), strict=True)
    ]
    assert live.live_exposures.tolist() == [7, 0, 1]


def test_it_reads_queues_as_events_have_moved_them(node, store):
    client, keys = OnlineClient(store), LiveKeys("vt", Layout())
    assert node("queue", "5", "9") == client.queues(["5"], epoch=2, limit=9)[0]
    store.rpush(keys.queue(0, 2, "5"), "v7", "v1")
    assert node("queue", "5", "9") == client.queues(["5"], epoch=2, limit=9)[0] != ["v7", "v1"]
    store.hset(place("vt", LIVE_QUEUES), "0:2", "1")
    store.incr(place("vt", "directory"))
    assert node("queue", "5", "9") == client.queues(["5"], epoch=2, limit=9)[0] == ["v7", "v1"]


def test_what_is_not_there_is_told(node, store):
    assert "found nothing_of" in node("features", "nothing_of", "v1", ok=False)
    assert "expected features, queue, live, found other" in node("other", ok=False)
    store.flushall()
    assert "expected a store, found nothing" in node("queue", "5", ok=False)
