"""A row of a view with other values: what overlays of users have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtopics.online import Features, Status


def with_values(rows: Features, values: Mapping[str, Any], since_us: int) -> Features:
    """The only row of a view, present, with these values.

    Its times stay those of the release's row, which says what lies beneath; a row that events alone
    make has the as-of time that they are counted from.
    """
    columns = {name: column.copy() for name, column in rows.columns.items()}
    null = {name: column.copy() for name, column in rows.null.items()}
    for name, value in values.items():
        columns[name][0], null[name][0] = value, False
    beneath = bool(rows.present[0])
    times = (rows.event_us, rows.created_us) if beneath else (np.array([since_us], np.int64),) * 2
    status = np.array([Status.PRESENT], np.uint8)
    return replace(
        rows, status=status, event_us=times[0], created_us=times[1], columns=columns, null=null
    )


def number(rows: Features | None, name: str) -> float:
    """A number of the only row; 0 where it isn't present."""
    return 0.0 if rows is None or not rows.present[0] else float(rows[name][0])


def taken(rows: Features, places: NDArray[np.intp]) -> Features:
    """The rows at these places, in their order."""
    return replace(
        rows,
        status=rows.status[places],
        event_us=rows.event_us[places],
        created_us=rows.created_us[places],
        columns={name: column[places] for name, column in rows.columns.items()},
        null={name: column[places] for name, column in rows.null.items()},
    )
