"""What becomes of an entry: each rule of docs/realtime.md, its counter and its effect."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from live_worlds import (
    DAY,
    NOW_US,
    Shown,
    applier,
    assert_equals_batch,
    new_store,
    sent,
    user_state,
    video_counts,
)

from vidtopics.events.generations import (
    Generation,
    counters,
    drop,
    lags,
    open_generation,
    opened,
    parts_of,
)
from vidtopics.layout.live import NO_FLOOR, Click, LiveKeys, Skip
from vidtopics.online.events import EventClient

T_US = NOW_US - 100_000_000
LIVE = Generation(7, T_US)


@pytest.fixture
def keys(store: redis.Redis) -> LiveKeys:
    keys = new_store(store)
    assert open_generation(store, keys, LIVE)
    return keys


def outcomes(store: redis.Redis, keys: LiveKeys) -> dict[str, int]:
    """Of users' parts; those of videos are the same."""
    counted = counters(store, keys, LIVE.release)
    assert counted["video"] == counted["user"]
    return counted["user"]


def test_an_impression_before_the_release_is_the_batchs(store: redis.Redis, keys: LiveKeys) -> None:
    log = [Shown("e1", "u1", "v1", T_US - 1), Shown("e2", "u1", "v1", T_US)]
    EventClient(store).send(sent(log))
    assert applier(store, keys).apply(LIVE) == 4
    assert outcomes(store, keys) == {"late": 1, "applied": 1}
    assert video_counts(store, keys, 7, "v1") == (1, 0)


def test_a_click_since_the_release_on_an_impression_before_it(
    store: redis.Redis, keys: LiveKeys
) -> None:
    EventClient(store).send([Shown("e1", "u1", "v1", T_US - 5, 2, T_US + 5).click()])
    applier(store, keys).apply(LIVE)
    assert outcomes(store, keys) == {"applied": 1, "implied": 1}
    assert video_counts(store, keys, 7, "v1") == (0, 1)
    state = user_state(store, keys, 7, "u1")
    same_video = Skip(T_US - 5, b"v1", 3)
    clicked = Skip(T_US - 5, b"v1", 2)
    assert state.recent_skips([same_video, clicked]) == [same_video]
    assert state.recent_clicks() == [Click(T_US + 5, b"v1", -1.0)]


def test_a_click_that_comes_first_brings_its_impression(store: redis.Redis, keys: LiveKeys) -> None:
    shown = Shown("e1", "u1", "v1", T_US + 5, 1, T_US + 9)
    client, consumer = EventClient(store), applier(store, keys)
    client.send([shown.click()])
    consumer.apply(LIVE)
    assert video_counts(store, keys, 7, "v1") == (1, 1)
    client.send([shown.impression()])
    consumer.apply(LIVE)
    assert outcomes(store, keys) == {"applied": 1, "implied": 1, "duplicate": 1}
    assert video_counts(store, keys, 7, "v1") == (1, 1)
    assert user_state(store, keys, 7, "u1").recent_skips() == []


def test_what_is_sent_again_counts_once_however_late(store: redis.Redis, keys: LiveKeys) -> None:
    shown = Shown("e1", "u1", "v1", T_US + 5, 1, T_US + 9, 4.0)
    client, consumer = EventClient(store), applier(store, keys)
    for _ in range(3):
        client.send(sent([shown]))
        consumer.apply(LIVE)
    assert outcomes(store, keys) == {"applied": 3, "duplicate": 6}
    assert_equals_batch(store, keys, LIVE, [shown], 3)


def test_a_click_that_comes_again_with_another_time_is_the_first(
    store: redis.Redis, keys: LiveKeys
) -> None:
    """Its first time is the batch's: a second after the release must not count it again."""
    client, consumer = EventClient(store), applier(store, keys)
    client.send([Shown("e1", "u1", "v1", T_US - 9, None, T_US - 5).click()])
    client.send([Shown("e1", "u1", "v1", T_US - 9, None, T_US + 5).click()])
    consumer.apply(LIVE)
    assert outcomes(store, keys) == {"late": 1, "implied": 1, "duplicate": 1}
    assert video_counts(store, keys, 7, "v1") == (0, 0)


def test_a_clock_ahead_is_early_by_the_clock_of_redis(store: redis.Redis, keys: LiveKeys) -> None:
    """The client's clock may be wrong: here it allows what the entry's own time doesn't."""
    client = EventClient(store, max_ahead=10 * DAY)
    client.send([Shown("e1", "u1", "v1", NOW_US + 2 * 86_400_000_000).impression()])
    client.send([Shown("e2", "u1", "v1", NOW_US + 3_600_000_000).impression()])
    applier(store, keys).apply(LIVE)
    assert outcomes(store, keys) == {"early": 1, "applied": 1}
    assert video_counts(store, keys, 7, "v1") == (1, 0)


