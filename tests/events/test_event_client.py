"""Sending: acknowledgements, refusals, what a failing server means, sync and async."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import redis
from live_worlds import NOW_US, Shown, new_store, sent

from vidtopics.errors import StoreError
from vidtopics.events.generations import parts_of
from vidtopics.jobs.event_stream import require_room
from vidtopics.layout import Layout, place
from vidtopics.layout.live import LiveKeys
from vidtopics.online import events as sending
from vidtopics.online.connections import connect
from vidtopics.online.events import AsyncEventClient, EventClient, NotAcknowledgedError, Refusal

LOG = [Shown(f"e{i}", f"u{i % 3}", f"v{i % 4}", NOW_US - 50 + i, 1, NOW_US) for i in range(7)]


def entries(store: Any, keys: LiveKeys) -> dict[str, int]:
    counts = {"video": 0, "user": 0}
    for part, bucket in parts_of(keys):
        counts[part] += store.xlen(keys.stream(part, bucket))
    return counts


def test_bad_events_are_dead_letters_and_the_others_are_taken(store: redis.Redis) -> None:
    keys = new_store(store)
    bad = {"kind": "click", "event_id": "e9", "user_id": "u1", "video_id": ""}
    answer = EventClient(store).send([LOG[0].impression(), bad, "no event", LOG[0].click()])
    detail = "expected video_id of 1 to 128 bytes without control characters, found none"
    assert answer.acknowledged == 2
    assert answer.refused == (
        Refusal(1, "empty_id", detail),
        Refusal(2, "no_event", "expected an object, found str"),
    )
    assert entries(store, keys) == {"video": 2, "user": 2}
    (_, letter), _ = store.xrange(keys.dead)
    assert letter[b"reason"] == b"empty_id"
    assert json.loads(letter[b"event"]) == bad


def test_the_first_batches_are_named_where_a_later_one_fails(store: redis.Redis) -> None:
    new_store(store)
    client = EventClient(store, patience_s=0)
    calls = iter(range(100))
    execute = redis.client.Pipeline.execute

    def failing(pipe: Any, **options: Any) -> Any:
        if next(calls) == 2:  # the layout is the first call
            raise redis.ConnectionError("gone")
        return execute(pipe, **options)

    with (
        patch.object(sending, "BATCH", 3),
        patch.object(redis.client.Pipeline, "execute", failing),
        pytest.raises(NotAcknowledgedError, match="3 acknowledged") as error,
    ):
        client.send([event.impression() for event in LOG])
    assert error.value.acknowledged == 3
    assert "send the others again" in str(error.value)


def test_a_batch_that_failed_is_sent_again(store: redis.Redis) -> None:
    """Done at the server, with its answer lost: entries are there twice, and count once."""
    keys = new_store(store)
    calls = iter(range(100))
    execute = redis.client.Pipeline.execute

    def losing(pipe: Any, **options: Any) -> Any:
        answers = execute(pipe, **options)
        if next(calls) == 1:
            raise redis.TimeoutError("no answer")
        return answers

    with (
        patch.object(sending, "FIRST_PAUSE_S", 0.0),
        patch.object(redis.client.Pipeline, "execute", losing),
    ):
        assert EventClient(store).send([e.impression() for e in LOG]).acknowledged == 7
    assert entries(store, keys) == {"video": 14, "user": 14}


def test_a_lasting_error_is_not_repeated(store: redis.Redis) -> None:
    keys = new_store(store)
    for part, bucket in parts_of(keys):
        store.set(keys.stream(part, bucket), "not a stream")
    with pytest.raises(NotAcknowledgedError, match="WRONGTYPE"):
        EventClient(store, patience_s=60).send([LOG[0].impression()])


def test_without_a_store_there_is_nothing_to_send_to(store: redis.Redis) -> None:
    with pytest.raises(StoreError, match="vidtopics materialize"):
        EventClient(store).send([LOG[0].impression()])


def test_a_prefix_that_was_filled_anew_gets_its_events_where_they_are_read(
    store: redis.Redis,
) -> None:
    new_store(store)
    client = EventClient(store)
    client.send([LOG[0].impression()])
    store.flushall()
    keys = new_store(store, buckets=5)
    client.send(sent(LOG))
    assert entries(store, keys) == {"video": 14, "user": 14}
    store.flushall()
    with pytest.raises(StoreError, match="vidtopics materialize"):
        client.send([LOG[0].impression()])


def test_an_earlier_layout_is_loaded_anew_first(store: redis.Redis) -> None:
    store.set(place("vt", "layout"), Layout(2, version=1).to_json())
    with pytest.raises(StoreError, match="of layout 2, found layout 1 with 2 buckets"):
        EventClient(store).send([LOG[0].impression()])


def test_nothing_to_send(store: redis.Redis) -> None:
    new_store(store)
    assert EventClient(store).send([]).acknowledged == 0


def test_asyncio_has_the_same(valkey: str, store: redis.Redis) -> None:
    keys = new_store(store)

    async def send() -> Any:
        client = AsyncEventClient.from_url(valkey)
        try:
            return await client.send([*sent(LOG), {}])
        finally:
            await client.aclose()

    answer = asyncio.run(send())
    assert (answer.acknowledged, answer.refused[0].number) == (14, 14)
    assert entries(store, keys) == {"video": 14, "user": 14}


def test_asyncio_on_a_cluster(cluster: str, cluster_store: Any) -> None:
    keys = new_store(cluster_store, buckets=8)

    async def send() -> Any:
        client = AsyncEventClient.from_url(cluster, timeout_s=20)
        try:
            return await client.send(sent(LOG))
        finally:
            await client.aclose()

    assert asyncio.run(send()).acknowledged == 14
    assert entries(cluster_store, keys) == {"video": 14, "user": 14}


def test_a_sender_needs_no_more_than_the_docs_say(valkey: str, store: redis.Redis) -> None:
    keys = new_store(store)
    text = (Path(__file__).parents[2] / "docs" / "realtime.md").read_text()
    [line] = re.findall(r"^ACL SETUSER sender .*$", text, re.M)
    store.execute_command(*line.split(" "))
    url = valkey.replace("redis://", "redis://sender:SECRET@")
    try:
        with connect(url) as connection:
            assert EventClient(connection).send([*sent(LOG), {}]).acknowledged == 14
            assert entries(store, keys) == {"video": 14, "user": 14}
            with pytest.raises(redis.exceptions.NoPermissionError):
                require_room(connection)  # of `events follow`
            store.execute_command("ACL", "SETUSER", "sender", "+info")
            require_room(connection)
            with pytest.raises(redis.exceptions.NoPermissionError):
                connection.set("vt:{directory}:layout", "")
            with pytest.raises(redis.exceptions.NoPermissionError):
                connection.delete(keys.dead)
    finally:
        store.acl_deluser("sender")
