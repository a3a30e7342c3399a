"""`POST /events`: each media type, what is refused, what Redis and live reads then have."""

from __future__ import annotations

import json
import struct
import threading
import time
from types import SimpleNamespace

import pyarrow as pa
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_world import AMPLE, Caller, release, service_over, serving, store_model, wait_for

from consumers.serving.events import events_of
from consumers.serving.media_types import ARROW, JSON, LINES
from vidtopics.errors import InputError
from vidtopics.events.applying import Applier
from vidtopics.events.generations import Generation, keys_of, open_generation
from vidtopics.online import OnlineClient
from vidtopics.online import events as online_events
from vidtopics.online.event_rules import MAX_AHEAD
from vidtopics.online.events import EventClient, NotAcknowledgedError, Sent

SHOWN = "2026-01-15T00:05:00Z"


def event(number, kind="click", video="v3"):
    ids = {"event_id": f"e{number}", "user_id": "ann", "video_id": video}
    return {"kind": kind, **ids, "event_timestamp": SHOWN}


def arrow(rows):
    sink, table = pa.BufferOutputStream(), pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def service(store, tmp_path):
    release(store, 1)
    store_model(tmp_path, 1)
    return service_over(store, tmp_path, max_body=4_000)


def send(caller, kind, body):
    status, _, answer = caller.ask("POST", "/events", body, {"Content-Type": kind})
    return status, json.loads(answer)


def test_a_reader_sees_what_was_sent_in_each_media_type(service, store):
    rows = [event(1), event(2, "impression"), event(1)]  # the third is the first again
    lines = "\n".join(json.dumps(row) for row in (event(3), event(4)))
    with serving(service) as caller:
        assert send(caller, JSON, json.dumps(rows)) == (200, {"acknowledged": 3, "refused": []})
        assert send(caller, JSON, json.dumps(event(5)))[1]["acknowledged"] == 1
        assert send(caller, f"{LINES}; charset=utf-8", lines)[1]["acknowledged"] == 2
        assert send(caller, ARROW, arrow([event(6), event(7, "impression")]))[0] == 200
    keys, generation = keys_of(store, "vt"), Generation(0, 0)  # of values that no load brought
    assert open_generation(store, keys, generation)
    Applier(store, keys, recent=5, max_ahead=MAX_AHEAD).apply(generation)
    shown = OnlineClient(store).live_statistics(["v3"])
    assert (shown.live_exposures.tolist(), shown.live_clicks.tolist()) == ([7], [5])


def test_lines_end_at_newlines_alone():
    """Of `str.splitlines` so do U+2028, U+0085 and others, which JSON has within its texts."""
    rows = [{"kind": "\u2028\x85\u2029"}, {"kind": "click"}]
    lines = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert events_of(LINES, lines.encode(), check_2000) == rows


def test_events_that_break_a_rule_are_named_and_the_others_taken(service, store):
    body = [event(1), event(2, "view"), "no event", event(3)]
    with serving(service) as caller:
        status, answer = send(caller, JSON, json.dumps(body))
    assert (status, answer["acknowledged"]) == (200, 2)
    assert [(r["number"], r["reason"]) for r in answer["refused"]] == [
        (1, "bad_kind"),
        (2, "no_event"),
    ]
    assert store.xlen(keys_of(store, "vt").dead) == 2