PAIRS = {
    "k": "i",
    "e": "e1",
    "u": "u1",
    "v": "v1",
    "t": "{t}",
    "a": "{t}",
    "w": "",
    "p": "",
    "r": "",
}
GOOD_USER = [text for pair in PAIRS.items() for text in pair]
BROKEN: dict[str, dict[int, str]] = {
    "no number": {9: "yesterday"},
    "fraction": {9: "1.5"},
    "other kind": {1: "x"},
    "no event": {3: ""},
    "no user": {5: ""},
    "long video": {7: "v" * 129},
    "impression with a click's time": {11: str(NOW_US)},
    "watch no number": {13: "long"},
    "watch infinite": {13: "1e999"},
    "position zero": {15: "0"},
    "position too large": {15: "2147483648"},
    "another name": {0: "kind"},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_poisoned_entry_is_counted_and_passed(
    store: redis.Redis, keys: LiveKeys, broken: dict[int, str]
) -> None:
    parts = [part.format(t=T_US + 5) for part in GOOD_USER]
    for place, text in broken.items():
        parts[place] = text
    stream = keys.stream("user", keys.bucket(b"u1"))
    store.execute_command("XADD", stream, "*", *parts)
    store.execute_command("XADD", stream, "*", *(p.format(t=T_US + 5) for p in GOOD_USER))
    applier(store, keys).apply(LIVE)
    assert counters(store, keys, 7)["user"] == {"malformed": 1, "applied": 1}
    assert user_state(store, keys, 7, "u1").exposures == 1


def test_a_flood_from_one_user_is_bounded_and_its_list_ends_where_it_is_known(
    store: redis.Redis, keys: LiveKeys
) -> None:
    """20 impressions, then clicks on the newest four, of lists of three."""
    log = [Shown(f"e{i}", "u1", f"v{i}", T_US + i) for i in range(20)]
    client, consumer = EventClient(store), applier(store, keys, recent=3)
    client.send(sent(log))
    consumer.apply(LIVE)
    state = user_state(store, keys, 7, "u1")
    assert state.exposures == 20
    assert len(state.records) <= 15
    assert state.floor != NO_FLOOR
    assert [skip.us - T_US for skip in state.recent_skips()] == [19, 18, 17]
    clicked = [Shown(e.event, "u1", e.video, e.us, None, e.us + 50) for e in log[16:]]
    client.send([event.click() for event in clicked])
    consumer.apply(LIVE)
    log = log[:16] + clicked
    assert_equals_batch(store, keys, LIVE, log, 3)


def test_a_generation_that_was_dropped_takes_nothing(store: redis.Redis, keys: LiveKeys) -> None:
    EventClient(store).send(sent([Shown("e1", "u1", "v1", T_US + 5)]))
    drop(store, keys, LIVE.release)
    assert applier(store, keys).apply(LIVE) == 0
    assert opened(store, "vt") == {}
    assert not list(store.keys("vt:live:*"))
    # Another home's release of the same number begins anew, from the beginning of the streams.
    other = Generation(7, T_US - 50)
    assert open_generation(store, keys, other)
    assert applier(store, keys).apply(other) == 2
    assert open_generation(store, keys, LIVE)
    assert video_counts(store, keys, 7, "v1") == (0, 0)


def test_lag_is_zero_where_all_is_applied(store: redis.Redis, keys: LiveKeys) -> None:
    assert lags(store, keys, 7) == {"video": [0, 0], "user": [0, 0]}
    EventClient(store).send(sent([Shown("e1", "u1", "v1", T_US + 5)]))
    assert sum(map(bool, lags(store, keys, 7)["user"])) == 1
    applier(store, keys).apply(LIVE)
    assert lags(store, keys, 7) == {"video": [0, 0], "user": [0, 0]}


def test_a_restarted_server_that_knows_no_script(store: redis.Redis, keys: LiveKeys) -> None:
    EventClient(store).send(sent([Shown("e1", "u1", "v1", T_US + 5)]))
    store.script_flush()
    assert applier(store, keys).apply(LIVE) == 2


def test_a_cluster_has_the_same(cluster_store: Any) -> None:
    keys = new_store(cluster_store, buckets=8)
    assert open_generation(cluster_store, keys, LIVE)
    log = [
        Shown(f"e{i}", f"u{i % 5}", f"v{i % 7}", T_US - 20 + i, 1, T_US + 30 if i % 3 else None)
        for i in range(40)
    ]
    EventClient(cluster_store).send(sent(log) * 2)
    consumer = applier(cluster_store, keys)
    consumer.apply(LIVE)
    assert consumer.apply(LIVE) == 0
    assert_equals_batch(cluster_store, keys, LIVE, log, 3)
    drop(cluster_store, keys, LIVE.release)
    assert not list(cluster_store.scan_iter(match="vt:live:*"))


def test_nobody_is_behind_a_stream_that_was_emptied(store: redis.Redis, keys: LiveKeys) -> None:
    EventClient(store).send([Shown("e1", "u1", "v1", T_US).impression()])
    assert max(lags(store, keys, 7)["user"]) > 0
    applier(store, keys).apply(LIVE)
    store.xtrim(keys.stream("user", keys.bucket(b"u1")), maxlen=0, approximate=False)
    assert lags(store, keys, 7)["user"] == [0, 0]


def test_one_that_is_sent_again_with_another_time_after_its_generation_is_gone(
    store: redis.Redis, keys: LiveKeys
) -> None:
    """The limit that docs/realtime.md names: ids go with their generation."""
    client, consumer, later = EventClient(store), applier(store, keys), Generation(8, T_US + 100)
    client.send([Shown("e1", "u1", "v1", T_US).impression()])
    assert consumer.apply(LIVE) == 2
    drop(store, keys, LIVE.release)
    for part, bucket in parts_of(keys):
        store.xtrim(keys.stream(part, bucket), maxlen=0, approximate=False)
    assert open_generation(store, keys, later)
    client.send([Shown("e1", "u1", "v1", T_US + 200).impression()])
    consumer.apply(later)
    assert counters(store, keys, 8)["video"] == {"applied": 1}
    assert video_counts(store, keys, 8, "v1") == (1, 0)
