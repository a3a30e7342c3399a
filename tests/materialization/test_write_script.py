"""The script that writes values, byte by byte against its rule in plain Python."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vidtopics.layout import LAYOUT, TOMBSTONE, Field, Schema
from vidtopics.layout.chain import LOAD, chained, load_of, versions
from vidtopics.materialization import StoreWriter
from vidtopics.materialization.writer import DAY_US

SCHEMA = Schema((Field("n", "int64", "scalar", "int64"),))
NOW = 1_795_000_000_000_000


def row(load: int, event: int, created: int, content: bytes, flags: int = 0) -> bytes:
    """A version by hand; its content may be of any length."""
    times = (event, created)
    return (
        bytes([LAYOUT | flags])
        + b"schmfing"
        + load.to_bytes(4, "little")
        + b"".join(us.to_bytes(8, "little", signed=True) for us in times)
        + content
    )


ROWS = st.builds(
    row,
    st.integers(0, 7),
    st.sampled_from([-1, 1, 2, NOW]),
    st.sampled_from([1, NOW + 1]),
    st.sampled_from([b"", b"n", b"another"]),
    st.sampled_from([0, TOMBSTONE]),
)
DAMAGED = st.sampled_from([b"short", b"x" * 40, chained([row(1, 1, 1, b"")] * 2)[:-1]])


def times(value: bytes) -> tuple[int, int]:
    """Event and created time."""
    event, created = (int.from_bytes(value[i : i + 8], "little", signed=True) for i in (13, 21))
    return event, created


STORED = st.one_of(
    st.none(),
    DAMAGED,
    st.lists(ROWS, min_size=1, max_size=4).map(
        lambda rows: chained(sorted(rows, key=times, reverse=True))
    ),
)


def parts(value: bytes | None) -> list[bytes]:
    """The versions; none of a value that is damaged."""
    try:
        return versions(value) if value else []
    except ValueError:
        return []


def shows(rows: list[bytes], load: int) -> int:
    """The place of the version that a load shows; that behind the last where there is none."""
    return next((i for i, r in enumerate(rows) if load_of(r) <= load), len(rows))


def after(value: bytes | None, new: bytes, retained: list[int]) -> tuple[bytes | None, int]:
    """The value once a row was written, and whether it counts as written (`docs/online.md`)."""
    rows, load = parts(value), load_of(new)
    if not rows:
        return new, 1
    place = shows(rows, load)
    if place < len(rows) and rows[place][: LOAD.start] + rows[place][LOAD.stop :] == (
        new[: LOAD.start] + new[LOAD.stop :]
    ):
        return value, 1
    at = next((i for i, r in enumerate(rows) if times(r) <= times(new)), len(rows))
    rows.insert(at, new)
    # A writer outside of runs doesn't know what is retained.
    loads = [load, *retained] if load else [load_of(r) for r in rows]
    shown = {shows(rows, other) for other in loads}
    if at not in shown:
        return value, 0
    return chained([r for i, r in enumerate(rows) if i in shown]), 1


@pytest.mark.parametrize("ttl_us", [0, DAY_US])
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(  # load 1's version is the later one, so that nobody is shown load 3's
    before={"a": chained([row(1, 2, 1, b""), row(3, 1, 1, b"")])},
    rows=[("a", row(0, NOW, 1, b""))],
    load=7,
    retained=[1, 3],
)
@given(
    st.dictionaries(st.sampled_from("abc"), STORED),
    st.lists(st.tuples(st.sampled_from("abc"), ROWS), max_size=5),
    st.integers(0, 7),
    st.lists(st.integers(0, 7), max_size=4),
)
def test_a_batch_leaves_what_the_rule_says(
    store: redis.Redis,
    ttl_us: int,
    before: dict[str, bytes | None],
    rows: list[tuple[str, bytes]],
    load: int,
    retained: list[int],
) -> None:
    """Keys without a value, with one or more versions, or damaged; a key may come twice."""
    store.flushall()
    writer = StoreWriter(store, buckets=1)
    space = writer.keys(writer.register("view", SCHEMA, ttl_us))
    key = {name: space.of([name.encode()])[0] for name in "abc"}
    expected: dict[str, Any] = {name: value for name, value in before.items() if value}
    for name, value in expected.items():
        store.set(key[name], value)
    batch = [(n, r[: LOAD.start] + load.to_bytes(4, "little") + r[LOAD.stop :]) for n, r in rows]
    written = 0
    for name, value in batch:
        expected[name], count = after(expected.get(name), value, retained)
        written += count
    keyed = [(key[name], value) for name, value in batch]
    options: dict[str, Any] = {"ttl_us": ttl_us, "load": load, "retained": retained}
    assert writer.write(space, 0, keyed, **options) == written
    assert {n: store.get(key[n]) for n in "abc" if store.exists(key[n])} == expected
