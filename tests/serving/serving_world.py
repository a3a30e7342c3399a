"""Releases of a few videos in Redis, each marked in all its parts, and the service over them."""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
from prometheus_client import CollectorRegistry
from uvicorn import Config, Server

from consumers.serving.app import make_app
from consumers.serving.labels import Labels
from consumers.serving.live import Watch
from consumers.serving.metrics import ServingMetrics
from consumers.serving.models import RankingModels
from consumers.serving.protocol import BoundedProtocol
from consumers.serving.server import running
from consumers.serving.service import Service
from vidtopics.contracts import (
    USER_RECENT_CLICKS,
    USER_STATISTICS,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
)
from vidtopics.layout import Layout, Schema, Structures, encode, place
from vidtopics.materialization import StoreWriter
from vidtopics.online import OnlineClient
from vidtopics.online.events import EventClient
from vidtopics.settings import RecallSettings, ServingSettings

VIDEOS = [f"v{i}" for i in range(8)]
RECALL = RecallSettings(recent_clicks=5, topics=2, candidates=6, fresh_share=0, popular_share=0.5)
LABELS = Labels({5: ["soccer", "goal"]}, {1: ["sports"]}, {5: 1})
AMPLE = timedelta(seconds=60)


def settings(**values):
    """Of a service that waits long, as other tests may have the machine."""
    values = {"deadline": AMPLE, "check_every": timedelta(seconds=0.05), "drain": 0} | values
    return ServingSettings(**values)


def release(store, load, *, number=None, epoch=None):
    """A load goes live; each video was shown `load` times, topics are of epoch `load`.

    Its videos are rotated by the load, so that queues of two loads differ.
    """
    epoch = load if epoch is None else epoch
    topics = {
        "topic_ids": [[5, *[-1] * 7]] * len(VIDEOS),
        "topic_weights": [[0.75, *[0.0] * 7]] * len(VIDEOS),
        "parent_topic_ids": [[1, *[-1] * 7]] * len(VIDEOS),
        "topic_count": [1] * len(VIDEOS),
        "below_threshold": [False] * len(VIDEOS),
        "topic_epoch": [epoch] * len(VIDEOS),
    }
    shown = {
        "video_exposures": [load] * len(VIDEOS),
        "video_clicks": [1] * len(VIDEOS),
        "video_decayed_exposures": [1.0] * len(VIDEOS),
        "video_decayed_clicks": [1.0] * len(VIDEOS),
        "video_decayed_at": [1] * len(VIDEOS),
    }
    clicks = {
        "recent_video_ids": [["v0"]],
        "recent_times": [[1]],
        "recent_watch_seconds": [[-1.0]],
    }
    write(store, VIDEO_TOPICS, VIDEOS, topics, load)
    write(store, VIDEO_STATISTICS, VIDEOS, shown, load)
    counts = {
        "user_exposures": [10],
        "user_clicks": [1],
        "user_expected_clicks": [1.0],
        "user_decayed_exposures": [1.0],
        "user_decayed_clicks": [1.0],
        "user_decayed_expected": [1.0],
        "user_decayed_at": [1],
    }
    write(store, USER_RECENT_CLICKS, ["ann"], clicks, load)
    write(store, USER_STATISTICS, ["ann"], counts, load)
    queues = Structures("vt", Layout())
    for queue in ("5", "p1", "all"):
        store.rpush(queues.queue(load, queue), *VIDEOS[load % 7 :], *VIDEOS[: load % 7])
    facts = {"load": load, "epoch": epoch, "topics": [5], "parents": [1], "parent_clicks": [1.0]}
    facts |= {"popular_clicks": [1.0] * len(VIDEOS), "global_ctr": 0.5}
    entries = store.hgetall(place("vt", "views"))
    with store.pipeline() as pipe:
        for name, text in entries.items():
            pipe.hset(place("vt", "views"), name, json.dumps(json.loads(text) | {"live": load}))
        pipe.hset(place("vt", "structures"), "topic_queues", json.dumps(facts))
        record = {"release": load if number is None else number}
        pipe.hset(place("vt", "releases"), str(load), json.dumps(record))
        pipe.incr(place("vt", "directory"))
        pipe.execute()


def write(store, view, ids, columns, load):
    writer, schema = StoreWriter(store), Schema.of(view)
    sender = writer.load(writer.register(view.name, schema), load=load, retained=range(1, load))
    names = [name.encode() for name in ids]
    marks = sender.space.fingerprints(names)
    times = {"event_us": [load] * len(ids), "created_us": [1] * len(ids)}
    sender.add(names, encode(schema, columns, fingerprints=marks, **times))
    sender.finish()


def store_model(folder, epoch):
    """As `vidtopics train ranking` leaves it, as far as :class:`MarkedRanker` reads it."""
    facts = {"weights": f"w{epoch}.safetensors", "topic_epoch": epoch}
    text = json.dumps(facts | {"facts": {"release": epoch}})
    folder.mkdir(exist_ok=True)
    (folder / "next").write_text(text)
    (folder / "next").replace(folder / "model.json")


class MarkedRanker:
    """Belongs to one epoch, and remembers features of another that it was given.

    Scores are the epoch in hundredths, less by place.
    """

    mixed = ()

    def __init__(self, folder):
        self.epoch = json.loads((folder / "model.json").read_text())["topic_epoch"]

    def score(self, candidates, features):
        shown = set(features["video_statistics"]["video_exposures"].tolist())
        epochs = {*features["video_topics"]["topic_epoch"].tolist(), candidates.epoch}
        if shown | epochs != {self.epoch}:
            MarkedRanker.mixed += ((self.epoch, shown, epochs),)
        places = np.arange(len(candidates.video_ids), dtype=np.float32)
        return np.float32(self.epoch / 100) - places / 10_000


class Caller:
    """One connection to the service."""

    def __init__(self, port, key=""):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and body."""
        data = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
        self.connection.request(method, path, data, self.headers | (headers or {}))
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def get(self, path):
        """Status and parsed body."""
        status, _, body = self.ask("GET", path)
        return status, json.loads(body)

    def post(self, path, body):
        status, _, answer = self.ask("POST", path, body, {"Content-Type": "application/json"})
        return status, json.loads(answer)


def service_over(store, folder, *, ranker=None, live_rules=None, **values):
    """A service over the releases of a store and the model in a folder."""
    serving = settings(**values)
    metrics = ServingMetrics(CollectorRegistry())
    client = OnlineClient(store, metrics=metrics.online)
    watch = Watch(client, RankingModels(folder, ranker or MarkedRanker), lambda: LABELS, RECALL)
    events = EventClient(store, patience_s=serving.deadline.total_seconds())
    return Service(
        watch,
        serving,
        metrics,
        events=events,
        popular_share=RECALL.popular_share,
        live_rules=live_rules,
    )


@contextmanager
def serving(service, keys=None, *, ready=True, page=None):
    """A caller of the service, which answers on loopback by a server of its own."""
    app = make_app(service, keys, running(service), page)
    server = Server(
        Config(app, http=BoundedProtocol, port=0, log_config=None, access_log=False, lifespan="on")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        if ready:
            wait_for(lambda: not list(service.not_ready()))
        yield Caller(port)
    finally:
        server.should_exit = True
        thread.join()


def wait_for(condition, seconds=100):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it didn't come about"
        time.sleep(0.01)
