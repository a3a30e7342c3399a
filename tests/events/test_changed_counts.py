"""Which counts a look gives, and when what it knew can't be gone on from."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import redis
from live_worlds import NOW_US, CrashError, Shown, applier, dying, new_store, sent

from vidtopics.events import changed_counts
from vidtopics.events.applying import Applier
from vidtopics.events.changed_counts import ChangedCounts, ClosedError
from vidtopics.events.generations import Generation, drop, open_generation
from vidtopics.layout.live import LiveKeys
from vidtopics.online.events import EventClient

GENERATION = Generation(1, NOW_US - 60_000_000)


@pytest.fixture
def keys(store: redis.Redis) -> LiveKeys:
    keys = new_store(store)
    assert open_generation(store, keys, GENERATION)
    return keys


@pytest.fixture
def consumer(store: redis.Redis, keys: LiveKeys) -> Applier:
    return applier(store, keys)


def happen(consumer: Applier, *videos: str, name: str) -> None:
    """Each video is shown once, and that is applied."""
    us = GENERATION.as_of_us
    shown = [Shown(f"{name}{n}", "u1", video, us + n) for n, video in enumerate(videos)]
    EventClient(consumer.connection).send(sent(shown))
    consumer.apply(GENERATION)


def looked(counts: ChangedCounts) -> dict[str, int]:
    """Exposures by video."""
    return {video.decode(): state.exposures for video, state in counts.look().items()}


@pytest.mark.parametrize("page", [1, 2, 400])
def test_a_look_gives_what_has_changed_since_the_last(
    store: redis.Redis, consumer: Applier, page: int
) -> None:
    counts = ChangedCounts(store, consumer.keys, GENERATION)
    assert looked(counts) == {}
    happen(consumer, *(f"v{n}" for n in range(9)), "v1", name="a")
    assert looked(counts) == {f"v{n}": 2 if n == 1 else 1 for n in range(9)}
    assert looked(counts) == {}
    with patch.object(changed_counts, "PAGE", page):
        happen(consumer, "v3", "v1", "v3", name="b")
        assert looked(counts) == {"v3": 3, "v1": 3}
        assert looked(counts) == {}
    for bucket in range(2):  # an entry of another program has no video, or names it twice
        store.xadd(consumer.keys.stream("video", bucket), {"poison": "x"})
    consumer.apply(GENERATION)
    assert looked(counts) == {}
    assert len(looked(ChangedCounts(store, consumer.keys, GENERATION))) == 9


def test_what_is_sent_and_not_applied_is_left_for_the_look_after_it(
    store: redis.Redis, consumer: Applier
) -> None:
    happen(consumer, *(f"v{n}" for n in range(9)), name="a")
    counts = ChangedCounts(store, consumer.keys, GENERATION)
    counts.look()
    EventClient(store).send(sent([Shown("late", "u1", "v2", GENERATION.as_of_us)]))
    assert looked(counts) == {}
    consumer.apply(GENERATION)
    assert looked(counts) == {"v2": 2}


def test_many_entries_of_few_videos_are_read_by_their_values(
    store: redis.Redis, consumer: Applier
) -> None:
    """A hot one costs what its value does."""
    happen(consumer, "v1", "v2", "v3", "v4", name="a")
    counts = ChangedCounts(store, consumer.keys, GENERATION)
    counts.look()
    happen(consumer, *["v1"] * 50, name="b")
    store.xtrim(consumer.keys.stream("video", consumer.keys.bucket(b"v1")), maxlen=0)
    assert looked(counts)["v1"] == 51


def test_a_server_that_comes_back_with_an_earlier_state(
    store: redis.Redis, consumer: Applier
) -> None:
    """v2 is back at nothing, which no value says; as many entries came since, or one more."""
    for more in (0, 1):
        happen(consumer, *(f"v{n}" for n in range(9)), name=f"a{more}")
        saved = {key: store.dump(key) for key in store.scan_iter()}
        counts = ChangedCounts(store, consumer.keys, GENERATION)
        counts.look()
        happen(consumer, "w2", name=f"b{more}")
        assert "w2" in looked(counts)
        store.flushall()
        for key, value in saved.items():
            store.restore(key, 0, value)
        same = [v for v in (f"x{n}" for n in range(99)) if is_beside(consumer.keys, v, "w2")]
        happen(consumer, *same[: 1 + more], name=f"c{more}")
        with pytest.raises(ClosedError, match="went back"):
            counts.look()
        assert len(counts.look()) == 9 + 1 + more


def is_beside(keys: LiveKeys, one: str, other: str) -> bool:
    return keys.bucket(one.encode()) == keys.bucket(other.encode())


def test_a_stream_that_was_trimmed_under_a_look_that_stood_still(
    store: redis.Redis, consumer: Applier
) -> None:
    happen(consumer, *(f"v{n}" for n in range(9)), name="a")
    counts = ChangedCounts(store, consumer.keys, GENERATION)
    counts.look()
    happen(consumer, "v1", name="b")
    store.xtrim(consumer.keys.stream("video", consumer.keys.bucket(b"v1")), maxlen=0)
    with pytest.raises(ClosedError):
        counts.look()
    assert looked(counts)["v1"] == 2


@pytest.mark.parametrize("call", [0, 1])
def test_what_an_error_lost_comes_with_the_next_look(
    store: redis.Redis, consumer: Applier, call: int
) -> None:
    happen(consumer, *(f"v{n}" for n in range(9)), name="a")
    counts = ChangedCounts(store, consumer.keys, GENERATION)
    counts.look()
    happen(consumer, "v1", *(f"w{n}" for n in range(40)), name="b")
    with dying(call, 1.0), pytest.raises(CrashError):
        counts.look()
    assert looked(counts)["v1"] == 2


def test_a_generation_that_was_dropped(store: redis.Redis, consumer: Applier) -> None:
    counts = ChangedCounts(store, consumer.keys, GENERATION)
    counts.look()
    drop(store, consumer.keys, GENERATION.release)
    with pytest.raises(ClosedError):
        counts.look()


def test_a_damaged_value_is_left_out_and_the_others_go_on(
    store: redis.Redis, consumer: Applier
) -> None:
    """The entries that change it are set aside one by one, and are no sign of a server's return."""
    happen(consumer, "v1", "v2", name="a")
    counts = ChangedCounts(store, consumer.keys, GENERATION)
    assert looked(counts) == {"v1": 1, "v2": 1}
    bucket = consumer.keys.bucket(b"v1")
    store.hset(consumer.keys.state(1, "video", "state", bucket), "v1", b"short")
    happen(consumer, "v1", "v2", "v1", "v2", name="b")
    assert looked(counts) == {"v2": 3}
    happen(consumer, "v2", "v1", name="c")
    assert looked(counts) == {"v2": 4}
