"""What one call applies is bounded, and an idle one sends no script."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis
from live_worlds import NOW_US, Shown, applier, new_store, video_counts

from vidtopics.cli import event_service
from vidtopics.cli.event_monitoring import Watch
from vidtopics.events import applying
from vidtopics.events.generations import Generation, open_generation
from vidtopics.layout.live import LiveKeys
from vidtopics.materialization import live
from vidtopics.online.events import EventClient

LIVE = Generation(7, NOW_US - 100_000_000)


@pytest.fixture
def keys(store: redis.Redis) -> LiveKeys:
    keys = new_store(store)
    assert open_generation(store, keys, LIVE)
    shown = (Shown(f"e{i}", "u1", "v1", NOW_US, 1) for i in range(5))
    EventClient(store).send([one.impression() for one in shown])
    return keys


def scripts(store: Any) -> int:
    statistics = store.info("commandstats")
    names = ("cmdstat_evalsha", "cmdstat_eval")
    return sum(statistics[name]["calls"] for name in names if name in statistics)


def test_a_call_ends_after_its_rounds(
    store: redis.Redis, keys: LiveKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "ENTRIES", 2)
    consumer = applier(store, keys)
    assert consumer.apply(LIVE, rounds=1) == 4  # of a video's and of a user's stream
    assert video_counts(store, keys, 7, "v1") == (2, 0)
    assert consumer.apply(LIVE) == 6
    assert video_counts(store, keys, 7, "v1") == (5, 0)


def test_what_was_applied_is_asked_for_no_more(store: redis.Redis, keys: LiveKeys) -> None:
    consumer = applier(store, keys)
    assert consumer.apply(LIVE) == 10
    before = scripts(store)
    assert consumer.apply(LIVE) == 0
    assert scripts(store) == before
    EventClient(store).send([Shown("new", "u1", "v1", NOW_US, 1).impression()])
    assert consumer.apply(LIVE) == 2
    assert scripts(store) == before + 2


def test_the_service_begins_with_the_newest_and_ends_in_a_catch_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended, calls = threading.Event(), []
    generations = [Generation(number, number) for number in (1, 2, 3)]

    def apply(generation: Generation, *, rounds: int) -> int:
        calls.append(generation.release)
        if len(calls) == 5:
            ended.set()
        return rounds

    monkeypatch.setattr(live, "synchronise", lambda *_: generations)
    event_service.apply_in_rounds(None, cast("Any", SimpleNamespace(apply=apply)), ended, Watch())
    assert calls == [3, 2, 1, 3, 2]
