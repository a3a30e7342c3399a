"""The buffer of a request path: order, bounds, and what stays when Redis doesn't answer."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest
import redis
from live_worlds import NOW_US, Shown, new_store, sent

from vidtopics.errors import BusyError
from vidtopics.events.generations import parts_of
from vidtopics.online import event_buffer
from vidtopics.online.event_buffer import EventBuffer
from vidtopics.online.events import EventClient, NotAcknowledgedError, Sent


class Gate:
    """Instead of a client: takes nothing until it is opened."""

    def __init__(self) -> None:
        self.opened, self.batches, self.failing = threading.Event(), [], 0

    def send(self, events: list[Any]) -> Sent:
        assert self.opened.wait(30)
        if self.failing:
            self.failing -= 1
            raise NotAcknowledgedError("vt", len(events), 1, "gone")
        self.batches.append(list(events))
        return Sent(len(events))


def buffer_of(gate: Gate, **options: Any) -> EventBuffer:
    return EventBuffer(cast("EventClient", gate), **options)


def test_a_full_buffer_keeps_its_callers_waiting_and_then_says_so() -> None:
    gate = Gate()
    buffer = buffer_of(gate, capacity=3)
    for number in range(3):
        buffer.put(number)
    with pytest.raises(BusyError, match="3 of 3 events waiting"):
        buffer.put(3, timeout_s=0.01)
    waiting = threading.Thread(target=buffer.put, args=(4,), kwargs={"timeout_s": 30})
    waiting.start()
    gate.opened.set()
    waiting.join(30)
    assert buffer.close(30) == []
    assert [event for batch in gate.batches for event in batch] == [0, 1, 2, 4]
    assert buffer.acknowledged == 4
    with pytest.raises(BusyError, match="closed"):
        buffer.put(5)


def test_what_was_acknowledged_of_a_batch_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_buffer, "RETRY_S", 0)
    monkeypatch.setattr(event_buffer, "BATCH", 4)
    gate = Gate()
    gate.failing = 2
    buffer = buffer_of(gate)
    for number in range(4):
        buffer.put(number)
    gate.opened.set()
    assert buffer.flush(30)
    assert [event for batch in gate.batches for event in batch] == [2, 3]
    assert buffer.acknowledged == 4
    assert buffer.last_error is None
    assert buffer.close() == []


def test_a_close_gives_back_what_it_could_not_send() -> None:
    gate = Gate()
    buffer = buffer_of(gate)
    buffer.put("a")
    buffer.put("b")
    assert not buffer.flush(0.01)
    assert buffer.close(0.01) == ["a", "b"]
    gate.opened.set()


def test_it_sends_to_redis(store: redis.Redis) -> None:
    keys = new_store(store)
    buffer = EventBuffer(EventClient(store))
    log = [Shown(f"e{i}", "u1", f"v{i}", NOW_US, 1, NOW_US) for i in range(700)]
    for event in [*sent(log), {}]:
        buffer.put(event)
    assert buffer.close() == []
    assert (buffer.acknowledged, buffer.refused) == (1_401, 1)
    lengths = [store.xlen(keys.stream(*where)) for where in parts_of(keys)]
    assert sum(cast("list[int]", lengths)) == 2_800


class Unprintable:
    def __repr__(self) -> str:
        raise OSError("no")


def circular() -> dict[str, Any]:
    event: dict[str, Any] = {"kind": "view"}
    event["self"] = event
    return event


@pytest.mark.parametrize(
    "bad",
    [{b"a": 1}, circular(), {"kind": Unprintable()}, {"kind": [b"x"], b"y": 1}],
    ids=["bytes", "circular", "unprintable", "both"],
)
def test_an_event_that_json_cannot_say_does_not_block_those_behind_it(
    store: redis.Redis, bad: object
) -> None:
    keys = new_store(store)
    buffer = EventBuffer(EventClient(store))
    buffer.put(bad)
    buffer.put(Shown("a", "u1", "v1", NOW_US, 1).impression())
    assert buffer.flush(10)
    assert (buffer.acknowledged, buffer.refused, buffer.last_error) == (2, 1, None)
    [(_, letter)] = store.xrange(keys.dead)
    assert letter[b"event"]
    assert buffer.close(10) == []
