"""`POST /recommend` after `POST /events`: a click of a moment ago, and since when events count."""

from __future__ import annotations

import json

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from serving_world import LABELS, RECALL, VIDEOS, release, serving, settings, store_model

from consumers.live import LiveRules
from consumers.serving.live import Watch
from consumers.serving.metrics import ServingMetrics
from consumers.serving.models import RankingModels
from consumers.serving.service import Service
from vidtopics.events.applying import Applier
from vidtopics.events.generations import Generation, keys_of, open_generation
from vidtopics.layout import place
from vidtopics.online import OnlineClient
from vidtopics.online.event_rules import MAX_AHEAD
from vidtopics.online.events import EventClient
from vidtopics.settings import Settings

SHOWN_US = 1_768_435_500_000_000


class ByClicks:
    """Scores by live clicks, the most first."""

    def __init__(self, folder):
        pass

    def score(self, candidates, features):
        return features["video_statistics"]["video_clicks"].astype(np.float32) / 100


def service_over(store, folder, rules):
    metrics, client = ServingMetrics(CollectorRegistry()), OnlineClient(store)
    watch = Watch(client, RankingModels(folder, ByClicks), lambda: LABELS, RECALL)
    return Service(
        watch,
        settings(),
        metrics,
        events=EventClient(store),
        popular_share=RECALL.popular_share,
        live_rules=rules,
    )


def click(number, video, user="ann"):
    ids = {"event_id": f"e{number}", "user_id": user, "video_id": video}
    return {"kind": "click", **ids, "event_timestamp": SHOWN_US / 1e6}


@pytest.mark.parametrize("is_on", [True, False])
def test_a_click_is_known_to_the_next_request(store, tmp_path, is_on):
    release(store, 1)
    store_model(tmp_path, 1)
    text = json.loads(store.hget(place("vt", "structures"), "topic_queues"))
    facts = json.dumps(text | {"global_ctr": 0.25})
    store.hset(place("vt", "structures"), "topic_queues", facts)
    store.incr(place("vt", "directory"))
    keys, generation = keys_of(store, "vt"), Generation(0, SHOWN_US)  # of values no load brought
    rules = LiveRules.of(Settings()) if is_on else None
    with serving(service_over(store, tmp_path, rules)) as caller:
        ask = {"user_id": "ann", "limit": 8, "seed": 1}
        assert caller.post("/recommend", ask)[1]["live"] is None  # nobody applies
        assert open_generation(store, keys, generation)
        before = caller.post("/recommend", ask)[1]
        events = [click(1, "v3"), click(2, "v6", "bob"), click(3, "v6", "eve")]
        assert caller.post("/events", events)[1]["acknowledged"] == 3
        Applier(store, keys, recent=5, max_ahead=MAX_AHEAD).apply(generation)
        after = caller.post("/recommend", ask)[1]
    none = {"since_us": SHOWN_US, "exposures": 0, "clicks": 0, "damaged": False}
    assert before["live"] == (none if is_on else None)
    videos = {video["video_id"] for video in before["videos"]}
    assert videos <= {*VIDEOS} - {"v0"}
    assert "v3" in videos
    if not is_on:
        assert after == before
        return
    assert after["live"] == none | {"exposures": 1, "clicks": 1}
    assert "v3" not in {video["video_id"] for video in after["videos"]}
    first = after["videos"][0]
    assert (first["video_id"], round(first["score"], 6)) == ("v6", 0.03)
    assert after["clicks"] == 2
