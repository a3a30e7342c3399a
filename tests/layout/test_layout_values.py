"""Rows to bytes and back: each kind of field against `struct`, one value byte by byte."""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np
import pytest
from by_hand import value_bytes
from hypothesis import given
from hypothesis import strategies as st

from vidtopics.errors import ContractError
from vidtopics.layout import HEADER, TOMBSTONE, Field, Schema, decode, encode, headers, tombstones

INTS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64, "timestamp": 64}
FLOATS = {"float16": 16, "float32": 32, "float64": 64}
TIMES = st.integers(-(2**62), 2**62)


def number(wire: str) -> st.SearchStrategy[Any]:
    """Numbers that the wire type holds exactly."""
    if wire in INTS:
        return st.integers(-(2 ** (INTS[wire] - 1)), 2 ** (INTS[wire] - 1) - 1)
    if wire == "bool":
        return st.booleans()
    return st.floats(width=FLOATS[wire], allow_nan=False)  # type: ignore[arg-type]


TYPES = [(t, t) for t in (*INTS, *FLOATS, "bool")] + [
    ("int64", "int8"),
    ("int64", "int32"),
    ("float32", "float16"),
]


@st.composite
def fields(draw: st.DrawFn, name: str) -> tuple[Field, st.SearchStrategy[Any]]:
    """A field and what a row may hold in it, null included."""
    kind = draw(st.sampled_from(["scalar", "slots", "vector", "list", "texts", "string", "bytes"]))
    if kind in ("texts", "string", "bytes"):
        type_ = "bytes" if kind == "bytes" else "string"
        one = st.binary(max_size=9) if kind == "bytes" else st.text(max_size=5)
        value = st.lists(one, max_size=4) if kind == "texts" else one
        return Field(name, type_, "list" if kind == "texts" else "bytes"), st.none() | value
    type_, wire = draw(st.sampled_from(TYPES))
    pad = 0 if wire == "bool" else draw(st.sampled_from([0, -1]))
    width = draw(st.integers(1, 4))
    field = Field(name, type_, kind, wire, width if kind == "slots" else 1, pad)
    sized = st.lists(number(wire), min_size=width, max_size=width)
    values = {
        "scalar": number(wire),
        "slots": sized,
        "vector": sized,
        "list": st.lists(number(wire), max_size=4),
    }
    return field, st.none() | values[kind]


@st.composite
def batches(draw: st.DrawFn) -> tuple[Schema, list[dict[str, Any]], list[tuple[int, int, int]]]:
    drawn = [draw(fields(f"f{i}")) for i in range(draw(st.integers(1, 10)))]
    rows = draw(st.lists(st.fixed_dictionaries({f.name: s for f, s in drawn}), max_size=5))
    stamps = [draw(st.tuples(st.integers(0, 2**32 - 1), TIMES, TIMES)) for _ in rows]
    return Schema(tuple(f for f, _ in drawn)), rows, stamps


