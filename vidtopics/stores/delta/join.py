"""The features of views beside a spine, as they held at its times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from vidtopics.errors import TableError, explain
from vidtopics.joins import matches
from vidtopics.stores.delta.rows import fitted, require
from vidtopics.stores.delta.sources import ViewSource
from vidtopics.stores.delta.spines import Spine
from vidtopics.stores.feast_types import ttl_us
from vidtopics.tables.pins import Pin


def features(
    spine: Spine, source: ViewSource, refs: Sequence[str], *, full_names: bool, known_by: bool
) -> tuple[pa.Table, Pin]:
    """The features that `refs` name of one view, and the pin of what they were made of.

    One row per row of the spine, null where nothing held.

    `known_by`: rows that became known after the spine's time, or it isn't known when, don't exist.

    Raises:
        TableError: a join key is missing in the spine or of another kind than the table's; the
            table lacks a column.
    """
    projection = source.view.projection
    view_name = projection.name_to_use()  # type: ignore[no-untyped-call]
    asked = [ref.partition(":")[2] for ref in refs if ref.partition(":")[0] == view_name]
    wanted = {feature: source.column(feature) for feature in asked}
    require(source.dataset, wanted.values(), f"view {source.name}")
    times = spine.times
    rows, pin = source.rows(spine.until_us, known=known_by, columns=wanted.values())
    at = matches(
        _spine_keys(spine, source, rows.keys),
        times,
        rows.keys,
        rows.event,
        rows.created,
        known_by=spine.known_by_us if known_by else None,
        ttl_us=ttl_us(source.view),
        served=source.serving,
    )
    prefix = f"{projection.name_alias or projection.name}__" if full_names else ""
    payload = rows.payload(at, wanted)
    return payload.rename_columns([prefix + name for name in wanted]), pin


def _spine_keys(spine: Spine, source: ViewSource, keys: pa.Table) -> pa.Table:
    """The spine's columns for the view's join keys, in the table's types."""
    if not source.keys:
        return pa.table({name: np.zeros(len(spine.table), np.int8) for name in keys.column_names})
    names = {key: source.view.projection.join_key_map.get(key, key) for key in source.keys}
    missing = [name for name in names.values() if name not in spine.table.column_names]
    if missing:
        raise TableError(
            explain(
                f"entity_df, view {source.name}",
                expected=f"the columns {', '.join(missing)}",
                found=", ".join(spine.table.column_names),
                mend="add the entity's join key to the spine",
            )
        )
    return pa.table(
        {
            key: fitted(spine.table[name], keys[key].type, f"entity_df, column {name}")
            for key, name in names.items()
        }
    )


def beside(table: pa.Table, payload: pa.Table, view: str) -> pa.Table:
    """`table` with further columns; TableError where a name is taken."""
    taken = [name for name in payload.column_names if name in table.column_names]
    if taken:
        raise TableError(
            explain(
                f"view {view}",
                expected="new column names",
                found=f"{', '.join(taken)}, which the spine or another view has",
                mend="rename the spine's column, or ask with full_feature_names=True",
            )
        )
    for name in payload.column_names:
        table = table.append_column(name, payload[name])
    return table
