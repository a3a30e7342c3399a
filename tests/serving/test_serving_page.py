"""What the page asks for: users, videos, covers, how far events were applied; and when it is on."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from hashlib import sha256

import pytest
import yaml
from page_world import EVIL, applying, catalogue, live_service
from PIL import Image
from recall_world import catalogue_row, put
from serving_world import Caller, serving, wait_for
from test_serving_events import event

from consumers.serving.catalogue import Described
from consumers.serving.keys import KeyRing
from vidtopics.contracts import VIDEO_CATALOG


@pytest.fixture
def service(store, tmp_path):
    return live_service(store, tmp_path, max_videos=6)


def test_a_user_is_what_was_applied(service, store):
    with serving(service) as caller, applying(store):
        before = caller.get("/users/ann")[1]
        assert caller.post("/events", [event(1), event(2, "impression", "v4")])[0] == 200
        wait_for(lambda: caller.get("/users/ann")[1]["clicks"] == 2)
        after = caller.get("/users/ann?limit=1")[1]
        nobody = caller.get("/users/no%2Fbody")
    assert [c["video_id"] for c in before["recent_clicks"]] == ["v0"]
    assert after["recent_clicks"] == [
        {"video_id": "v3", "clicked_at": "2026-01-15T00:05:00+00:00", "watch_seconds": None}
    ]
    assert (before["exposures"], after["exposures"], after["release"]) == (10, 12, 1)
    assert after["topics"] == [
        {
            "topic_id": 5,
            "clicks": 2,  # v0 and v3: each video has topic 5
            "label_terms": ["soccer", "goal"],
            "parent_topic_id": 1,
            "parent_label_terms": ["sports"],
        }
    ]
    assert (nobody[0], nobody[1]["user_id"], nobody[1]["topics"]) == (200, "no/body", [])


def test_the_status_says_whether_anybody_applies(service, store):
    with serving(service) as caller:
        never = caller.get("/events/status")[1]
        caller.post("/events", [event(1)])
        sent = caller.get("/events/status")[1]
        with applying(store):
            wait_for(lambda: not caller.get("/events/status")[1]["user"]["waiting"])
            applied = caller.get("/events/status")[1]
        caller.post("/events", [event(2)])
        stopped = caller.get("/events/status")[1]
    nothing = {"events_from": None, "entries": {}, "lag_ms": None}
    assert never["video"] == never["user"] == {**nothing, "waiting": False}
    assert sent["user"] == {**nothing, "waiting": True}
    assert applied["user"]["events_from"] == "1970-01-01T00:00:00.000001+00:00"
    assert (applied["user"]["entries"], applied["user"]["lag_ms"]) == (
        {"applied": 1, "implied": 1},
        0,
    )
    assert (stopped["user"]["waiting"], stopped["video"]["waiting"]) == (True, True)
    assert stopped["user"]["lag_ms"] > 0
    assert (applied["release"], applied["model"]["trained_on_release"]) == (1, 1)
    seconds = store.time()[0] - datetime.fromisoformat(applied["now"]).timestamp()
    assert -1 <= seconds < 100


def test_videos_have_titles_and_live_counts(service, store, tmp_path):
    with serving(service, page=catalogue(tmp_path)) as caller, applying(store):
        caller.post("/events", [event(1, video="v1"), event(2, "impression", "v1")])
        path = "/videos?id=v1&id=v0&id=other&id=v3"
        wait_for(lambda: caller.get(path)[1]["videos"][0]["clicks"] == 2)
        videos = caller.get(path)[1]["videos"]
        status, answer = caller.get("/videos?" + "&".join(f"id=v{n}" for n in range(7)))
        users = caller.get("/users?limit=5")[1]["user_ids"]
    rows = [
        (v["video_id"], v["title"], v["has_cover"], v["exposures"], v["clicks"]) for v in videos
    ]
    assert rows == [  # one exposure and one click each are the release's
        ("v1", "Title of v1", True, 3, 2),
        ("v0", EVIL, False, 1, 1),
        ("other", "", False, 0, 0),
        ("v3", "Title of v3", True, 1, 1),
    ]
    assert (status, "expected 6 at most, found 7" in answer["errors"][0]) == (422, True)
    assert sorted(users) == ["ann", "bob"]


def test_covers_are_small_and_only_those_of_the_catalogue(service, tmp_path):
    shown = catalogue(tmp_path)
    with serving(service, page=shown) as caller:
        status, headers, body = caller.ask("GET", "/covers/v1")
        others = ["v0", "v2", "v3", "other", "..%2Fsecret", str(tmp_path / "1.png")]
        refused = [caller.ask("GET", f"/covers/{name}")[0] for name in others]
    assert (status, headers["Content-Type"]) == (200, "image/webp")
    image = Image.open(io.BytesIO(body))
    assert (image.size, image.getpixel((40, 30))[0] > 150) == ((80, 60), True)
    assert refused == [204] * 6


def test_without_tables_videos_lack_titles_alone(service, tmp_path):
    shown = catalogue(tmp_path)
    log = tmp_path / "home" / "tables" / "video_catalog" / "_delta_log"
    for entry in log.iterdir():
        entry.write_text("{")
    with serving(service, page=shown) as caller:
        [video] = caller.get("/videos?id=v1")[1]["videos"]
        assert caller.ask("GET", "/covers/v1")[0] == 204
    assert (video["title"], video["has_cover"], video["exposures"]) == (None, False, 1)


def test_the_page_needs_no_key_and_what_it_shows_does(service, tmp_path):
    entry = {"sha256": sha256(b"web").hexdigest(), "scopes": ["read"], "rate": 1_000}
    (tmp_path / "keys.yaml").write_text(yaml.safe_dump({"web": entry}))
    keys = KeyRing.read(tmp_path / "keys.yaml")
    with serving(service, keys, page=catalogue(tmp_path)) as caller:
        status, headers, body = caller.ask("GET", "/")
        paths = ["/users/ann", "/users", "/videos?id=v1", "/covers/v1", "/events/status"]
        without = [caller.ask("GET", path)[0] for path in paths]
        web = Caller(caller.connection.port, "web")
        with_key = [web.ask("GET", path)[0] for path in paths]
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"http:" not in body.replace(b"http://www.w3.org/2000/svg", b"")  # nothing from outside
    assert b"https:" not in body
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; connect-src 'self'; ")
    assert "unsafe" not in policy
    assert (without, with_key) == ([401] * 5, [200] * 5)


def test_a_service_without_the_page_has_neither_it_nor_its_routes(service):
    with serving(service) as caller:
        paths = ["/", "/users", "/videos?id=v1", "/covers/v1"]
        assert [caller.ask("GET", path)[0] for path in paths] == [404] * 4
        described = json.loads(caller.ask("GET", "/openapi.json")[2])["paths"]
    assert {"/users/{user_id}", "/events/status"} <= set(described)
    assert not {"/users", "/videos", "/covers/{video_id}"} & set(described)


def test_what_a_delivery_changes_is_shown_and_what_it_removes_is_gone(tmp_path):
    shown = catalogue(tmp_path)
    assert (shown.describe(["v1"])["v1"].title, shown.thumbnail("v1")[:4]) == (
        "Title of v1",
        b"RIFF",
    )
    again = catalogue_row("v1") | {"title": "Another", "cover": ""}
    put(shown._tables, VIDEO_CATALOG, [again], 2)
    assert (shown.describe(["v1"])["v1"].title, shown.thumbnail("v1")) == ("Another", b"")
    put(shown._tables, VIDEO_CATALOG, [again | {"removed_at": datetime(2026, 1, 1, tzinfo=UTC)}], 3)
    assert shown.describe(["v1"]) == {"v1": Described()}


def test_without_keys_only_a_name_of_this_machine_is_answered(service, tmp_path):
    """A page of a stranger, whose name was given this machine's address, gets nothing."""
    with serving(service, page=catalogue(tmp_path)) as caller:
        host = {"Host": "evil.example:8080"}
        status, _, body = caller.ask("GET", "/users/ann", headers=host)
        assert (status, json.loads(body)["errors"][0][:16]) == (403, "the header Host:")
        assert caller.ask("GET", "/live", headers=host)[0] == 200
        assert caller.ask("GET", "/users/ann", headers={"Host": "localhost:8080"})[0] == 200
