"""A generation is opened where the streams have all of its events, whoever died or trimmed."""

from __future__ import annotations

from contextlib import suppress

import pytest
import redis
from live_worlds import NOW_US, CrashError, Shown, applier, dying, new_store

from vidtopics.events.generations import Generation, open_generation, opened
from vidtopics.events.trimming import TRIMMED, trim
from vidtopics.layout import place
from vidtopics.layout.live import LiveKeys
from vidtopics.online.events import EventClient

EARLY, LATE = Generation(1, NOW_US - 20_000_000), Generation(2, NOW_US - 10_000_000)


@pytest.fixture
def keys(store: redis.Redis) -> LiveKeys:
    """Streams that were trimmed to what LATE needs."""
    keys = new_store(store)
    assert open_generation(store, keys, LATE)
    trim(store, keys, 0)
    return keys


@pytest.mark.parametrize("done", [0.0, 1.0])
def test_what_dies_at_any_call_opens_nothing_that_was_trimmed(
    store: redis.Redis, keys: LiveKeys, done: float
) -> None:
    for call in range(8):
        with suppress(CrashError), dying(call, done):
            assert not open_generation(store, keys, EARLY)
        assert not open_generation(store, keys, EARLY)
        assert sorted(opened(store, "vt")) == [2]


def test_one_that_was_entered_and_no_more_is_judged_again(
    store: redis.Redis, keys: LiveKeys
) -> None:
    store.hset(place("vt", "live"), "1", str(EARLY.as_of_us))
    assert not open_generation(store, keys, EARLY)
    assert sorted(opened(store, "vt")) == [2]


def test_trimming_never_lowers_what_was_trimmed(store: redis.Redis, keys: LiveKeys) -> None:
    store.hset(place("vt", "live"), "1", str(EARLY.as_of_us))  # it is being opened
    trim(store, keys, 0)
    assert int(store.get(place("vt", TRIMMED))) == LATE.as_of_us  # type: ignore[arg-type]
    assert not open_generation(store, keys, EARLY)


def test_one_that_is_open_stays_open_whatever_was_trimmed(
    store: redis.Redis, keys: LiveKeys
) -> None:
    EventClient(store).send([Shown("a", "u1", "v1", NOW_US, 1).impression()])
    assert applier(store, keys).apply(LATE) == 2
    store.set(place("vt", TRIMMED), str(LATE.as_of_us + 1))
    assert open_generation(store, keys, LATE)
    assert sorted(opened(store, "vt")) == [2]