def columns(schema: Schema, rows: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows as `encode` takes them; what stands for a null number doesn't matter: 1."""
    arrays, null = {}, {}
    for f in schema.fields:
        values = [row[f.name] for row in rows]
        null[f.name] = np.array([v is None for v in values], bool)
        if f.kind == "scalar":
            values = [1 if v is None else v for v in values]
        elif f.kind == "slots":
            values = [[1] * f.width if v is None else v for v in values]
            arrays[f.name] = np.array(values, f.type.replace("timestamp", "int64")).reshape(
                len(rows), f.width
            )
            continue
        arrays[f.name] = values
    return arrays, null


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


@given(batches())
def test_every_kind_of_field_lies_as_documented_and_reads_back(batch: Any) -> None:
    schema, rows, stamps = batch
    arrays, null = columns(schema, rows)
    prints, event, created = (
        np.array([s[i] for s in stamps], t) for i, t in enumerate((np.uint32, np.int64, np.int64))
    )
    values = encode(
        schema, arrays, fingerprints=prints, event_us=event, created_us=created, null=null
    )
    assert values == [
        value_bytes(schema, row, *stamp) for row, stamp in zip(rows, stamps, strict=True)
    ]
    decoded = decode(schema, values)
    assert decoded.readable.tolist() == [True] * len(rows)
    heads = headers(values)
    assert (
        list(
            zip(
                *(heads[n].tolist() for n in ("fingerprint", "event_us", "created_us")), strict=True
            )
        )
        == stamps
    )
    for f in schema.fields:
        column = decoded.columns[f.name]
        assert decoded.null[f.name].tolist() == null[f.name].tolist()
        width = column.shape[1] if f.kind == "vector" else f.width
        pad = {"slots": [f.pad] * width, "vector": [f.pad] * width, "scalar": f.pad}.get(f.kind)
        assert [plain(v) for v in column] == [
            pad if row[f.name] is None else row[f.name] for row in rows
        ]
        if f.kind in ("scalar", "slots", "vector"):
            assert column.dtype == np.dtype(f.type.replace("timestamp", "int64"))


def test_one_value_by_hand() -> None:
    schema = Schema(
        (
            Field("ids", "int64", "slots", "int32", 2, -1),
            Field("share", "float32", "scalar", "float32"),
            Field("name", "string", "bytes"),
            Field("terms", "string", "list"),
        )
    )
    value, other = encode(
        schema,
        {
            "ids": [[5, -1], [0, 0]],
            "share": [0.5, 9.0],
            "name": ["né", None],
            "terms": [["a", "", "bc"], []],
        },
        fingerprints=np.array([0x01020304, 7], np.uint32),
        event_us=[1, 2],
        created_us=[256, 3],
        null={"share": np.array([False, True])},
    )
    assert value == b"".join(
        [
            b"\x02",  # layout 2, no flags
            schema.hash.to_bytes(4, "little"),
            b"\x04\x03\x02\x01",  # fingerprint
            bytes(4),  # load
            b"\x01" + bytes(7),  # event time 1
            b"\x00\x01" + bytes(6),  # created time 256
            b"\x00",  # null bits: none of four
            b"\x05\x00\x00\x00\xff\xff\xff\xff",  # ids 5, -1 as int32
            b"\x00\x00\x00\x3f",  # 0.5 is 1.0 x 2^-1: exponent 126, 0x3f000000
            b"\x03\x00\x00\x00",  # name ends at 3: n, two bytes of é
            b"\x16\x00\x00\x00",  # terms end at 3 + 16 + 3 = 22
            b"n\xc3\xa9",
            # 3 items, their ends
            b"\x03\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x03\x00\x00\x00abc",
        ]
    )
    # null bits: share is field 1, name (None) is field 2, so 2 + 4; a null number is stored as its
    # padding
    assert other[29:] == b"\x06" + bytes(8) + bytes(4) + bytes(4) + b"\x04\x00\x00\x00" + bytes(4)


def test_a_tombstone_is_a_header_alone() -> None:
    schema = Schema((Field("n", "int64", "scalar", "int64"),))
    (value,) = tombstones(schema, np.array([9], np.uint32), [5], [6])
    assert value == struct.pack("<BIIIqq", 2 + TOMBSTONE, schema.hash, 9, 0, 5, 6)
    assert len(value) == HEADER.itemsize == 29


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        (
            Field("n", "int64", "scalar", "int8"),
            [0, 127, 128],
            "n, row 2: expected numbers that fit int8, found 128.",
        ),
        (
            Field("n", "int64", "scalar", "int8"),
            [-129, 0, 0],
            "n, row 0: expected numbers that fit int8, found -129.",
        ),
        (
            Field("n", "int64", "scalar", "int32"),
            [0, 2**31, 2**32],
            "n, row 1: .* int32, found 2147483648.",
        ),
        (Field("n", "int64", "scalar", "int64"), [0.0, 1.5, 2.0], "n, row 1: .* int64, found 1.5."),
        (
            Field("n", "int64", "scalar", "int64"),
            [0, float("nan"), 2],
            "n, row 1: .* int64, found nan.",
        ),
        (
            Field("n", "int64", "scalar", "int64"),
            np.array([2**63, 0, 0], np.uint64),
            "n, row 0: .* int64, found 9223372036854775808.",
        ),
        (
            Field("x", "float32", "scalar", "float16"),
            [1.0, 2.0, 65520.0],
            "x, row 2: .* float16, found 65520.0.",
        ),
        (
            Field("x", "float64", "scalar", "float32"),
            [1.0, 1e39, 0.0],
            "x, row 1: .* float32, found 1e\\+39.",
        ),
        (
            Field("s", "int64", "slots", "int8", 2),
            [[1, 2], [3, 400], [500, 6]],
            "s, row 1: .* int8, found 400.",
        ),
        (
            Field("v", "float32", "vector", "float16"),
            [[1.0], [2.0], [1e6]],
            "v, row 2: .* float16, found 1000000.0.",
        ),
        (
            Field("l", "int64", "list", "int8"),
            [[1, 2, 3], [4, 5, 6, 999], []],
            "l, row 1: .* int8, found 999.",
        ),
    ],
)
def test_a_number_that_does_not_fit_is_refused_by_field_and_row(
    field: Field, values: Any, message: str
) -> None:
    with pytest.raises(
        ContractError, match=message + " Mend: widen `wire` of the column in its contract"
    ):
        encode(
            Schema((field,)),
            {field.name: values},
            fingerprints=np.zeros(3, np.uint32),
            event_us=1,
            created_us=1,
        )


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 65504.0])
def test_infinity_and_the_greatest_float16_are_no_loss(value: float) -> None:
    schema = Schema((Field("x", "float32", "scalar", "float16"),))
    values = encode(
        schema, {"x": [value]}, fingerprints=np.zeros(1, np.uint32), event_us=1, created_us=1
    )
    assert decode(schema, values).columns["x"].tolist() == [value]


