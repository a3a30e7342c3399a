"""Which rows a run has to write so that later questions get the answer of all runs together.

One SQL text, run by Spark and by DuckDB on narrow columns alone: keys, times as integer
microseconds, value hash. `docs/time.md` has the rules with their worked examples;
`tests/tables/oracle.py` says the same in plain Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["new", "tombstone", "reassert"]

# asserted(keys, value_hash): the values of every entity as of E, known from C on.
# history(keys, event_us, created_us, value_hash): the table's rows.
_COMPLETE = """
WITH known AS (
  SELECT {h_keys}, h.event_us, h.created_us, h.value_hash FROM history h WHERE h.event_us <= {event}
), held AS (  -- what holds at E, known by C
  SELECT * FROM (
    SELECT *, ROW_NUMBER() OVER (
      PARTITION BY {keys} ORDER BY event_us DESC, created_us DESC) AS place
    FROM known WHERE created_us <= {created}) ranked
  WHERE place = 1
), entities AS (
  SELECT {keys} FROM asserted UNION SELECT {keys} FROM known
), unlike AS (  -- rows that become known after C, and would hide an asserted value not written
  SELECT DISTINCT {h_keys} FROM known h LEFT JOIN asserted a ON {ha_join}
  WHERE h.created_us > {created} AND h.value_hash <> COALESCE(a.value_hash, 0)
), changed AS (
  SELECT {s_keys}, COALESCE(a.value_hash, 0) AS value_hash, COALESCE(o.value_hash, 0) AS held_hash,
    o.event_us AS held_event, o.created_us AS held_created
  FROM entities s LEFT JOIN asserted a ON {sa_join} LEFT JOIN held o ON {so_join}
    LEFT JOIN unlike u ON {su_join}
  WHERE COALESCE(a.value_hash, 0) <> COALESCE(o.value_hash, 0) OR u.{first} IS NOT NULL
)
SELECT {keys}, CASE WHEN value_hash = 0 THEN 'tombstone' ELSE 'new' END AS kind,
  CAST({event} AS BIGINT) AS event_us, CAST({created} AS BIGINT) AS created_us,
  CAST(NULL AS BIGINT) AS held_event, CAST(NULL AS BIGINT) AS held_created
FROM changed
"""

# The next run had found the held value unchanged and wrote nothing; after this correction it has
# to.
_REASSERT = """
UNION ALL
SELECT {c_keys}, CASE WHEN c.held_hash = 0 THEN 'tombstone' ELSE 'reassert' END AS kind,
  CAST({next_event} AS BIGINT) AS event_us, CAST({next_created} AS BIGINT) AS created_us,
  c.held_event, c.held_created
FROM changed c
WHERE c.value_hash <> c.held_hash AND NOT EXISTS (
  SELECT 1 FROM history h WHERE {hc_join} AND h.event_us > {event} AND h.event_us <= {next_event}
    AND h.created_us <= {next_created})
"""

# Rows with times of their own: one is written where its value differs from the one before it.
_CHANGES = """
WITH merged AS (
  SELECT {keys}, event_us, created_us, value_hash, CAST(NULL AS BIGINT) AS row_no FROM history
  UNION ALL SELECT {keys}, event_us, created_us, value_hash, row_no FROM asserted
), ordered AS (
  SELECT *, LAG(value_hash) OVER (
    PARTITION BY {keys} ORDER BY event_us, created_us) AS before FROM merged
)
SELECT row_no FROM ordered
WHERE row_no IS NOT NULL AND value_hash <> COALESCE(before, 0) ORDER BY row_no
"""


@dataclass(frozen=True)
class RunTimes:
    """One recorded run over a table: its as-of time, and when it became known (microseconds)."""

    event_us: int
    created_us: int


def complete_run(keys: tuple[str, ...], run: RunTimes, following: RunTimes | None) -> str:
    """SQL over `asserted` and `history`: the rows to write for a run that names every entity.

    `following` is the first recorded run at the next as-of time: with it, a late correction writes
    that run's value again. Columns of the result: keys, kind, event_us, created_us, held_event,
    held_created (of the row to write again).
    """
    names = {
        "keys": ", ".join(keys),
        "first": keys[0],
        "event": run.event_us,
        "created": run.created_us,
    }
    names |= {f"{t}_keys": ", ".join(f"{t}.{k}" for k in keys) for t in "hsc"}
    names |= {f"{a}{b}_join": _join(a, b, keys) for a, b in ("ha", "sa", "so", "su", "hc")}
    text = _COMPLETE
    if following is not None:
        text += _REASSERT
        names |= {
            "next_event": following.event_us,
            "next_created": max(run.created_us, following.created_us),
        }
    return text.format(**names)


def changes(keys: tuple[str, ...]) -> str:
    """SQL over `asserted` (with `row_no`) and `history`: the numbers of the rows to write."""
    return _CHANGES.format(keys=", ".join(keys))


def _join(a: str, b: str, keys: tuple[str, ...]) -> str:
    return " AND ".join(f"{a}.{key} = {b}.{key}" for key in keys)
