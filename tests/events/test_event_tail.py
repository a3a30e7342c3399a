"""`events tail --follow` reads a stream in parts, however much came."""

from __future__ import annotations

import json
import time
from itertools import islice

import pytest
import redis
from live_worlds import NOW_US, Shown, new_store

from vidtopics.cli import event_facts
from vidtopics.online.events import EventClient


def test_what_came_is_read_in_parts(store: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, pauses = new_store(store), []
    monkeypatch.setattr(event_facts, "AT_A_TIME", 2)
    monkeypatch.setattr(time, "sleep", pauses.append)
    streams = [keys.stream("user", bucket) for bucket in range(keys.layout.buckets)]
    lines = event_facts.tailed(store, streams, 1, follow=True)
    names = [f"e{number}" for number in range(6)]
    for name in names[:1], names[1:]:
        shown = (Shown(one, "u1", "v1", NOW_US, 1) for one in name)
        EventClient(store).send([one.impression() for one in shown])
        taken = islice(lines, len(name))
        assert [json.loads(line)["event_id"] for line in taken] == name
    assert len(pauses) == 3