def test_what_stands_in_place_of_a_null_is_never_judged() -> None:
    schema = Schema((Field("n", "int64", "scalar", "int8", pad=-1),))
    null = {"n": np.array([True, False])}
    values = encode(
        schema,
        {"n": [999, 3]},
        fingerprints=np.zeros(2, np.uint32),
        event_us=1,
        created_us=1,
        null=null,
    )
    assert decode(schema, values).columns["n"].tolist() == [-1, 3]


@pytest.mark.parametrize(
    ("kind", "values", "shape"),
    [
        ("slots", np.ones(8), "(8,)"),  # numpy would give all eight to every row
        ("slots", np.ones((8, 1)), "(8, 1)"),
        ("slots", np.ones((1, 4)), "(1, 4)"),
        ("slots", [None] * 8, "(8,)"),
        ("slots", [[1, 2, 3, 4]] * 7 + [[1, 2]], "rows of several widths"),
        ("scalar", [3], "(1,)"),
        ("scalar", np.ones((8, 4)), "(8, 4)"),
    ],
)
def test_columns_of_another_shape_are_refused_never_stretched(
    kind: str, values: Any, shape: str
) -> None:
    schema = Schema((Field("n", "int64", kind, "int64", 4 if kind == "slots" else 1),))
    with pytest.raises(
        ContractError, match=re.escape(f"found {shape}. Mend: give every row its value.")
    ):
        encode(schema, {"n": values}, fingerprints=np.zeros(8, np.uint32), event_us=1, created_us=1)


def test_some_fields_can_be_read_alone() -> None:
    schema = Schema(
        (
            Field("a", "string", "bytes"),
            Field("n", "int64", "scalar", "int8"),
            Field("b", "string", "bytes"),
        )
    )
    given_ = {"a": ["x", "yy"], "n": [1, 2], "b": ["zzz", ""]}
    values = encode(schema, given_, fingerprints=np.zeros(2, np.uint32), event_us=1, created_us=1)
    decoded = decode(schema, values, ["b"])
    assert {name: column.tolist() for name, column in decoded.columns.items()} == {"b": ["zzz", ""]}


def test_large_numbers_beside_nulls_are_exact() -> None:
    """2**60 + 1 is no float64: a padding of 0.0 must not make the column one."""
    schema = Schema(
        (
            Field("n", "int64", "scalar", "int64", pad=0.0),
            Field("s", "int64", "slots", "int64", 2, -1.0),
        )
    )
    columns = {"n": np.array([2**60 + 1, 5]), "s": np.array([[2**62 + 1, 3], [1, 1]])}
    null = {"n": np.array([False, True]), "s": np.array([False, True])}
    values = encode(
        schema,
        columns,
        fingerprints=np.zeros(2, np.uint32),
        event_us=[1, 1],
        created_us=[1, 1],
        null=null,
    )
    decoded = decode(schema, values)
    assert decoded.columns["n"].tolist() == [2**60 + 1, 0]
    assert decoded.columns["s"].tolist() == [[2**62 + 1, 3], [-1, -1]]