def test_a_body_of_which_no_event_is_taken_is_a_422_that_names_the_first(service, store):
    """A caller who looks at the status alone must not take it for success."""
    bodies = {
        JSON: json.dumps([event(1, "view"), "no event"]),
        LINES: '{"kind": "view"}\nno event',
        ARROW: arrow([event(1, "view"), event(2) | {"event_id": ""}]),
    }
    with serving(service) as caller:
        for kind, body in bodies.items():
            status, answer = send(caller, kind, body)
            assert (status, answer["acknowledged"], len(answer["refused"])) == (422, 0, 2)
            [error] = answer["errors"]
            assert error.startswith(
                "body, events: expected one at least that keeps the rules, found 2 of 2 refused;"
                " number 0: bad_kind, expected kind impression, click or watch, found 'view'. Mend:"
            )
        assert send(caller, JSON, "[]") == (200, {"acknowledged": 0, "refused": []})
    keys = keys_of(store, "vt")
    assert store.xlen(keys.dead) == 6  # each refused event is a dead letter, as beside others
    assert {*store.keys("vt:events*")} == {keys.dead.encode()}


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("text/csv", "'text/csv'"),
        ("application/x-www-form-urlencoded", "'application/x-www-form-urlencoded'"),  # curl's own
        ("", "none"),
        (None, "none"),
    ],
)
@pytest.mark.parametrize(
    ("path", "expected", "body"),
    [
        ("/events", f"{JSON} or {LINES} or {ARROW}", []),
        ("/recommend", JSON, {"user_id": "ann"}),
        ("/features", JSON, {"views": ["video_topics"], "ids": {"video": ["v1"]}}),
        ("/similar", JSON, {"video_ids": ["v1"]}),
    ],
)
def test_a_header_that_does_not_name_the_body_is_a_415(service, path, expected, body, kind, found):
    headers = {} if kind is None else {"Content-Type": kind}
    with serving(service) as caller:
        status, _, answer = caller.ask("POST", path, json.dumps(body), headers)
        assert caller.ask("POST", path, json.dumps(body), {"Content-Type": JSON})[0] in (200, 404)
    assert (status, json.loads(answer)["errors"]) == (
        415,
        [
            f"the header Content-Type: expected {expected}, found {found}. Mend: send it with the"
            f" body (curl -H 'Content-Type: {JSON}')."
        ],
    )


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        (JSON, b"[{", "body: expected events as application/json"),
        (LINES, b"\xff\n", "body: expected events as application/x-ndjson"),
        (ARROW, b"no stream", f"body: expected events as {ARROW}"),
        (JSON, b"[" * 3_000, "body: expected events as application/json"),
    ],
)
def test_a_body_that_is_not_what_it_says(service, store, kind, body, words):
    with serving(service) as caller:
        status, answer = send(caller, kind, body)
    assert status == 422
    assert words in answer["errors"][0]
    assert not store.keys("vt:events*")


def stream(columns, **options):
    """An IPC stream of a batch, as Arrow writes it."""
    sink, batch = pa.BufferOutputStream(), pa.RecordBatch.from_pydict(columns)
    options = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def forged(columns, form, true, false):
    """A stream in whose body, the last place where they stand, some numbers are others."""
    head, mark, tail = stream(columns).rpartition(struct.pack(form, *true))
    assert mark
    return head + struct.pack(form, *false) + tail


TEXT, NUMBERS = {"kind": ["q" * 77]}, {"watch_seconds": [1.5] * 1_111}
HOSTILE = {
    "text beyond its buffer": (forged(TEXT, "<ii", (0, 77), (0, 2**30)), "out of bounds"),
    "text before its buffer": (forged(TEXT, "<ii", (0, 77), (-8, 77)), "negative offset"),
    "no text": (stream(TEXT).replace(b"qqqq", b"qq\xff\xfe", 1), "Invalid UTF8"),
    "rows beyond their buffer": (
        stream(NUMBERS).replace(struct.pack("<q", 1_111), struct.pack("<q", 1_999)),
        "too small",
    ),
    "fewer rows than none": (
        stream(NUMBERS).replace(struct.pack("<q", 1_111), struct.pack("<q", -5)),
        "a batch of -5 rows",
    ),
    "rows without a byte": (stream({"kind": pa.nulls(2_000_000)}), "a column of null"),
    "many rows": (stream({"kind": [""] * 2_001}), "2000 at most, found 2001"),
    "one text for all": (
        stream({"kind": pa.DictionaryArray.from_arrays(pa.array([0] * 9), ["a"])}),
        "a column of dictionary",
    ),
    "compressed": (stream({"kind": ["a" * 9_999]}, compression="zstd"), "a compressed batch"),
    "old": (stream(TEXT, metadata_version=pa.ipc.MetadataVersion.V4), "before Arrow 1.0"),
    "many columns": (stream({str(n): [1] for n in range(10)}), "10 columns"),
    "a time after all years": (
        stream({"event_timestamp": pa.array([2**62], pa.timestamp("s", "UTC"))}),
        "too large",
    ),
    "an unknown zone": (
        stream({"event_timestamp": pa.array([1], pa.timestamp("s", "No/Where"))}),
        "No/Where",
    ),
    "no schema": (b"", "no schema"),
}


def check_2000(count):
    if count > 2_000:
        raise InputError(f"2000 at most, found {count}")


@pytest.mark.parametrize(("body", "words"), HOSTILE.values(), ids=HOSTILE)
def test_an_arrow_body_that_lies_is_refused(body, words):
    """Arrow alone would read beyond the body, or make gigabytes of it."""
    with pytest.raises(InputError, match=words):
        events_of(ARROW, body, check_2000)


