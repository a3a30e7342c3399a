"""Loads, pushes, rollbacks and crashes in any order: readers see what a list of rows says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from zlib import crc32

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_store import values

from vidtopics.errors import ContractError
from vidtopics.layout import Field, KeySpace, Schema, ViewEntry
from vidtopics.layout.chain import load_of, versions
from vidtopics.materialization import StoreWriter
from vidtopics.online import OnlineClient, Status

SCHEMA = Schema((Field("n", "int64", "scalar", "int64"),))
NAMES = ["a", "b", "c"]
VIEWS = "vt:{directory}:views"
Row = tuple[str, int, int]
"""Id, event time, content (0: the value ended)."""


@dataclass
class Store:
    """A view, and beside it the rows that were written: (id, event, order, load, content)."""

    connection: redis.Redis
    writer: StoreWriter
    entry: ViewEntry
    rows: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    retained: list[int] = field(default_factory=lambda: [0])
    last: int = 0

    @classmethod
    def new(cls, connection: redis.Redis) -> Store:
        connection.flushall()
        writer = StoreWriter(connection, buckets=2)
        return cls(connection, writer, writer.register("view", SCHEMA))

    @property
    def space(self) -> KeySpace:
        return self.writer.keys(self.entry)

    def write(self, load: int, rows: list[Row]) -> None:
        sender = self.writer.load(self.entry, load=load, retained=self.retained)
        for name, event, n in rows:
            ids = [name.encode()]
            prints = sender.space.fingerprints(ids)
            sender.add(ids, values(SCHEMA, [{"n": n} if n else None], prints, event))
            self.rows.append((name, event, len(self.rows), load, n))
        sender.finish()

    def run(self, rows: list[Row], *, crash: bool) -> None:
        self.last += 1
        self.write(self.last, rows)
        if not crash:
            self.retained.append(self.last)

    def roll_back(self) -> None:
        """To the load before; what came after it goes before the next load is written."""
        if len(self.retained) > 1:
            self.retained.pop()
        self.rows = [row for row in self.rows if row[3] <= self.retained[-1]]
        self.trim()

    def forget(self) -> None:
        """Retain the live load alone."""
        del self.retained[:-1]
        self.trim()

    def trim(self) -> None:
        for name in NAMES:
            bucket = crc32(name.encode()) % 2
            self.writer.trim(bucket, self.space.of([name.encode()]), self.retained)

    def seen(self, live: int) -> dict[str, int | None]:
        """What readers get where `live` is the live load."""
        entry = replace(self.entry, live=live)
        self.connection.hset(VIEWS, "view", entry.to_json())
        self.connection.incr("vt:{directory}:directory")
        features = OnlineClient(self.connection).read("view", NAMES)
        assert not (features.status == Status.UNREADABLE).any()
        columns = zip(NAMES, features.status, features["n"].tolist(), strict=True)
        return {
            name: 0 if status == Status.NULL else n
            for name, status, n in columns
            if status != Status.NOT_FOUND
        }

    def expected(self, live: int) -> dict[str, int | None]:
        """The plain oracle: the latest of the rows of loads up to `live`, the last of equals."""
        rows = sorted(row for row in self.rows if row[3] <= live)
        return {name: n for name, _, _, _, n in rows}

    def check(self) -> None:
        for load in self.retained:
            assert self.seen(load) == self.expected(load), load


ROWS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 4), st.integers(0, 3)), max_size=4)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["run", "crash", "push"]), ROWS),
    st.tuples(st.sampled_from(["roll back", "forget"]), st.just([])),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=8))
def test_readers_see_the_latest_row_up_to_each_retained_load(
    store: redis.Redis, steps: list[tuple[str, list[Row]]]
) -> None:
    view = Store.new(store)
    for kind, rows in steps:
        if kind == "push":
            view.write(0, rows)
        elif kind in {"run", "crash"}:
            view.run(rows, crash=kind == "crash")
        elif kind == "roll back":
            view.roll_back()
        else:
            view.forget()
        view.check()


def loads(view: Store, name: str = "a") -> list[int]:
    """The loads of the versions that lie under an id's key, newest first."""
    value = view.connection.get(view.space.of([name.encode()])[0])
    return [load_of(part) for part in versions(value)] if value else []


