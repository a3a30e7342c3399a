"""What a later version of the same layout adds to JSON in Redis is left out, not refused."""

import json

import pytest
import redis

from vidtopics.layout import place
from vidtopics.materialization import StoreWriter
from vidtopics.materialization.pins import Held, Pin, held, pinned
from vidtopics.materialization.rebuilds import Attempt, _noted


@pytest.fixture
def writer(store: redis.Redis) -> StoreWriter:
    return StoreWriter(store)


def test_a_pin_and_a_rollback(store: redis.Redis, writer: StoreWriter) -> None:
    pin = {"release": 3, "since": "now", "by": "me", "colour": "red"}
    store.set(place("vt", "pin"), json.dumps(pin))
    store.set(place("vt", "held"), json.dumps(pin | {"until": 5}))
    assert pinned(writer.generations) == Pin(3, "now", "me")
    assert held(writer.generations) == Held(3, 5, "now", "me")


def test_an_attempt(store: redis.Redis, writer: StoreWriter) -> None:
    store.hset(place("vt", "attempts"), "view", '{"cause":"fields changed","colour":"red"}')
    assert _noted(writer.generations, "view") == Attempt("fields changed")
