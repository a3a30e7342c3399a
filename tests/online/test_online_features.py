"""What a reader concludes from the bytes of many ids: statuses, and values that are sure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_store import TOPICS, values
from small_store import value as value_of

from vidtopics.layout import Field, Schema, encode
from vidtopics.online import Features, Status
from vidtopics.online.features import gather

PRINTS = np.arange(10, 15, dtype=np.uint32)
U, P, N, M, O = (  # noqa: E741
    Status.UNREADABLE,
    Status.PRESENT,
    Status.NULL,
    Status.NOT_FOUND,
    Status.OUTSIDE_MAX_AGE,
)


def rows(*numbers: int | None, schema: Schema = TOPICS, event_us: int = 1) -> list[bytes]:
    return values(
        schema,
        [None if n is None else value_of(n) for n in numbers],
        PRINTS[: len(numbers)],
        event_us,
    )


def read(
    payloads: list[bytes | None], known: dict[int, Schema] | None = None, **options: Any
) -> Features:
    schema = options.pop("schema", TOPICS)
    prints = PRINTS[: len(payloads)]
    return gather(schema, known or {}, payloads, prints, now_us=100, **options)


def test_statuses_are_those_of_feast() -> None:
    assert [(s.name, s.value) for s in Status] == [
        ("UNREADABLE", 0),
        ("PRESENT", 1),
        ("NULL", 2),
        ("NOT_FOUND", 3),
        ("OUTSIDE_MAX_AGE", 4),
    ]


def test_every_row_has_its_own_status_and_padding_where_it_has_no_value() -> None:
    payloads: list[bytes | None] = [*rows(7, None), None, *rows(0, 0, 0, 5)[3:], b"short"]
    features = read(payloads)
    assert features.status.tolist() == [P, N, M, P, U]
    assert features["topic_ids"].tolist() == [[7, -1], [-1, -1], [-1, -1], [5, -1], [-1, -1]]
    assert features["topic_count"].tolist() == [7, 0, 0, 5, 0]
    assert features["label"].tolist() == ["topic 7", None, None, "topic 5", None]
    assert features.event_us.tolist() == features.created_us.tolist() == [1, 1, 0, 1, 0]
    assert features.present.tolist() == [True, False, False, True, False]
    assert {tuple(missing.tolist()) for missing in features.null.values()} == {
        (False, True, True, False, True)
    }
    assert (len(features), features.names) == (5, ("topic_ids", "topic_count", "label"))
    assert features["topic_ids"].dtype == np.int64


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda value: b"",
    "cut in the header": lambda value: value[:28],
    "a header without the flag of a tombstone": lambda value: value[:29],
    "cut": lambda value: value[:-1],
    "too long": lambda value: value + b"\0",
    "another layout": lambda value: b"\x03" + value[1:],
    "a schema nobody knows": lambda value: value[:1] + b"\xde\xad\xbe\xef" + value[5:],
    "zeros": lambda value: bytes(len(value)),
    "another id's value": lambda value: values(TOPICS, [value_of(9)], [99], 1)[0],
    "another id's tombstone": lambda value: values(TOPICS, [None], [99], 1)[0],
    "another layout's tombstone": lambda value: b"\x13" + value[1:29],
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_bytes_that_are_not_this_rows_are_unreadable_and_only_they(damage: str, place: int) -> None:
    payloads, expected = rows(1, 2, 3), [1, 2, 3]
    payloads[place], expected[place] = DAMAGED[damage](payloads[place]), 0
    features = read(list(payloads), ttl_us=1000)
    assert features.status.tolist() == [U if n == 0 else P for n in expected]
    assert features["topic_count"].tolist() == expected
    assert features["label"].tolist() == [f"topic {n}" if n else None for n in expected]
    assert all(missing.tolist() == [n == 0 for n in expected] for missing in features.null.values())


@pytest.mark.parametrize(("event_us", "status"), [(59, O), (60, P), (61, P), (1000, P)])
def test_ttl_is_inclusive(event_us: int, status: Status) -> None:
    features = read(list(rows(3, event_us=event_us)), ttl_us=40)
    assert features.status.tolist() == [status]
    assert features["topic_count"].tolist() == [3 if status == P else 0]
    assert features.event_us.tolist() == [event_us]  # its age can be told even so
    assert features.null["label"].tolist() == [status != P]


def test_without_ttl_nothing_is_too_old() -> None:
    assert read(list(rows(3, event_us=-(2**50)))).status.tolist() == [P]


def test_a_value_past_its_ttl_is_there_for_those_who_ask() -> None:
    payloads = [*rows(7, event_us=59), *rows(0, 5, event_us=60)[1:]]
    for asked, first in ((False, -1), (True, 7)):
        features = read([*payloads, None], ttl_us=40, expired_values=asked)
        assert features.status.tolist() == [O, P, M]
        assert features["topic_ids"][:, 0].tolist() == [first, 5, -1]


def test_unreadable_wins_over_too_old() -> None:
    assert read([b"\x03" + rows(1)[0][1:]], ttl_us=40).status.tolist() == [U]


def test_a_value_that_ended_long_ago_has_ended() -> None:
    assert read(list(rows(None, event_us=1)), ttl_us=40).status.tolist() == [N]


def test_a_null_field_of_a_present_row_is_padding_and_marked() -> None:
    payloads = values(
        TOPICS, [{**value_of(1), "topic_ids": [9, 9], "label": None}, value_of(2)], PRINTS[:2], 1
    )
    features = read(list(payloads))
    assert features.status.tolist() == [P, P]
    assert features["label"].tolist() == [None, "topic 2"]
    assert {n: m.tolist() for n, m in features.null.items()} == {
        "topic_ids": [False, False],
        "topic_count": [False, False],
        "label": [True, False],
    }


def test_names_choose_fields_in_the_schemas_order() -> None:
    features = read(list(rows(1, 2)), names=["label", "topic_count"])
    assert features.names == ("topic_count", "label")
    assert features["label"].tolist() == ["topic 1", "topic 2"]


def test_no_ids() -> None:
    features = read([])
    assert (len(features), features["topic_ids"].shape, features["label"].shape) == (
        0,
        (0, 2),
        (0,),
    )


LONGER = Schema((*TOPICS.fields, Field("score", "float32", "scalar", "float32", pad=-1)))


@pytest.mark.parametrize("now", [TOPICS, LONGER], ids=["old reader", "new reader"])
def test_a_field_added_at_the_end_reads_in_mixed_batches(now: Schema) -> None:
    new = values(LONGER, [{**value_of(n), "score": n / 2} for n in (1, 2, 3)], PRINTS[:3], 1)
    payloads = [new[0], rows(0, 2)[1], new[2]]
    features = read(list(payloads), {s.hash: s for s in (TOPICS, LONGER)}, schema=now)
    assert features.status.tolist() == [P, P, P]
    assert features["topic_count"].tolist() == [1, 2, 3]
    if now is LONGER:
        assert features["score"].tolist() == [0.5, -1, 1.5]
        assert features.null["score"].tolist() == [False, True, False]
    else:
        assert features.names == ("topic_ids", "topic_count", "label")


def test_a_narrower_wire_reads_in_mixed_batches() -> None:
    wide = Schema(
        (TOPICS.fields[0], dataclasses.replace(TOPICS.fields[1], wire="int64"), TOPICS.fields[2])
    )
    payloads = [rows(1)[0], rows(0, 300, schema=wide)[1]]
    features = read(list(payloads), {wide.hash: wide})
    assert (features.status.tolist(), features["topic_count"].tolist()) == ([P, P], [1, 300])


CHANGED = {
    "type": Field("topic_count", "float64", "scalar", "float64"),
    "kind": Field("topic_count", "int64", "slots", "int64", 1),
    "width": Field("topic_ids", "int64", "slots", "int32", 3, -1),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_field_of_another_type_makes_its_rows_unreadable(what: str) -> None:
    other = Schema(
        tuple(CHANGED[what] if f.name == CHANGED[what].name else f for f in TOPICS.fields)
    )
    row = {
        "topic_ids": [4] * other.fields[0].width,
        "topic_count": [4] if what == "kind" else 4,
        "label": "4",
    }
    payloads = [*rows(1), values(other, [row], PRINTS[1:2], 1)[0], *rows(0, 0, 3)[2:]]
    features = read(list(payloads), {other.hash: other})
    assert features.status.tolist() == [P, U, P]
    assert features["topic_ids"].tolist() == [[1, -1], [-1, -1], [3, -1]]
    assert features["topic_count"].tolist() == [1, 0, 3]
    assert features.null["label"].tolist() == [False, True, False]
    alone = read(list(payloads), {other.hash: other}, names=["label"])
    assert alone.status.tolist() == [P, P, P]  # the field that changed isn't asked for
    assert alone["label"].tolist() == ["topic 1", "4", "topic 3"]


VECTOR_OLD = Schema(
    (Field("v", "float32", "vector", "float32"), Field("n", "int64", "scalar", "int8"))
)
VECTOR = Schema((*VECTOR_OLD.fields, Field("m", "int64", "scalar", "int8")))


def vectors(schema: Schema, place: int, vector: list[float] | None, created_us: int = 1) -> bytes:
    row = {"v": [vector], "n": [5], "m": [6]}
    (payload,) = encode(
        schema, row, fingerprints=PRINTS[place : place + 1], event_us=[1], created_us=[created_us]
    )
    return payload


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_vectors_of_two_schemas_and_widths_todays_schema_wins(order: tuple[int, int]) -> None:
    payloads = [b"", b""]
    today, before = order
    payloads[today] = vectors(VECTOR, today, [1, 2, 3])
    payloads[before] = vectors(VECTOR_OLD, before, [8, 9], created_us=7)
    features = read(list(payloads), {VECTOR_OLD.hash: VECTOR_OLD}, schema=VECTOR)
    assert [features.status[today], features.status[before]] == [P, U]
    assert features["v"][today].tolist() == [1, 2, 3]
    assert features["v"][before].tolist() == [0, 0, 0]
    assert features["n"][[today, before]].tolist() == [5, 0]
    assert features.null["v"][[today, before]].tolist() == [False, True]


def test_vectors_of_two_schemas_and_one_width_are_all_read() -> None:
    payloads = [vectors(VECTOR_OLD, 0, [8, 9]), vectors(VECTOR, 1, [1, 2])]
    features = read([*payloads, None], {VECTOR_OLD.hash: VECTOR_OLD}, schema=VECTOR)
    assert (features.status.tolist(), features["v"].tolist()) == (
        [P, P, M],
        [[8, 9], [1, 2], [0, 0]],
    )


@pytest.mark.parametrize("schema", [VECTOR, VECTOR_OLD], ids=["today", "before"])
@pytest.mark.parametrize("kind", ["null", "cut"])
def test_a_schema_without_a_single_vector_spoils_none_of_the_other(
    schema: Schema, kind: str
) -> None:
    other = VECTOR_OLD if schema is VECTOR else VECTOR
    odd = vectors(schema, 0, None) if kind == "null" else vectors(schema, 0, [1, 2])[:-1]
    features = read([odd, vectors(other, 1, [3, 4])], {VECTOR_OLD.hash: VECTOR_OLD}, schema=VECTOR)
    assert features["v"].tolist() == [[0, 0], [3, 4]]
    assert features.status.tolist() == [P if kind == "null" else U, P]
    assert features.null["v"].tolist() == [True, False]


def test_no_vector_at_all_has_no_width() -> None:
    assert read([None, None], schema=VECTOR)["v"].shape == (2, 0)
