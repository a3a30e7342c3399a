"""Random logs of impressions and clicks, some known late, and runs as of their days."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
from hypothesis import strategies as st

from vidtopics.contracts import CLICKS, IMPRESSIONS
from vidtopics.jobs.job import Job, Run
from vidtopics.settings import Settings
from vidtopics.tables import Commit, Tables
from vidtopics.tables.schemas import arrow_schema

DAY = 86_400_000_000
START = 20_000 * DAY
LIMIT = 2
SETTINGS = Settings.model_validate(
    {"recall": {"recent_clicks": LIMIT}, "schedule": {"delay": timedelta(seconds=1)}}
)

# impression, user, video, day, days until it is known, and until it is clicked (None: it is not)
events = st.tuples(
    st.integers(0, 30),
    st.sampled_from("ab"),
    st.sampled_from("vwxyz"),
    st.integers(0, 70),
    st.sampled_from([0, 0, 0, 1, 40]),
    st.sampled_from([None, 0, 0, 1, 30]),
)
steps = st.one_of(
    st.lists(events, min_size=1, max_size=6).map(lambda rows: ("deliver", rows)),
    st.tuples(st.sampled_from(["backfill", "live"]), st.integers(0, 71)),
)


def deliver(tables: Tables, rows, number: int) -> None:
    """Publish impressions and clicks; an id that is there already is a redelivery."""
    first = {row[0]: row for row in reversed(rows)}.values()
    shown = [
        {"event_id": f"e{i:02}", "user_id": u, "video_id": v, "request_id": None}
        | {"position": i % 3 + 1 if i % 4 else None}
        | {"event_timestamp": START + d * DAY, "created_timestamp": START + (d + late) * DAY}
        for i, u, v, d, late, _ in first
    ]
    known = {r["event_id"] for r in tables.read(IMPRESSIONS, columns=["event_id"]).to_pylist()}
    clicked = [
        {"event_id": s["event_id"], "user_id": s["user_id"], "video_id": s["video_id"]}
        | {"watch_seconds": float(row[0]) if row[0] % 3 else None}
        | {"event_timestamp": s["event_timestamp"] + row[5] * DAY}
        | {"created_timestamp": s["created_timestamp"] + row[5] * DAY}
        for s, row in zip(shown, first, strict=True)
        if row[5] is not None and s["event_id"] not in known
    ]
    commit = Commit("ingest", START + 500 * DAY, START + 500 * DAY, live=True, ordinal=number)
    for table, records in ((IMPRESSIONS, shown), (CLICKS, clicked)):
        schema = arrow_schema(table, table.timed_columns)
        tables.publish(table, pa.Table.from_pylist(records, schema=schema), commit)


def microseconds(row: dict, name: str = "event_timestamp") -> int:
    """A time of a row."""
    return int(row[name].timestamp() * 1_000_000)


def visible(run: Run, log) -> list[dict]:
    """The rows of a log that a run sees, newest first."""
    known_by = run.known_by(log)
    return sorted(
        (
            row
            for row in run.tables.read(log).to_pylist()
            if microseconds(row) < run.as_of_us
            and microseconds(row, "created_timestamp") <= known_by
        ),
        key=lambda r: (r["event_timestamp"], r["event_id"]),
        reverse=True,
    )


def run_as_of(tables: Tables, kind: str, day: int) -> Run:
    """A backfill as of the beginning of a day, or a live run in the middle of it."""
    if kind == "backfill":
        return Run(tables, SETTINGS, START + day * DAY)
    return Run(tables, SETTINGS, START + day * DAY + DAY // 2, live=True)


def rows_of(run: Run, job: Job) -> dict[str, dict]:
    """The rows of a job's run by its key, computed even where nothing says that it has to be."""
    computed, table = job.compute(run), replace(job.table, engine="deltalake")
    commit = replace(job.commit(run), facts=computed.facts)
    run.tables.publish(table, computed.rows, commit, reused=computed.reused)
    [key] = table.key
    rows = run.tables.as_of(table, run.as_of_us, run.known_by(table)).to_pylist()
    return {row.pop(key): row for row in rows}
