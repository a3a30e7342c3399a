"""What the service says while events wait to be applied."""

from __future__ import annotations

import time

import pytest
from serving_world import release, service_over, serving, store_model, wait_for
from test_serving_events import event

from consumers.serving.event_lag import NOT_ALLOWED, event_lag_s
from vidtopics.events.applying import Applier
from vidtopics.events.generations import Generation, keys_of, open_generation
from vidtopics.layout import place
from vidtopics.online import OnlineClient
from vidtopics.online.event_rules import MAX_AHEAD
from vidtopics.online.events import EventClient

HOUR_S = 3_600
LIVE = Generation(0, 0)  # of values that no load brought


@pytest.fixture
def keys(store):
    """Of a release that a consumer applies events to."""
    release(store, 1)
    # Its views are of release 0 to readers of events, as no load says where they come from.
    store.set(place("vt", "applying"), "{}")
    keys = keys_of(store, "vt")
    assert open_generation(store, keys, LIVE)
    return keys


def add(store, keys, age_s):
    """An entry that came so long ago."""
    number = f"{int((time.time() - age_s) * 1000)}-0"
    store.xadd(keys.stream("user", 3), {"k": "i"}, id=number)


def service_of(store, tmp_path, **values):
    store_model(tmp_path, 1)
    service = service_over(store, tmp_path, **values)
    service.watch.max_event_lag_s = 60.0
    service.watch._lagged = service.metrics.lagged
    return service


def shown_lag(service):
    return service.metrics.registry.get_sample_value("vidtopics_serving_event_lag_seconds")


def test_recommendations_say_that_events_wait_and_the_service_stays_ready(store, keys, tmp_path):
    service = service_of(store, tmp_path)
    with serving(service) as caller:
        assert caller.post("/recommend", {"user_id": "ann"})[1]["degraded"] == []
        add(store, keys, HOUR_S)
        wait_for(lambda: service.watch.events_behind)
        assert caller.post("/recommend", {"user_id": "ann"})[1]["degraded"] == ["events"]
        assert caller.get("/ready") == (200, {"ready": True, "reasons": []})
        assert HOUR_S <= shown_lag(service) < HOUR_S + 600
        Applier(store, keys, recent=5, max_ahead=MAX_AHEAD).apply(LIVE)
        wait_for(lambda: shown_lag(service) == 0)  # set after `events_behind`
        assert not service.watch.events_behind
        assert caller.post("/recommend", {"user_id": "ann"})[1]["degraded"] == []


def test_by_its_setting_the_service_is_not_ready_without_events(store, keys, tmp_path):
    service = service_of(store, tmp_path, require_events=True)
    with serving(service) as caller:
        assert caller.get("/ready")[0] == 200
        add(store, keys, HOUR_S)
        wait_for(lambda: caller.get("/ready")[0] == 503)
        [reason] = caller.get("/ready")[1]["reasons"]
        assert reason.startswith("events are behind by 36")
        assert reason.endswith(" s, above online.max_event_lag of 60 s")


def test_an_event_of_a_moment_ago_is_no_reason(store, keys, tmp_path):
    service = service_of(store, tmp_path)
    EventClient(store).send([event(1)])
    service.watch.look()
    assert 0 < service.watch.event_lag_s < 60
    assert not service.watch.events_behind


def test_nobody_waits_for_events_where_none_are_applied_or_none_can_be(store, keys):
    add(store, keys, HOUR_S)
    directory = OnlineClient(store).directory()
    assert event_lag_s(store, directory) >= HOUR_S
    store.hdel(place("vt", "live"), "0")  # its generation couldn't be opened
    assert event_lag_s(store, directory) == 0
    store.delete(place("vt", "applying"))
    assert event_lag_s(store, directory) is None


def test_a_user_that_may_not_ask_is_told_and_serves(store, keys, valkey, tmp_path):
    store.execute_command("ACL", "SETUSER", "blind", "on", "nopass", "~*", "+@all", "-xrange")
    try:
        client = OnlineClient.from_url(valkey.replace("//", "//blind:x@"))
        service = service_of(store, tmp_path)
        service.watch._client = client
        warned = []
        service.watch._warn = warned.append
        service.watch.look()
        assert (service.watch.problems, service.watch.event_lag_s) == ((), None)
        assert NOT_ALLOWED in warned
    finally:
        store.execute_command("ACL", "DELUSER", "blind")


def test_while_a_look_is_under_way_the_last_one_counts(store, keys, tmp_path, monkeypatch):
    service = service_of(store, tmp_path)
    add(store, keys, HOUR_S)
    service.watch.look()
    meanwhile = []

    def look(*_):
        meanwhile.append(service.watch.events_behind)
        return 0.0

    monkeypatch.setattr("consumers.serving.live.noted_lag_s", look)
    service.watch.look()
    assert (meanwhile, service.watch.events_behind) == ([True], False)
