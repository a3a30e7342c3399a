"""Columns of Arrow timestamps as the integers that joins and stores reckon with."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.errors import TableError, explain


def microseconds(
    column: pa.Array | pa.ChunkedArray,
    where: str = "a time column",
    *,
    null_us: int | None = None,
    first_row: int = 0,
) -> NDArray[np.int64]:
    """int64[N] microseconds since 1970, rounded down; a time without a zone is UTC.

    Args:
        column: N timestamps of any unit and zone.
        where: what messages call the column.
        null_us: what a null becomes; None: nulls are refused.
        first_row: number of the column's first row in messages.

    Raises:
        TableError: they are no timestamps, one is null, or one lies past the microseconds that 64
            bits hold.

    >>> microseconds(pa.array([-1, 1_999], pa.timestamp("ns"))).tolist()
    [-1, 1]
    >>> microseconds(pa.array([5, None], pa.timestamp("s", "UTC")), null_us=0).tolist()
    [5000000, 0]
    """
    if not pa.types.is_timestamp(column.type):
        raise not_timestamps(where, column.type)
    nulls = column.null_count > 0
    if nulls and null_us is None:
        row = first_row + int(pc.index(column.is_null(), True).as_py())
        raise TableError(
            explain(
                f"{where}, row {row}",
                expected="a time",
                found="null",
                mend="leave such rows out",
            )
        )
    numbers = _whole_units(column, where).to_numpy(zero_copy_only=False)
    if column.type.unit == "ns":
        numbers = numbers // 1_000
    return np.where(_mask(column), np.int64(null_us or 0), numbers) if nulls else numbers


def not_timestamps(where: str, kind: pa.DataType) -> TableError:
    """The error for a column of another type."""
    return TableError(
        explain(
            where,
            expected="timestamps",
            found=str(kind),
            mend="convert the column to timestamps",
        )
    )


def _whole_units(column: pa.Array | pa.ChunkedArray, where: str) -> pa.Array | pa.ChunkedArray:
    """int64[N]: nanoseconds of such timestamps, microseconds of all others; 0 for null."""
    if column.type.unit != "ns":
        try:
            column = column.cast(pa.timestamp("us", column.type.tz))
        except pa.ArrowInvalid as error:
            raise TableError(
                explain(
                    where,
                    expected="times that 64 bits of microseconds hold",
                    found=str(error),
                    mend="correct or leave out such rows",
                )
            ) from error
    return column.cast(pa.int64()).fill_null(0)


def _mask(column: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = column.is_null().to_numpy(zero_copy_only=False)
    return mask
