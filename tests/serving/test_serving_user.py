"""The guide's user in Redis: all routes work with it, and it can do nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from page_world import catalogue
from serving_world import release, service_over, serving, store_model
from test_serving_events import event

from vidtopics.events.generations import Generation, keys_of, open_generation
from vidtopics.layout import place

GUIDE = Path(__file__).parents[2] / "docs" / "serving.md"


@pytest.fixture
def user(store, valkey):
    """A connection as the user of the guide's line."""
    [line] = [x for x in GUIDE.read_text().splitlines() if x.startswith("ACL SETUSER server ")]
    store.execute_command("ACL", "SETUSER", *line.split()[2:])
    with redis.Redis.from_url(valkey, username="server", password="SECRET") as connection:
        yield connection
    store.execute_command("ACL", "DELUSER", "server")


def test_each_route_works_with_the_guides_user(store, user, tmp_path):
    release(store, 1)
    store_model(tmp_path, 1)
    store.set(place("vt", "applying"), "{}")
    assert open_generation(store, keys_of(store, "vt"), Generation(0, 0))
    features = {"service": "ranking_v2", "ids": {"video": ["v1"], "user": ["ann"]}}
    service = service_over(user, tmp_path)
    with serving(service, page=catalogue(tmp_path)) as caller:
        assert service.watch.event_lag_s == 0
        status, answer = caller.post("/recommend", {"user_id": "ann"})
        assert (status, answer["degraded"]) == (200, [])
        assert caller.post("/features", features)[0] == 200
        assert caller.get("/topics/5")[0] == 200
        assert caller.get("/users/ann")[0] == caller.get("/events/status")[0] == 200
        assert caller.get("/videos?id=v1")[0] == 200
        sent = caller.post("/events", [event(1), {"kind": "no event"}])
    assert (sent[0], sent[1]["acknowledged"]) == (200, 1)


def test_the_guides_user_changes_nothing_but_streams_of_events(user):
    for refused in (
        lambda: user.set("vt:1", b"x"),
        lambda: user.delete("vt:events:dead"),
        lambda: user.xadd("vt:live:1", {"a": 1}),
        lambda: user.xadd("other:events:dead", {"a": 1}),
        lambda: user.xtrim("vt:events:dead", 0),
        lambda: user.get("other:1"),
        user.flushall,
        lambda: user.eval("return redis.call('SET', KEYS[1], 'x')", 1, "vt:1"),
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            refused()
