"""The width of a vector is part of the schema: one row of another can't cost others theirs."""

from __future__ import annotations

import numpy as np
import pytest
import redis
from small_store import put

from vidtopics.errors import ContractError, StoreError
from vidtopics.layout import Field, Schema, encode
from vidtopics.materialization import StoreWriter
from vidtopics.online import OnlineClient

VECTOR = Field("v", "float32", "vector", "float16")
UNSIZED = Schema((VECTOR, Field("n", "int64", "scalar", "int8")))
SIZED = UNSIZED.sized({"v": 3})


def test_a_row_of_another_width_is_refused_by_name(store: redis.Redis) -> None:
    with pytest.raises(
        ContractError,
        match=r"v, row 1 \(id b\): expected a vector of 3 numbers, as the view's others, found one "
        r"of 2\. Mend: correct the row; where the width changed, write all rows by it\.",
    ):
        encode(
            SIZED,
            {"v": [[1, 2, 3], [4, 5], [6, 7, 8]], "n": [1, 2, 3]},
            fingerprints=np.zeros(3, np.uint32),
            event_us=[1] * 3,
            created_us=[1] * 3,
            ids=[b"a", b"b", b"c"],
        )


def test_a_row_of_another_width_that_is_there_all_the_same_costs_itself_alone(
    store: redis.Redis,
) -> None:
    """The row known last set the width before: 599 of 600 were unreadable."""
    ids = [f"v{i}" for i in range(600)]
    put(store, {i: {"v": [1, 2, 3], "n": 1} for i in ids[1:]}, schema=SIZED)
    writer = StoreWriter(store)
    sender = writer.load(writer.generations.entries()["topics"])
    other = UNSIZED.sized({"v": 2})
    prints = sender.space.fingerprints([b"v0"])
    columns = {"v": [[9, 9]], "n": [1]}
    sender.add(
        [b"v0"],
        encode(other, columns, fingerprints=prints, event_us=[9], created_us=[99]),
    )
    sender.finish()
    features = OnlineClient(store).read("topics", ids)
    assert features.present.tolist() == [False] + [True] * 599
    assert features["v"].shape == (600, 3)


def test_another_width_is_a_new_generation(store: redis.Redis) -> None:
    writer = StoreWriter(store)
    first = writer.register("view", SIZED)
    assert writer.register("view", SIZED) == first
    second = writer.register("view", UNSIZED.sized({"v": 4}))
    assert (second.number, second.generation) == (first.number, first.generation + 1)


def test_a_schema_that_does_not_know_the_width_takes_that_of_the_values(
    store: redis.Redis,
) -> None:
    """`feast apply` has no rows to see it by."""
    writer = StoreWriter(store)
    applied = writer.generations.register_for_apply("view", UNSIZED, 0)
    loaded = writer.register("view", SIZED)
    assert (loaded.generation, loaded.schema) == (applied.generation, SIZED.hash)
    again = writer.generations.register_for_apply("view", UNSIZED, 10**6)
    assert (again.generation, again.schema, again.ttl_us) == (1, SIZED.hash, 10**6)
    assert writer.generations.fits(again, UNSIZED)
    assert not writer.generations.fits(again, UNSIZED.sized({"v": 4}))


def test_a_push_of_another_width_is_refused(store: redis.Redis) -> None:
    writer = StoreWriter(store)
    writer.register("view", SIZED)
    with pytest.raises(StoreError, match=r"found v float32\[4\], n int64 by"):
        writer.register_for_push("view", UNSIZED.sized({"v": 4}), 0)


def test_vectors_of_known_width_are_of_fixed_size_and_nulls_are_padding(
    store: redis.Redis,
) -> None:
    assert (SIZED.fixed, UNSIZED.fixed) == (True, False)
    rows = {"a": {"v": [1, 2, 3], "n": 1}, "b": {"v": None, "n": 2}, "c": None}
    put(store, rows, schema=SIZED)
    features = OnlineClient(store).read("topics", ["a", "b", "c", "d"])
    assert features["v"].tolist() == [[1, 2, 3], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert features["v"].dtype == np.float32
    assert features.null["v"].tolist() == [False, True, True, True]


def test_values_from_before_the_width_was_known_are_read_beside_those_after(
    store: redis.Redis,
) -> None:
    put(store, {"a": {"v": [1, 2, 3], "n": 1}, "b": {"v": [1, 2], "n": 1}}, schema=UNSIZED)
    put(store, {"c": {"v": [4, 5, 6], "n": 1}}, schema=SIZED)
    features = OnlineClient(store).read("topics", ["a", "b", "c"])
    assert features.present.tolist() == [True, False, True]
    assert features["v"].tolist() == [[1, 2, 3], [0, 0, 0], [4, 5, 6]]