def test_each_retained_load_keeps_the_version_that_it_shows(store: redis.Redis) -> None:
    view = Store.new(store)
    view.run([("a", 1, 1)], crash=False)  # load 1
    view.run([("a", 2, 2), ("b", 2, 2)], crash=False)  # load 2
    view.run([("b", 3, 3)], crash=False)  # load 3 shows load 2's version of a
    assert loads(view) == [2, 1]
    view.forget()
    assert (loads(view), loads(view, "b")) == ([2], [3])


def test_a_version_that_never_went_live_is_dropped_by_the_next(store: redis.Redis) -> None:
    view = Store.new(store)
    view.run([("a", 1, 1)], crash=False)
    view.run([("a", 2, 2)], crash=True)
    assert loads(view) == [2, 1]
    view.run([("a", 2, 3)], crash=False)
    assert loads(view) == [3, 1]


def test_a_retry_of_the_same_rows_adds_no_version(store: redis.Redis) -> None:
    view = Store.new(store)
    view.run([("a", 1, 1)], crash=False)
    before = view.connection.get(view.space.of([b"a"])[0])
    view.run([("a", 1, 1)], crash=False)
    assert view.connection.get(view.space.of([b"a"])[0]) == before


def test_a_push_hides_what_is_older_for_good(store: redis.Redis) -> None:
    view = Store.new(store)
    view.run([("a", 1, 1)], crash=False)
    view.run([("a", 4, 4)], crash=True)
    view.write(0, [("a", 3, 3)])  # between the live row and one that isn't live yet
    assert loads(view) == [2, 0]
    view.write(0, [("a", 5, 5)])
    assert loads(view) == [0]


def test_a_key_that_only_a_rolled_back_load_has_goes(store: redis.Redis) -> None:
    view = Store.new(store)
    view.run([("b", 1, 1)], crash=False)
    view.run([("a", 1, 1)], crash=False)
    assert view.writer.trim(crc32(b"a") % 2, view.space.of([b"a"]), [1]) == 1
    assert not view.connection.exists(view.space.of([b"a"])[0])


def test_a_trim_leaves_the_expiry_and_damaged_values(store: redis.Redis) -> None:
    view = Store.new(store)
    view.run([("a", 1, 1)], crash=False)
    view.run([("a", 2, 2)], crash=False)
    key, other = view.space.of([b"a"])[0], view.space.of([b"b"])[0]
    store.pexpire(key, 60_000)
    store.set(other, b"\x22" + bytes(30))
    for name in ("a", "b"):
        view.writer.trim(crc32(name.encode()) % 2, view.space.of([name.encode()]), [2])
    assert loads(view) == [2]
    assert 0 < store.pttl(key) <= 60_000
    assert store.get(other) == b"\x22" + bytes(30)


def test_a_row_far_in_the_future_is_refused_by_name_and_nothing_of_its_batch_is_sent(
    store: redis.Redis,
) -> None:
    """After a slip of units no right row would ever be later."""
    view = Store.new(store)
    with pytest.raises(
        ContractError,
        match=r"view view, id b: expected an event time before .*`online.max_ahead`\), "
        r"found 1700000000000000000 microseconds since 1970\. Mend: correct",
    ):
        view.writer.load(view.entry).add(
            [b"a", b"b"],
            values(SCHEMA, [{"n": 1}], [1], 1) + values(SCHEMA, [{"n": 1}], [1], 17 * 10**17),
        )
    assert view.seen(0) == {}
    assert json.loads(store.hget(VIEWS, "view"))["live"] == 0
