"""A landing ends while events come, and loses none where another one runs beside it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import redis
from events_home import SETTINGS, SmallHome, now_us
from live_worlds import DAY, Shown, applier, new_store

from vidtopics.cli import event_service
from vidtopics.ingest import landing
from vidtopics.ingest.landing import Landed, land, not_landed
from vidtopics.layout.live import LiveKeys
from vidtopics.online.events import EventClient


@pytest.fixture
def home(tmp_path: Path) -> SmallHome:
    home = SmallHome(tmp_path)
    home.deliver([])
    return home


@pytest.fixture
def keys(store: redis.Redis) -> LiveKeys:
    return new_store(store)


def send(
    store: redis.Redis, names: Iterable[str], at_us: int | None = None, user: str = "u1"
) -> None:
    shown = (Shown(name, user, "v1", at_us or now_us(), 1) for name in names)
    EventClient(store, max_ahead=DAY).send([one.impression() for one in shown])


def landed(home: SmallHome, store: Any, keys: LiveKeys) -> Landed:
    return land(home.tables, store, keys, SETTINGS.ingest, DAY)


def before_publishing(monkeypatch: pytest.MonkeyPatch, work: Callable[[int], None]) -> None:
    """Do something in each round, between its reading and what it publishes."""
    numbers, publish = itertools.count(), landing._publish

    def published(*arguments: Any) -> Landed:
        work(next(numbers))
        return publish(*arguments)

    monkeypatch.setattr(landing, "_publish", published)


def test_it_ends_while_events_come(
    home: SmallHome, store: redis.Redis, keys: LiveKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(number: int) -> None:
        assert number < 4, "a landing that never ends"
        send(store, [f"late{number}"])

    send(store, ["a", "b"])
    before_publishing(monkeypatch, work)
    assert landed(home, store, keys) == Landed(2, 2)
    assert not_landed(store, keys) == 1


def test_the_command_trims_in_each_round_and_ends_when_it_is_told_to(
    home: SmallHome, store: redis.Redis, keys: LiveKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    trims: list[int] = []
    monkeypatch.setattr(landing, "ENTRIES", 1)
    monkeypatch.setattr(event_service, "_trim", lambda *_: trims.append(not_landed(store, keys)))
    ended = threading.Event()
    before_publishing(monkeypatch, lambda number: ended.set() if number == 1 else None)
    send(store, "abcd")
    consumer = applier(store, keys)
    assert event_service.land(home.tables, consumer, SETTINGS, ended).entries == 2
    assert len(trims) == 2
    assert event_service.land(home.tables, consumer, SETTINGS).entries == 2
    assert len(trims) == 5  # and once where nothing was left


def test_what_another_landing_held_back_meanwhile_stays(
    home: SmallHome, store: redis.Redis, keys: LiveKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a bucket of which the first landing has read nothing, so that it notes no cursor there.
    users = (f"u{i}" for i in range(2, 99))
    other = next(user for user in users if keys.bucket(user.encode()) != keys.bucket(b"u1"))

    def work(number: int) -> None:
        if number == 0:
            send(store, ["ahead"], now_us() + 3_600_000_000, other)
            assert landed(home, store, keys).held == 1

    send(store, ["a"])
    before_publishing(monkeypatch, work)
    assert landed(home, store, keys) == Landed(1, already_there=1, held=1)
    assert not_landed(store, keys) == 1


def test_of_what_waits_a_round_reads_what_is_due(
    home: SmallHome, store: redis.Redis, keys: LiveKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = [Shown(f"w{i}", "u1", "v1", now_us() + 3_600_000_000, 1) for i in range(20)]
    EventClient(store).send([one.impression() for one in waits])
    assert landed(home, store, keys) == Landed(20, held=20)
    monkeypatch.setattr(landing, "_sort", None)  # whatever is read would fail
    assert landed(home, store, keys) == Landed(held=20)


def test_a_foreign_entry_whose_names_only_join_to_those_of_an_event(
    home: SmallHome, store: redis.Redis, keys: LiveKeys
) -> None:
    store.xadd(keys.stream("user", 0), {"ke": "x", "uvtawpr": "y"})
    send(store, ["a"])
    assert landed(home, store, keys) == Landed(2, 1, refused={"malformed": 1})
    assert not_landed(store, keys) == 0
