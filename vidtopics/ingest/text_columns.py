"""Columns of Parquet as text, and ids that a column of floats or decimals can't hold exactly.

Programs write ids as floats where a column has a missing value: 1000000000000000 becomes 1e15.
Whole numbers are exact below 2^53 in float64 (2^24 in float32, 2^11 in float16) and become the id
again; from there on two ids may be the same float.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.ingest.csv_records import Mask

_EXACT_BITS = {16: 11, 32: 24, 64: 53}


def as_text(column: pa.Array, *, nan_is_missing: bool = False) -> pa.Array:
    """A plain column as binary text; null is empty.

    Numbers are in decimal, whole ones without point or exponent, truth values 0 or 1, times in ISO
    8601, UUIDs with hyphens.

    >>> as_text(pa.array([1e15, 0.5, None])).to_pylist()
    [b'1000000000000000', b'0.5', b'']
    """
    column = _plain(column)
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz:
        column = column.cast(pa.timestamp(kind.unit, "UTC"))
    if pa.types.is_floating(kind):
        text = _float_text(column, nan_is_missing)
    elif pa.types.is_decimal(kind):
        text = pc.replace_substring_regex(column.cast(pa.string()), r"\.0*$", "")
    elif kind == pa.uuid():
        text = pa.array([value and str(value) for value in column.to_pylist()], pa.string())
    elif _is_binary(kind):
        text = column
    else:
        text = column.cast(pa.string())
    return text.cast(pa.binary()).fill_null(b"")


def inexact_ids(column: pa.Array) -> Mask:
    """True where a number is fractional, or a float so large that it may stand for several ids.

    >>> inexact_ids(pa.array([1.5, 2.0**53, 2.0**53 - 1, None])).tolist()
    [True, True, False, False]
    """
    column = _plain(column)
    if pa.types.is_floating(column.type):
        exact = pc.or_(_is_whole(column), pc.is_nan(column))
    elif pa.types.is_decimal(column.type):
        exact = pc.equal(pc.round(column), column)
    else:
        return np.zeros(len(column), bool)
    return ~np.asarray(exact.fill_null(True))


def inexact_ids_detail(name: str, ids: pa.Array) -> list[str]:
    """For each of the inexact `ids` of a column: what was expected, what was found, the mend.

    >>> print(*inexact_ids_detail("video_id", pa.array([2.0**53])))
    expected video_id as a whole number below 2^53 in a column of float64, found 9007199254740992: \
write the column as text or integers
    """
    ids = _plain(ids)
    kind, limit = str(ids.type), ""
    if pa.types.is_floating(ids.type):
        kind = f"float{ids.type.bit_width}"
        limit = f" below 2^{_EXACT_BITS[ids.type.bit_width]}"
    return [
        f"expected {name} as a whole number{limit} in a column of {kind}, found "
        f"{value if value % 1 else format(value, '.0f')}: write the column as text or integers"
        for value in ids.to_pylist()
    ]


def _plain(column: pa.Array) -> pa.Array:
    """Without dictionary; truth values as 0 and 1."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _float_text(column: pa.Array, nan_is_missing: bool) -> pa.Array:
    text = column.cast(pa.string())
    whole = _is_whole(column)
    digits = pc.if_else(whole, column, None).cast(pa.int64()).cast(pa.string())
    text = pc.if_else(whole, digits, text)
    return pc.if_else(pc.is_nan(column), "", text) if nan_is_missing else text


def _is_whole(column: pa.Array) -> pa.Array:
    """True for whole numbers that the type holds exactly and apart from their neighbours."""
    limit = 2.0 ** _EXACT_BITS[column.type.bit_width]
    values = column.cast(pa.float64())
    return pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), limit))