def test_rows_of_several_arrow_batches_are_counted_together_before_they_are_read():
    counts, sink, schema = [], pa.BufferOutputStream(), pa.schema({"kind": pa.large_string()})
    with pa.ipc.new_stream(sink, schema) as writer:
        for number in (3, 0, 4):
            writer.write_batch(pa.RecordBatch.from_pydict({"kind": ["a"] * number}, schema))
    assert events_of(ARROW, sink.getvalue().to_pybytes(), counts.append) == [{"kind": "a"}] * 7
    assert counts == [3, 3, 7]


def test_more_events_than_the_limit_are_refused_in_each_media_type(store, tmp_path):
    release(store, 1)
    store_model(tmp_path, 1)
    rows = [event(1), event(2), event(3)]
    lines = "\n".join(json.dumps(row) for row in rows)
    bodies = {JSON: json.dumps(rows), LINES: lines, ARROW: arrow(rows)}
    with serving(service_over(store, tmp_path, max_events=2)) as caller:
        for kind, body in bodies.items():
            status, answer = send(caller, kind, body)
            assert (status, "expected 2 at most, found 3" in answer["errors"][0]) == (422, True)
    assert not store.keys("vt:events*")


def test_a_redis_that_takes_nothing_is_a_503_with_what_it_took(service, monkeypatch):
    def refuse(message):
        raise redis.ConnectionError("refused")

    with serving(service) as caller:
        assert send(caller, JSON, json.dumps([event(0)]))[0] == 200
        monkeypatch.setattr(service.events, "_patience_s", 0.0)
        monkeypatch.setattr(service.events, "_transport", refuse)
        status, answer = send(caller, JSON, json.dumps([event(1)]))
    assert status == 503
    assert "0 acknowledged (ConnectionError: refused)" in answer["errors"][0]


def test_no_batch_begins_once_the_time_of_a_call_has_passed(service, store, monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: 10.0 + client.calls, sleep=time.sleep)
    monkeypatch.setattr(online_events, "time", clock)
    client = CountingClient(store)
    with pytest.raises(NotAcknowledgedError, match="the time of the call has passed") as caught:
        client.send([event(number) for number in range(1_600)], until=12.5)  # layout, two batches
    assert (caught.value.acknowledged, client.calls) == (1_000, 3)


class CountingClient(EventClient):
    """Counts round trips."""

    calls = 0

    def _transport(self, message):
        self.calls += 1
        return super()._transport(message)


def test_events_have_the_deadline_and_keep_no_recommendation_waiting(store, tmp_path, monkeypatch):
    release(store, 1)
    store_model(tmp_path, 1)
    service, freed, times = service_over(store, tmp_path, threads=1), threading.Event(), []

    def hang(events, *, until):
        times.append(until)
        freed.wait(100)
        return Sent(0)

    monkeypatch.setattr(service.events, "send", hang)
    with serving(service) as caller:
        sender = threading.Thread(target=send, args=(Caller(caller.connection.port), JSON, "[]"))
        sender.start()
        try:
            wait_for(lambda: times)
            assert times[0] <= time.monotonic() + AMPLE.total_seconds()
            assert caller.post("/recommend", {"user_id": "ann"})[0] == 200
        finally:
            freed.set()
            sender.join()


def test_a_redis_that_hangs_ends_with_the_deadline(store, tmp_path, monkeypatch):
    release(store, 1)
    store_model(tmp_path, 1)
    service = service_over(store, tmp_path)
    with serving(service) as caller:
        monkeypatch.setattr(service, "settings", service.settings.model_copy())
        object.__setattr__(service.settings, "deadline", service.settings.check_every)  # .05 s
        monkeypatch.setattr(service.events, "_transport", lambda message: time.sleep(2))
        status, answer = send(caller, JSON, json.dumps([event(1)]))
    assert (status, "this request: expected an answer of Redis" in answer["errors"][0]) == (
        503,
        True,
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from([JSON, LINES, ARROW, ""]),
    st.binary(max_size=200) | st.text(max_size=200).map(lambda t: json.dumps([t]).encode()),
)
def test_no_body_is_a_fault_of_the_service(kind, body):
    status, _ = send(_CALLER[0], kind, body)
    assert status in (200, 415, 422)


_CALLER = []


@pytest.fixture(autouse=True)
def _fuzzed(request):
    """One service for all examples."""
    if request.function is not test_no_body_is_a_fault_of_the_service:
        yield
        return
    with serving(request.getfixturevalue("service")) as caller:
        _CALLER[:] = [caller]
        yield
        _CALLER.clear()
