"""In whatever order rows come, the latest (event, created) stays, and watermarks only rise."""

from __future__ import annotations

import random
from contextlib import suppress
from threading import Thread
from zlib import crc32

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from online_home import dump, dying_at, lease_ends

from vidtopics.errors import StoreError
from vidtopics.failpoints import Crash
from vidtopics.layout import Field, KeySpace, Schema, Watermark, encode, tombstones
from vidtopics.materialization import StoreWriter
from vidtopics.online import OnlineClient, Status

SCHEMA = Schema((Field("n", "int64", "scalar", "int64"),))
NOW = 1_795_000_000_000_000  # 2026 in microseconds: where doubles are 1/4 apart
Row = tuple[str, int, int]
ROWS = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from([-1, 0, 1, NOW, NOW + 1, NOW - 1]),
        st.sampled_from([0, 1, NOW, NOW + 1]),
    ),
    max_size=40,
)


def ends(row: Row) -> bool:
    return (row[1] + row[2]) % 3 == 0


def content(row: Row) -> int:
    return crc32(repr(row).encode())


def values(space: KeySpace, rows: list[Row]) -> tuple[list[bytes], list[bytes]]:
    """Ids and values; a row's times say what it holds, and whether it is a tombstone."""
    ids = [name.encode() for name, _, _ in rows]
    payloads = []
    for row, mark in zip(rows, space.fingerprints(ids), strict=True):
        times = ([row[1]], [row[2]])
        marks = np.array([mark], np.uint32)
        columns = {"n": [content(row)]}
        payloads += (
            tombstones(SCHEMA, marks, *times)
            if ends(row)
            else encode(SCHEMA, columns, fingerprints=marks, event_us=times[0], created_us=times[1])
        )
    return ids, payloads


def write(store: redis.Redis, rows: list[Row], watermark: Watermark | None = None) -> int:
    writer = StoreWriter(store, buckets=3)
    load = writer.load(writer.register("view", SCHEMA))
    load.add(*values(load.space, rows))
    return load.finish(watermark)


def stored_rows(store: redis.Redis) -> dict[str, tuple[int, int, int | None]]:
    """Event, created and content (None: ended) of every id that there is."""
    features = OnlineClient(store).read("view", list("abcdef"))
    assert not (features.status == Status.UNREADABLE).any()
    columns = zip(
        "abcdef",
        features.status,
        features.event_us.tolist(),
        features.created_us.tolist(),
        features["n"].tolist(),
        strict=True,
    )
    return {
        i: (e, c, None if s == Status.NULL else n)
        for i, s, e, c, n in columns
        if s != Status.NOT_FOUND
    }


def latest(rows: list[Row]) -> dict[str, tuple[int, int, int | None]]:
    """The plain oracle."""
    best = {name: max(r for r in rows if r[0] == name) for name, _, _ in rows}
    return {
        name: (row[1], row[2], None if ends(row) else content(row)) for name, row in best.items()
    }


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 5))
def test_any_order_and_any_batches_leave_the_latest_row(
    store: redis.Redis, rows: list[Row], order: random.Random, batch: int
) -> None:
    store.flushall()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vidtopics.materialization.writer.BATCH", batch)
        for _ in range(2):
            shuffled = order.sample(rows, len(rows))
            cut = order.randint(0, len(rows))
            write(store, shuffled[:cut])
            write(store, shuffled[cut:])
            assert stored_rows(store) == latest(rows)


