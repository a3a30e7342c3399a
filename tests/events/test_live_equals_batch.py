"""Replay equals batch: whatever happens on the way, drained state is what the jobs would say."""

from __future__ import annotations

import random
from contextlib import suppress
from unittest.mock import patch

import redis
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from live_worlds import (
    NOW_US,
    CrashError,
    Shown,
    applier,
    assert_equals_batch,
    dying,
    new_store,
    sent,
)

from vidtopics.events import applying
from vidtopics.events.generations import Generation, open_generation
from vidtopics.online.events import EventClient, NotAcknowledgedError

BEGIN_US = NOW_US - 1_000_000_000
LIMIT = 3
TIMES = st.integers(0, 12).map(lambda step: BEGIN_US + step * 1_000_000)


@st.composite
def logs(draw: st.DrawFn) -> list[Shown]:
    """Few users and videos at few times, so that times, videos and whole impressions are alike."""
    log = []
    for number in range(draw(st.integers(1, 24))):
        us = draw(TIMES)
        clicked_us = draw(st.none() | TIMES.filter(lambda at, us=us: at >= us))
        watch = None if clicked_us is None else draw(st.none() | st.sampled_from([0.5, 2.0]))
        user = draw(st.sampled_from(["u1", "u2", "é"]))
        video = draw(st.sampled_from(["v1", "v2", "v3", "v4", "v5"]))
        position = draw(st.none() | st.integers(1, 2))
        log.append(Shown(f"e{number}", user, video, us, position, clicked_us, watch))
    return log


@given(log=logs(), seed=st.integers(0, 2**32), entries=st.sampled_from([1, 3, 400]))
@settings(max_examples=40, phases=[Phase.generate])
def test_any_order_of_events_deaths_and_hand_overs_ends_at_the_batch(
    valkey: str, log: list[Shown], seed: int, entries: int
) -> None:
    """Two consumers, a client that sends again, three releases; each step may die at any call."""
    rng = random.Random(seed)
    with redis.Redis.from_url(valkey) as store, patch.object(applying, "ENTRIES", entries):
        store.flushall()
        keys = new_store(store)
        consumers = [applier(store, keys, recent=LIMIT) for _ in range(2)]
        client = EventClient(store, patience_s=0)
        waiting = rng.sample(sent(log), k=len(sent(log)))
        known = list(waiting)
        releases = [Generation(n, BEGIN_US + rng.randint(-1, 13) * 1_000_000) for n in (1, 2, 3)]
        opened: list[Generation] = []
        while waiting or len(opened) < 2:
            step = rng.choice(["apply", "apply", "send", "send", "send again", "hand over"])
            with (
                suppress(CrashError, NotAcknowledgedError),
                dying(rng.randint(0, 12), rng.random()),
            ):
                if step == "apply" and opened:
                    rng.choice(consumers).apply(rng.choice(opened[-2:]))
                elif step == "send":  # repeated until it is acknowledged
                    size = rng.randint(1, 8)
                    client.send(waiting[:size])
                    waiting = waiting[size:]
                elif step == "send again":  # of what may not have been sent yet, too
                    client.send(rng.sample(known, k=min(3, len(known))))
                elif step == "hand over" and len(opened) < 3:
                    opened.append(releases[len(opened)])
                    open_generation(store, keys, opened[-1])
        for generation in opened:
            assert open_generation(store, keys, generation)
            consumers[0].apply(generation)
            assert_equals_batch(store, keys, generation, log, LIMIT)
