"""Live state takes the entries that land: ids in UTF-8, 1 to 128 bytes; names in their order."""

from __future__ import annotations

import random

import redis
from live_worlds import NOW_US, applier, new_store, user_state

from vidtopics.events.generations import Generation, counters, open_generation
from vidtopics.ingest.landing import _event
from vidtopics.layout.live import FIELDS
from vidtopics.online.event_rules import RefusedError

LIVE = Generation(7, NOW_US - 100_000_000)
EDGES = (
    *(
        b"\x00",
        b"a\x1f",
        b"\x20",
        b"a\x7f",
        b"\x80",
        b"\xc2",
        b"\xc2\x80",
        b"\xc2\x9f",
        b"\xc2\xa0",
    ),
    *(b"\xc1\xbf", b"\xdf\xbf", b"\xe0\x9f\xbf", b"\xe0\xa0\x80", b"\xed\x9f\xbf", b"\xed\xa0\x80"),
    *(
        b"\xee\x80\x80",
        b"\xef\xbf\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf0\x90\x80\x80",
        b"\xff",
        b"\xe2\x82",
    ),
    *(
        b"\xf4\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xe2\x80\xa8",
        b"\xe2\x28\xa1",
    ),
    *("ü".encode() * 64, "ü".encode() * 64 + b"a", b"a" * 128, b"a" * 129, b"ab\xc3\xbcc\x01"),
)


def test_an_id_is_counted_where_it_lands(store: redis.Redis) -> None:
    keys = new_store(store)
    assert open_generation(store, keys, LIVE)
    rng = random.Random(1)
    pieces = [b"a", *(edge for edge in EDGES if len(edge) < 5)]
    texts = [*EDGES, *(b"".join(rng.choices(pieces, k=3)) for _ in range(60))]
    for number, text in enumerate(texts):
        for name in ("e", "u", "v", "r"):
            fields = {"k": b"c", "e": b"%d%s" % (number, name.encode()), "u": b"u1", "v": b"v1"}
            fields |= dict.fromkeys("ta", b"%d" % NOW_US) | dict.fromkeys("wpr", b"")
            fields[name] = text
            bucket = keys.bucket(fields["u"])
            before = counters(store, keys, 7)["user"].get("malformed", 0)
            store.xadd(keys.stream("user", bucket), {n: fields[n] for n in FIELDS["user"]})
            assert applier(store, keys).apply(LIVE) == 1
            is_counted = counters(store, keys, 7)["user"].get("malformed", 0) == before
            assert is_counted == lands(fields), (name, text)
    assert all(c.video.decode() for c in user_state(store, keys, 7, "u1").recent_clicks())


def lands(fields: dict[str, bytes]) -> bool:
    plain = {name: fields[name].decode(errors="surrogateescape") for name in FIELDS["user"]}
    try:
        _event(plain, NOW_US)
    except RefusedError:
        return False
    return True


def test_an_entry_that_repeats_a_name_is_counted_as_it_lands(store: redis.Redis) -> None:
    keys = new_store(store)
    assert open_generation(store, keys, LIVE)
    values = {"k": "i", "e": "e1", "u": "u1", "v": "v1", "t": str(NOW_US), "a": str(NOW_US)}
    parts = [part for name in FIELDS["user"] for part in (name, values.get(name, ""))]
    stream = keys.stream("user", keys.bucket(b"u1"))
    for changes in (["e", "e2"], ["e", "e3", "e", "e4"], ["x", "y"], ["k", "e", "e", "e5"]):
        store.execute_command("XADD", stream, "*", *parts, *changes)
    store.execute_command("XADD", stream, "*", "e", "e6", *parts[:2], *parts[4:], "r", "")
    applier(store, keys).apply(LIVE)
    assert counters(store, keys, 7)["user"] == {"applied": 2, "malformed": 3}
    landing = [
        {name.decode(): value for name, value in fields.items()}
        for _, fields in store.xrange(stream)
    ]
    assert [tuple(f) == tuple(FIELDS["user"]) and lands(f) for f in landing] == [
        *(True, True, False, False, False),
    ]
    records = user_state(store, keys, 7, "u1").records
    assert {record.event for record in records} == {b"e2", b"e4"}