def test_writers_at_once_leave_the_latest_row(
    store: redis.Redis, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidtopics.materialization.writer.BATCH", 2)
    order = random.Random(7)
    rows = [
        (order.choice("abcdef"), order.randint(0, 50), order.randint(0, 50)) for _ in range(400)
    ]
    parts = [[r for r in rows if order.random() < 0.7] for _ in range(4)]
    for part in parts:
        order.shuffle(part)
    threads = [Thread(target=write, args=(redis.Redis.from_url(valkey), part)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stored_rows(store) == latest([row for part in parts for row in part])


def test_written_counts_rows_that_were_not_older(store: redis.Redis) -> None:
    assert write(store, [("a", 1, 1), ("b", 1, 1)]) == 2
    assert (
        write(store, [("a", 1, 1), ("b", 1, 0), ("c", 0, 0)]) == 2
    )  # the same again, an older one, a new one
    assert write(store, []) == 0


def test_an_ended_value_keeps_an_older_row_from_coming_back(store: redis.Redis) -> None:
    assert ends(("a", 2, 1))
    write(store, [("a", 2, 1)])
    assert write(store, [("a", 1, 7)]) == 0
    assert stored_rows(store) == {"a": (2, 1, None)}
    write(store, [("a", 2, 2)])
    assert stored_rows(store)["a"] == (2, 2, content(("a", 2, 2)))


def test_a_value_too_short_for_a_header_is_overwritten(store: redis.Redis) -> None:
    write(store, [("a", 5, 5)])
    (key,) = store.scan_iter(match="vt:1:1:*")
    store.set(key, b"x" * 29)
    assert write(store, [("a", 1, 1)]) == 1
    assert stored_rows(store) == latest([("a", 1, 1)])


def marks(store: redis.Redis) -> list[Watermark | None]:
    writer = StoreWriter(store, buckets=3)
    return writer.watermarks(writer.register("view", SCHEMA))


def test_watermarks_move_only_with_the_end_of_a_load_and_never_back(store: redis.Redis) -> None:
    writer = StoreWriter(store, buckets=3)
    load = writer.load(writer.register("view", SCHEMA))
    load.add(*values(load.space, [(name, 1, 1) for name in "abcdef"]))
    assert marks(store) == [None] * 3
    load.finish(Watermark(9, 4, "t"))
    assert marks(store) == [Watermark(9, 4, "t")] * 3
    write(store, [("a", 2, 2)])
    write(store, [("a", 3, 3)], Watermark(10, 3, "t"))
    assert marks(store) == [Watermark(9, 4, "t")] * 3
    write(
        store, [], Watermark(8, 10, "t")
    )  # releases counted anew, from a backup; versions compared as numbers: "10" < "4"
    assert marks(store) == [Watermark(8, 10, "t")] * 3
    write(store, [], Watermark(1, 1, "u"))  # a home made anew: another table, releases from 1
    assert marks(store) == [Watermark(1, 1, "u")] * 3


def test_a_bucket_without_rows_has_its_watermark_too(store: redis.Redis) -> None:
    write(store, [("a", 1, 1)], Watermark(1, 1, "t"))
    assert marks(store) == [Watermark(1, 1, "t")] * 3


def test_another_number_of_buckets_is_refused(store: redis.Redis) -> None:
    StoreWriter(store, prefix="p", buckets=3)
    StoreWriter(store, prefix="p", buckets=3)
    with pytest.raises(
        StoreError, match=r"prefix 'p': expected .* with 4 buckets, found .* 3 buckets. Mend: keep"
    ):
        StoreWriter(store, prefix="p", buckets=4)
    StoreWriter(store, prefix="q", buckets=4)


def test_a_view_keeps_its_number_whatever_changes(store: redis.Redis) -> None:
    writer = StoreWriter(store)
    first, second = writer.register("one", SCHEMA), writer.register("two", SCHEMA, 5)
    assert (first.number, second.number, second.ttl_us) == (1, 2, 5)
    version = int(store.get("vt:{directory}:directory"))
    assert writer.register("one", SCHEMA) == first
    assert (
        int(store.get("vt:{directory}:directory")) == version
    )  # nothing changed, no reader looks again
    longer = Schema((*SCHEMA.fields, Field("m", "int64", "scalar", "int8")))
    changed = writer.register("one", longer, 7)
    assert (changed.number, changed.schema, changed.ttl_us) == (1, longer.hash, 7)
    assert int(store.get("vt:{directory}:directory")) == version + 1
    assert set(OnlineClient(store).directory().schemas) == {SCHEMA.hash, longer.hash}


def test_writers_that_register_at_once_share_no_number(store: redis.Redis, valkey: str) -> None:
    def enter(view: str) -> None:
        StoreWriter(redis.Redis.from_url(valkey)).register(view, SCHEMA)

    threads = [Thread(target=enter, args=(f"view{i % 8}",)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(e.number for e in OnlineClient(store).directory().views.values()) == list(
        range(1, 9)
    )


def test_drop_takes_a_views_values_and_watermarks_and_nothing_else(store: redis.Redis) -> None:
    writer = StoreWriter(store, buckets=3)
    for n in range(1, 12):  # views 1 and 11 begin alike
        load = writer.load(writer.register(f"view{n}", SCHEMA))
        load.add(*values(load.space, [("a", 1, 1), ("b", 1, 1)]))
        load.finish(Watermark(1, 1, "t"))
    before = dump(store)
    gone = {key for key in before if key.startswith((b"vt:1:1:{", b"vt:1:w1:{"))}
    assert writer.drop("view1") == len(gone) == 2 + 3
    after = dump(store)
    assert before.keys() - after.keys() == gone
    assert {k: v for k, v in after.items() if b"directory" not in k} == {
        k: v for k, v in before.items() if k not in gone and b"directory" not in k
    }
    assert writer.watermarks(writer.register("view11", SCHEMA)) == [Watermark(1, 1, "t")] * 3
    assert OnlineClient(store).read("view11", ["a", "b"]).present.all()
    assert writer.drop("view1") == 0


@pytest.mark.parametrize("command", range(1, 22, 2))
def test_a_drop_that_dies_leaves_no_key_of_an_earlier_view_to_a_later_one(
    store: redis.Redis, monkeypatch: pytest.MonkeyPatch, command: int
) -> None:
    """The next load would take values or watermarks that a sweep then removes for its own."""
    write(store, [("a", 1, 1), ("b", 1, 1)], Watermark(1, 1, "t"))
    with dying_at(command, monkeypatch), suppress(Crash):
        StoreWriter(store, buckets=3).drop("view")
    lease_ends(store)
    StoreWriter(store, buckets=3).drop("view")
    assert marks(store) == [None] * 3
    write(store, [("c", 1, 1)], Watermark(2, 1, "t"))
    StoreWriter(store, buckets=3).sweep()
    assert stored_rows(store) == latest([("c", 1, 1)])
    assert marks(store) == [Watermark(2, 1, "t")] * 3
