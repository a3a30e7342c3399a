"""What stands before the routes: keys, rates, sizes, wrong bodies; and the line after each."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pyarrow as pa
import pytest
import redis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_world import (
    Caller,
    MarkedRanker,
    release,
    service_over,
    serving,
    store_model,
    wait_for,
)

from consumers.serving.keys import KeyRing
from vidtopics.errors import SettingsError

BODY = {"user_id": "ann"}
TYPED = {"Content-Type": "application/json"}


@pytest.fixture
def service(store, tmp_path):
    release(store, 1)
    store_model(tmp_path, 1)
    return service_over(store, tmp_path, max_body=400, max_ids=5, max_videos=3)


def ring(tmp_path, workers=1, **keys):
    file = tmp_path / "keys.yaml"
    entries = {
        name: {"sha256": sha256(name.encode()).hexdigest(), "scopes": scopes, "rate": rate}
        for name, (scopes, rate) in keys.items()
    }
    file.write_text(yaml.safe_dump(entries))
    return KeyRing.read(file, workers)


def test_keys_open_what_their_scopes_say(service, tmp_path):
    keys = ring(tmp_path, web=(["read"], 1_000), writer=(["events"], 1_000))
    with serving(service, keys) as caller:
        port = caller.connection.port
        assert caller.get("/ready")[0] == caller.get("/openapi.json")[0] == 200
        assert caller.ask("GET", "/metrics")[0] == 200
        for stranger in (caller, Caller(port, "guess"), Caller(port, "w")):
            status, headers, body = stranger.ask("POST", "/recommend", BODY, TYPED)
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
            assert b"expected Bearer and an API key" in body
        assert Caller(port, "web").post("/recommend", BODY)[0] == 200
        status, answer = Caller(port, "writer").post("/recommend", BODY)
        assert (status, "expected the scope 'read', found events" in answer["errors"][0]) == (
            403,
            True,
        )
        assert Caller(port, "writer").post("/events", [])[0] == 200
        assert Caller(port, "web").ask("POST", "/events", "{}")[0] == 403


@pytest.mark.parametrize("path", ["/events%0A", "/events%0a?x=1", "/%65vents", "http://h/events"])
def test_no_spelling_of_the_path_goes_around_the_scope(service, tmp_path, path):
    keys = ring(tmp_path, web=(["read"], 1_000))
    with serving(service, keys) as caller:
        web = Caller(caller.connection.port, "web")
        assert web.ask("POST", path, "[]", TYPED)[0] in (403, 404)


@pytest.mark.parametrize("path", ["/events/", "/recommend/", "/ready/"])
def test_a_slash_behind_a_path_is_no_route(caller, path):
    status, headers, _ = caller.ask("POST", path, "[]", TYPED | {"Host": "localhost:1"})
    assert (status, headers["Location"]) == (404, None)


def test_a_key_that_asks_too_often_waits(service, tmp_path):
    """Two workers share the rate: this one gives each second one of two, one at once."""
    keys = ring(tmp_path, workers=2, web=(["read"], 2), other=(["read"], 2))
    clock = [0.0]
    for bucket in keys.buckets.values():
        bucket._clock = lambda: clock[0]
        bucket._at = 0.0
    with serving(service, keys) as caller:
        web, other = (Caller(caller.connection.port, name) for name in ("web", "other"))
        assert web.post("/recommend", BODY)[0] == 200
        status, headers, body = web.ask("POST", "/recommend", BODY, TYPED)
        assert (status, headers["Retry-After"]) == (429, "1")
        assert b"the key web: expected 2 requests a second at most" in body
        assert other.post("/recommend", BODY)[0] == 200
        clock[0] = 1.0
        assert web.post("/recommend", BODY)[0] == 200


def test_a_wrong_file_of_keys_is_said_entry_by_entry(tmp_path):
    file = tmp_path / "keys.yaml"
    for text, words in {
        "": "expected a key at least, found none",
        "web: {sha256: abc, scopes: [read], rate: 1}": "web.sha256: expected",
        "web: {scopes: [write], rate: 0}": "web.rate: expected",
        "web: secret": "web: expected",
        "web: {}\nweb: {}": "the key 'web' twice",
    }.items():
        file.write_text(text)
        with pytest.raises(SettingsError, match=words) as error:
            KeyRing.read(file)
        assert "abc" not in str(error.value)
    with pytest.raises(SettingsError, match="no_such_file"):
        KeyRing.read(tmp_path / "no_such_file")


def test_a_body_above_the_limit_is_refused_before_it_is_parsed(service):
    whole = json.dumps(BODY).ljust(400)
    with serving(service) as caller:
        for body in (whole, iter([whole[:300].encode(), whole[300:].encode()])):
            assert ask_raw(caller, body)[0] == 200
        too_long = [whole + " ", "{" * 401, iter([b"{" * 300, b"{" * 101])]
        for body in too_long:
            status, answer = ask_raw(Caller(caller.connection.port), body)
            assert status == 413
            assert "expected 400 bytes at most" in answer["errors"][0]


def test_a_length_above_the_limit_is_refused_before_the_body_comes(service):
    with serving(service) as caller:
        connection = caller.connection
        connection.putrequest("POST", "/recommend")
        connection.putheader("Content-Length", "401")
        connection.endheaders()
        assert connection.getresponse().status == 413


def ask_raw(caller, body):
    """An iterator is sent in chunks, without a length before it."""
    caller.connection.request("POST", "/recommend", body, TYPED)
    answer = caller.connection.getresponse()
    return answer.status, json.loads(answer.read())


WRONG = {
    "no JSON": ('{"user_id', "body: expected JSON"),
    "other bytes": (b"\x00" * 9, "body: expected JSON in UTF-8"),
    "too deep": ("[" * 100_000, "body: expected JSON in UTF-8, not too deep"),
    "no object": ("[]", "body: expected a valid dictionary"),
    "no user": ("{}", "body, user_id: expected a value, found none"),
    "an empty user": ('{"user_id": ""}', "body, user_id: expected text, found ''"),
    "a long user": (json.dumps({"user_id": "u" * 300}), "expected 256 characters at most"),
    "half a character": ('{"user_id": "\\ud800"}', "body, user_id: expected text in UTF-8"),
    "a text as number": ('{"user_id": "a", "limit": "3"}', "body, limit: expected a valid integer"),
    "a truth value": ('{"user_id": "a", "limit": true}', "body, limit: expected a valid integer"),
    "too many": ('{"user_id": "a", "limit": 4}', "body, limit: expected 3 at most, found 4"),
    "a typing error": ('{"user_id": "a", "limt": 4}', "body, limt: expected a known field"),
}


@pytest.fixture(scope="module")
def caller(valkey, tmp_path_factory):
    """Of a service that many wrong requests are sent to."""
    folder = tmp_path_factory.mktemp("ranking")
    with redis.Redis.from_url(valkey) as store:
        store.flushall()
        release(store, 1)
        store_model(folder, 1)
        service = service_over(store, folder, max_ids=5, max_videos=3, check_every=3_600)
        with serving(service) as caller:
            yield caller


@pytest.mark.parametrize(("body", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_body_is_said_in_words(caller, body, words):
    status, _, answer = caller.ask("POST", "/recommend", body, TYPED)
    assert status == 422
    [error] = json.loads(answer)["errors"]
    assert words in error
    assert " found " in error
    assert " Mend: " in error


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"ids": {}}, "body: expected either a service or views, found neither"),
        ({"service": "x", "views": ["y"], "ids": {}}, "found both"),
        ({"service": "ranking_v9", "ids": {}}, "one of the services recall_v1"),
        ({"views": ["nope"], "ids": {}}, "found 'nope'"),
        ({"views": ["video_topics"], "ids": {"user": ["a"]}}, "expected ids for video_id"),
        ({"views": ["video_topics"], "ids": {"cat": ["a"]}}, "ids by entity: video, user"),
        ({"views": ["video_topics"], "ids": {"video": ["a"] * 6}}, "expected 5 at most, found 6"),
    ],
)
def test_wrong_features_are_said_in_words(caller, body, words):
    status, answer = caller.post("/features", body)
    assert (status, words in answer["errors"][0]) == (422, True), answer


def test_paths_and_methods_that_there_are_not(caller):
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/recommend", 405),
        ("GET", "/topics/17", 404),
        ("GET", "/topics/x", 422),
        ("GET", "/topics/5?limit=4", 422),
        ("GET", f"/topics/{10**99}", 404),
    ):
        code, _, body = caller.ask(method, path)
        [error] = json.loads(body)["errors"]
        assert (code, " Mend: " in error) == (status, True), error


def test_a_topic(caller):
    assert caller.get("/topics/5?limit=2") == (
        200,
        {
            "topic_id": 5,
            "label_terms": ["soccer", "goal"],
            "parent_topic_id": 1,
            "parent_label_terms": ["sports"],
            "videos": ["v1", "v2"],
            "release": 1,
        },
    )


FIRST = "1970-01-01T00:00:00.000001+00:00"
FEATURES = {
    "service": "ranking_v2",
    "ids": {"video": ["v3", "no", "v1"], "user": ["ann", "nobody"]},
}


def test_features_as_json(caller):
    status, answer = caller.post("/features", FEATURES)
    assert (status, answer["release"]) == (200, 1)
    topics, clicks = (answer["views"][name] for name in ("video_topics", "user_recent_clicks"))
    assert (topics["entity"], clicks["entity"]) == ("video", "user")
    assert topics["status"] == ["present", "not_found", "present"]
    assert topics["features"]["topic_ids"] == [[5, *[-1] * 7], None, [5, *[-1] * 7]]
    assert topics["event_timestamp"] == [FIRST, None, FIRST]
    assert clicks["features"]["recent_video_ids"] == [["v0"], None]


def test_features_as_arrow_are_the_same(caller):
    accept = {"Accept": "application/vnd.apache.arrow.stream"}
    status, headers, body = caller.ask("POST", "/features", FEATURES, TYPED | accept)
    assert (status, headers["Content-Type"]) == (200, accept["Accept"])
    source, tables = pa.BufferReader(body), {}
    while source.tell() < len(body):
        table = pa.ipc.open_stream(source).read_all()
        assert table.schema.metadata[b"release"] == b"1"
        tables[table.schema.metadata[b"entity"].decode()] = table
    assert tables["video"]["video_id"].to_pylist() == FEATURES["ids"]["video"]
    assert tables["user"]["user_id"].to_pylist() == FEATURES["ids"]["user"]
    views = caller.post("/features", FEATURES)[1]["views"]
    assert len(views) == 4
    for name, rows in views.items():
        table = tables[rows["entity"]]
        for feature, values in rows["features"].items():
            assert table[f"{name}.{feature}"].to_pylist() == values
        assert [v is None for v in rows["event_timestamp"]] == [
            v is None for v in table[f"{name}.event_timestamp"].to_pylist()
        ]
    assert tables["video"]["video_topics.status"].to_pylist() == [1, 3, 1]
    assert pa.types.is_fixed_size_list(tables["video"].schema.field("video_topics.topic_ids").type)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
ROUTES = {
    "/recommend": {
        "user_id": st.text(max_size=300) | JSON,
        "limit": st.integers(-2, 5) | JSON,
        "seed": st.integers() | JSON,
    },
    "/features": {
        "service": st.sampled_from(["ranking_v2", "recall_v1"]) | JSON,
        "views": st.lists(st.sampled_from(["video_topics", "user_recent_clicks"])) | JSON,
        "ids": st.dictionaries(
            st.sampled_from(["video", "user"]), st.lists(st.text(max_size=5), max_size=4)
        )
        | JSON,
    },
}
BODIES = st.sampled_from(list(ROUTES)).flatmap(
    lambda route: st.tuples(
        st.just(route),
        st.fixed_dictionaries({}, optional=ROUTES[route]).map(json.dumps)
        | JSON.map(json.dumps)
        | st.binary(max_size=60)
        | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    )
)


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(BODIES, st.booleans())
def test_whatever_is_sent_is_answered_and_never_with_500(caller, sent, arrow):
    route, body = sent
    accept = {"Accept": "application/vnd.apache.arrow.stream"} if arrow else {}
    status, _, answer = caller.ask("POST", route, body, TYPED | accept)
    assert status in (200, 422), answer
    if status == 422:
        assert all(" Mend: " in error for error in json.loads(answer)["errors"])


def test_openapi_has_an_example_of_each_body_that_is_answered(caller):
    api = caller.get("/openapi.json")[1]
    for route in ROUTES:
        schema = api["paths"][route]["post"]["requestBody"]["content"]["application/json"]["schema"]
        [example] = api["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["examples"]
        example["limit"] = 3
        if route == "/features":
            del example["limit"]
        assert caller.post(route, example)[0] == 200
        assert api["paths"][route]["post"]["security"]


def test_the_log_has_a_line_a_request_without_bodies_and_ids(service, tmp_path, caplog):
    caplog.set_level("INFO", logger="vidtopics.service")
    with serving(service, ring(tmp_path, web=(["read"], 9_000))) as caller:
        web = Caller(caller.connection.port, "web")
        web.post("/recommend", BODY)
        web.post("/recommend", BODY | {"limit": "ann"})
        web.post("/recommend", {"user_id": "ann", "x" * 500: 1})
        web.get("/topics/5")
        web.get("/nowhere/ann")
        caller.post("/recommend", BODY)
        caller.get("/ready")
    lines = [r.fields for r in caplog.records if r.getMessage() == "request"]
    assert [(line["route"], line["status"], line.get("key")) for line in lines] == [
        ("/recommend", 200, "web"),
        ("/recommend", 422, "web"),
        ("/recommend", 413, "web"),
        ("/topics/{topic_id}", 200, "web"),
        ("unmatched", 404, "web"),
        ("/recommend", 401, None),
    ]
    assert "ann" not in json.dumps(lines)
    assert lines[0]["release"] == 1
    assert lines[0]["ms"] > 0
    sample = service.metrics.registry.get_sample_value
    labels = {"route": "/recommend", "status": "413"}
    assert sample("vidtopics_serving_requests_total", labels) == 1
    assert sample("vidtopics_serving_seconds_count", {"route": "/recommend"}) == 4
    assert sample("vidtopics_serving_release") is not None


def test_a_bug_is_a_500_for_all_and_the_log_says_where_without_ids(service, monkeypatch, caplog):
    def faulty(*given):
        raise KeyError("ann")

    with serving(service) as caller:
        monkeypatch.setattr(service, "answer", faulty)
        status, answer = caller.post("/recommend", BODY)
    assert (status, "found a bug of ours" in answer["errors"][0]) == (500, True)
    [line] = [r.fields for r in caplog.records if r.getMessage() == "bug"]
    assert line["cause"] == f"KeyError at {line['places'][-1]}"
    assert "of test_serving_gate.py" in line["cause"]
    assert "ann" not in str([vars(record) for record in caplog.records])
    sample = service.metrics.registry.get_sample_value
    labels = {"route": "/recommend", "status": "500"}
    assert sample("vidtopics_serving_requests_total", labels) == 1


def test_a_caller_that_leaves_in_the_middle_of_a_body_disturbs_nobody(service, caplog):
    caplog.set_level("INFO", logger="vidtopics.service")
    with serving(service) as caller:
        gone = Caller(caller.connection.port).connection
        gone.putrequest("POST", "/recommend")
        gone.putheader("Content-Length", "100")
        gone.endheaders(b'{"user')
        gone.close()
        assert caller.post("/recommend", BODY)[0] == 200
    lines = [r.fields for r in caplog.records if r.getMessage() == "request"]
    assert sorted(line["status"] for line in lines) == [200, 499]


def test_one_request_too_many_ends_at_once_and_those_under_way_are_answered(store, tmp_path):
    """Two that read are under way: a third one isn't let in, events and probes are."""
    release(store, 1)
    store_model(tmp_path, 1)
    going_on, begun = threading.Event(), []

    class Waiting(MarkedRanker):
        def score(self, candidates, features):
            begun.append(1)
            going_on.wait()
            return super().score(candidates, features)

    service = service_over(store, tmp_path, ranker=Waiting, max_requests=2, ranker_share=1.0)
    going_on.set()  # for the model's warming up
    with serving(service) as caller, ThreadPoolExecutor(2) as pool:
        port = caller.connection.port
        going_on.clear()
        begun.clear()
        try:
            waiting = [pool.submit(Caller(port).post, "/recommend", BODY) for _ in range(2)]
            wait_for(lambda: len(begun) == 2)
            status, headers, body = caller.ask("GET", "/topics/5")
            assert (status, headers["Retry-After"]) == (503, "1")
            assert b"expected 2 requests under way at most, found one more" in body
            assert caller.post("/events", [])[0] == caller.get("/ready")[0] == 200
        finally:
            going_on.set()
        assert [answer.result()[0] for answer in waiting] == [200, 200]
        assert caller.post("/recommend", BODY)[0] == 200
    value = service.metrics.registry.get_sample_value
    assert value("vidtopics_serving_busy_total", {"path": "reading"}) == 1
    assert value("vidtopics_serving_busy_total", {"path": "sending"}) == 0
