"""The point-in-time join of one spine: see :class:`vidtopics.joins.History`, which answers many."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.errors import explain
from vidtopics.joins.history import History, Micros
from vidtopics.joins.serving import Serving


def matches(
    spine_keys: pa.Table,
    spine_us: Micros,
    rows: pa.Table,
    event_us: Micros,
    created_us: Micros,
    *,
    known_by: int | Micros | None = None,
    ttl_us: int = 0,
    strictly_before: bool = False,
    served: Serving | None = None,
) -> NDArray[np.int64]:
    """For each spine row the latest (event, created) of the rows that held and were known.

    The key's columns are those of the spine; all else is as in :meth:`History.matches`.

    >>> rows = pa.table({"video_id": ["a", "a", "b"]})
    >>> event, created = np.array([10, 20, 10]), np.array([11, 50, 11])
    >>> spine, times = pa.table({"video_id": ["a", "c"]}), np.array([30, 50])
    >>> matches(spine, times, rows, event, created).tolist()
    [1, -1]
    """
    names = spine_keys.column_names
    held = rows.select([name for name in names if name in rows.column_names])
    if held.num_columns < len(names):
        missing = sorted(set(names) - set(held.column_names))
        raise ValueError(
            explain(
                "rows",
                expected="the key's columns",
                found=f"no {', '.join(missing)}",
                mend="rename them",
            )
        )
    return History(held, event_us, created_us).matches(
        spine_keys,
        spine_us,
        known_by=known_by,
        ttl_us=ttl_us,
        strictly_before=strictly_before,
        served=served,
    )
