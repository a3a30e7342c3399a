"""A live value in Redis that can't be parsed costs what it says, and no answer."""

from __future__ import annotations

import pytest
from page_world import applying, catalogue, live_service
from serving_world import serving, wait_for
from test_serving_events import event

from vidtopics.events.generations import keys_of

ASK = {"user_id": "ann", "limit": 8, "seed": 1}
BOB = {"user_id": "bob"}
GENERATION = 0
"""Of values that no load brought."""


@pytest.fixture
def service(store, tmp_path):
    return live_service(store, tmp_path)


def damage(store, part, name):
    """Cut the live value of a user or video off within its first number."""
    keys = keys_of(store, "vt")
    where = keys.state(GENERATION, part, "state", keys.bucket(name.encode()))
    store.hset(where, name, store.hget(where, name)[:3])


def counted(service, name, **labels):
    return service.metrics.registry.get_sample_value(name, labels)


def test_a_user_whose_value_is_damaged_is_answered_from_the_release(service, store, caplog):
    caplog.set_level("INFO", logger="vidtopics.service")
    with serving(service) as caller, applying(store):
        released = caller.post("/recommend", ASK)[1]
        released_user = caller.get("/users/ann")[1]
        bobs = event(2, video="v6") | BOB
        assert caller.post("/events", [event(1), bobs])[1]["acknowledged"] == 2
        wait_for(lambda: caller.get("/users/ann")[1]["clicks"] == 2)
        wait_for(lambda: caller.get("/users/bob")[1]["clicks"] == 1)
        whole = caller.post("/recommend", ASK)[1]
        damage(store, "user", "ann")
        status, answer = caller.post("/recommend", ASK)
        user_status, user = caller.get("/users/ann")
        bob, bobs_answer = caller.get("/users/bob")[1], caller.post("/recommend", ASK | BOB)[1]
    assert (whole["live"]["clicks"], whole["degraded"]) == (1, [])
    assert (status, user_status) == (200, 200)
    live = released["live"] | {"damaged": True}
    assert answer == released | {"degraded": ["events"], "live": live}
    assert user == released_user | {"degraded": ["events"]}
    assert (bob["clicks"], bob["degraded"]) == (1, [])
    assert (bobs_answer["live"]["clicks"], bobs_answer["degraded"]) == (1, [])
    assert counted(service, "vidtopics_online_damaged_total", part="user") == 2
    assert counted(service, "vidtopics_online_damaged_total", part="video") == 0
    assert counted(service, "vidtopics_serving_degraded_total", stage="events") == 2
    lines = [record.fields for record in caplog.records if record.getMessage() == "request"]
    causes = [line["cause"] for line in lines if line.get("degraded") == ["events"]]
    assert causes == ["the user's live value in Redis is damaged"] * 2
    assert "ann" not in str(lines)


def test_a_video_whose_value_is_damaged_lacks_its_events_alone(service, store, tmp_path):
    with serving(service, page=catalogue(tmp_path)) as caller, applying(store):
        sent = [event(1), event(2, video="v5") | BOB]
        caller.post("/events", sent)
        path = "/videos?id=v3&id=v5"
        wait_for(lambda: [v["clicks"] for v in caller.get(path)[1]["videos"]] == [2, 2])
        damage(store, "video", "v5")
        counts = [v["clicks"] for v in caller.get(path)[1]["videos"]]
        status, answer = caller.post("/recommend", ASK)
    assert (status, answer["degraded"], answer["live"]["clicks"]) == (200, [], 1)
    assert "v5" in [video["video_id"] for video in answer["videos"]]
    assert counts == [2, 1]  # one click each is the release's
    assert counted(service, "vidtopics_online_damaged_total", part="video") == 2
    assert counted(service, "vidtopics_online_damaged_total", part="user") == 0
