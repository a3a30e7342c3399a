"""A Redis that doesn't answer is left alone for a while, and asked again by one request."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest
import redis
from serving_world import AMPLE, release, service_over, serving, store_model

from consumers.serving.breaker import Breaker, OpenError
from consumers.serving.deadlines import Deadline
from vidtopics.errors import InputError, StoreError

HOUR = timedelta(hours=1)
JSON = {"Content-Type": "application/json"}


class Calls:
    """Calls of one breaker of three failures and 10 s, at times that the test says."""

    def __init__(self):
        self.now, self.opened, self.refused = 100.0, 0, 0
        self.breaker = Breaker(
            3,
            timedelta(seconds=10),
            opened=lambda: setattr(self, "opened", self.opened + 1),
            refused=lambda: setattr(self, "refused", self.refused + 1),
            clock=lambda: self.now,
        )

    def call(self, error=None):
        """Whether it was let through."""
        try:
            with self.breaker.guard():
                if error:
                    raise error
        except OpenError:
            return False
        except type(error):
            pass
        return True


SILENT = redis.TimeoutError("silent")


def test_it_opens_at_the_third_silence_in_a_row_and_closes_at_the_first_answer():
    calls = Calls()
    assert all(calls.call(e) for e in (SILENT, SILENT, None, SILENT, SILENT))
    assert (calls.call(SILENT), calls.opened) == (True, 1)  # the third in a row
    assert [calls.call(), calls.call()] == [False, False]
    calls.now += 9.9
    assert not calls.call()
    assert calls.refused == 3
    calls.now += 0.1
    assert (calls.call(SILENT), calls.call(), calls.opened) == (True, False, 2)  # a probe in vain
    calls.now += 10
    assert (calls.call(), calls.call(), calls.refused) == (True, True, 4)
    assert all(calls.call(e) for e in (SILENT, SILENT, None))  # counted anew


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (redis.ConnectionError("away"), True),
        (Deadline(0.1).late(), True),
        (StoreError("release not retained"), False),
        (redis.ResponseError("OOM"), False),
        (InputError("wrong"), False),
    ],
)
def test_only_what_redis_does_not_answer_opens_it(error, counts):
    calls = Calls()
    for _ in range(4):
        calls.call(error)
    assert (calls.opened, calls.call()) == ((1, False) if counts else (0, True))


def test_an_error_that_a_silence_has_caused_counts():
    calls = Calls()
    for _ in range(3):
        error = StoreError("2 events: expected an acknowledgement")
        error.__cause__ = SILENT
        calls.call(error)
    assert (calls.opened, calls.call()) == (1, False)


def test_one_probe_at_a_time_and_late_failures_do_not_open_it_longer():
    calls = Calls()
    late = calls.breaker.guard()
    late.__enter__()
    for _ in range(3):
        calls.call(SILENT)
    calls.now += 5
    assert not late.__exit__(redis.TimeoutError, SILENT, None)
    calls.now += 5
    with calls.breaker.guard():
        assert [calls.call(), calls.call()] == [False, False]
    assert calls.call()


def test_a_probe_whose_caller_leaves_lets_the_next_one_try():
    calls = Calls()
    for _ in range(3):
        calls.call(SILENT)
    calls.now += 10
    with pytest.raises(asyncio.CancelledError), calls.breaker.guard():
        raise asyncio.CancelledError
    assert (calls.call(), calls.opened) == (True, 1)


@contextmanager
def stopped(store):
    """The server's process keeps its connections and answers nothing."""
    pid = store.info()["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def counted(service, name):
    value = service.metrics.registry.get_sample_value
    return value(f"vidtopics_serving_breaker_{name}_total", {"path": "reading"})


def test_requests_end_at_once_while_redis_hangs_and_hold_no_thread(store, tmp_path, monkeypatch):
    release(store, 1)
    store_model(tmp_path, 1)
    service = service_over(store, tmp_path, breaker_failures=2, breaker_pause=HOUR)
    submitted = []
    with serving(service) as caller:
        assert caller.post("/recommend", {"user_id": "ann"})[0] == 200
        submit = service.reading.submit
        monkeypatch.setattr(
            service.reading, "submit", lambda *call: (submitted.append(1), submit(*call))[1]
        )
        fast = service.settings.model_copy(update={"deadline": timedelta(milliseconds=50)})
        service.settings = fast
        with stopped(store):
            for _ in range(2):
                status, answer = caller.post("/recommend", {"user_id": "ann"})
                assert (status, "within 50 ms" in answer["errors"][0]) == (503, True)
            for path, body in (
                ("/recommend", '{"user_id": "ann"}'),
                ("/features", '{"views": ["video_topics"], "ids": {"video": ["v1"]}}'),
            ):
                status, headers, data = caller.ask("POST", path, body, JSON)
                assert (status, headers["Retry-After"]) == (503, "3600")
                assert b"found none to 2 in a row, so it isn't asked for now" in data
            assert len(submitted) == 2
            assert (counted(service, "opened"), counted(service, "refused")) == (1, 2)

        # It answers again: the first request after the pause finds out.
        service.settings = fast.model_copy(update={"deadline": AMPLE})
        assert caller.post("/recommend", {"user_id": "ann"})[0] == 503
        monkeypatch.setattr(service.read_breaker, "_clock", lambda: time.monotonic() + 7_200)
        assert caller.post("/recommend", {"user_id": "ann"})[0] == 200
        assert counted(service, "refused") == 3


def test_events_have_a_breaker_of_their_own(store, tmp_path, monkeypatch):
    def hang(message):
        raise redis.TimeoutError("silent")

    release(store, 1)
    store_model(tmp_path, 1)
    service = service_over(store, tmp_path, breaker_failures=1, breaker_pause=HOUR)
    click = {"kind": "click", "event_id": "e", "user_id": "ann", "video_id": "v3"}
    click["event_timestamp"] = "2026-01-15T00:05:00Z"
    with serving(service) as caller:
        monkeypatch.setattr(service.events, "_patience_s", 0.0)
        monkeypatch.setattr(service.events, "_transport", hang)
        assert "found silent" in caller.post("/events", click)[1]["errors"][0]
        status, answer = caller.post("/events", click)
        assert (status, "isn't asked for now" in answer["errors"][0]) == (503, True)
        assert caller.post("/recommend", {"user_id": "ann"})[0] == 200
