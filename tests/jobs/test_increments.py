"""Counts and lists from an earlier run and what came since equal those of all events."""

from __future__ import annotations

import re
import shutil
import sys
from collections import defaultdict
from dataclasses import replace
from datetime import date

import duckdb
import pytest
from event_logs import DAY, LIMIT, START, deliver, microseconds, rows_of, run_as_of, steps, visible
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from benchmarks import daily_counts
from spark_jobs import user_recent_clicks, video_counts
from vidtopics.contracts import CLICKS, IMPRESSIONS, USER_RECENT_CLICKS, VIDEO_COUNTS
from vidtopics.jobs.increments import COUNTED, log_frame, plan
from vidtopics.jobs.job import Job, Run
from vidtopics.tables import Tables, deltalake_engine, spark_reader
from vidtopics.tables.scans import scan
from vidtopics.tables.spark_reader import pack

COUNTS = video_counts.JOB
RECENT = user_recent_clicks.JOB
Row = dict[str, float]


def expected_counts(run: Run) -> dict[str, Row]:
    """Counts, and sums of 2 ** (-age / half-life), ages taken at the video's last event."""
    times = defaultdict(lambda: ([], []))
    for i, log in enumerate((IMPRESSIONS, CLICKS)):
        for row in visible(run, log):
            times[row["video_id"]][i].append(microseconds(row))
    half_life_us = run.settings.statistics.half_life.total_seconds() * 1e6
    rows = {}
    for video, (shown, clicked) in times.items():
        last = max(shown + clicked)
        decayed = [sum(0.5 ** ((last - us) / half_life_us) for us in e) for e in (shown, clicked)]
        rows[video] = counts_row(len(shown), len(clicked), *decayed, last)
    return rows


def counts_row(shown: int, clicked: int, exposures: float, clicks: float, last: int) -> Row:
    return {
        "video_exposures": shown,
        "video_clicks": clicked,
        "video_decayed_exposures": pytest.approx(exposures, abs=1e-5),
        "video_decayed_clicks": pytest.approx(clicks, abs=1e-5),
        "video_decayed_at": last,
    }


def of_days(first: int, days: int) -> Row:
    """A video shown and clicked once on each of some days; the half-life is a week."""
    decayed = sum(0.5 ** (n / 7) for n in range(days))
    return counts_row(days, days, decayed, decayed, START + (first + days - 1) * DAY)


def expected_lists(run: Run) -> dict[str, list[str]]:
    videos = defaultdict(dict)
    newest = lambda row: (row["event_timestamp"], row["video_id"])  # noqa: E731
    for row in sorted(visible(run, CLICKS), key=newest, reverse=True):
        videos[row["user_id"]].setdefault(row["video_id"])
    return {user: list(seen)[:LIMIT] for user, seen in videos.items()}


def connect(run: Run, chosen) -> duckdb.DuckDBPyConnection:
    """Views `new_<log>` and `seen_<log>` of the rows that a plan names."""
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    for log in (IMPRESSIONS, CLICKS):
        if log.name in chosen.seen.logs:
            version = chosen.seen.logs[log.name][1]
            con.register(log.name, scan(run.tables.delta(log, create=True, version=version)))
            for name, where in (("new", chosen.new_rows(log)), ("seen", chosen.seen.rows(log))):
                con.execute(f"CREATE VIEW {name}_{log.name} AS FROM {log.name} WHERE {where}")
    return con


def count(run: Run) -> dict[str, Row]:
    """The job `video_counts` on DuckDB."""
    return rows_of(run, COUNTS)


def list_clicks(run: Run) -> dict[str, list[str]]:
    """The job `user_recent_clicks` on DuckDB."""
    return {user: row["recent_video_ids"] for user, row in rows_of(run, RECENT).items()}


# To shrink a history of commits takes minutes.
@settings(max_examples=12, deadline=None, phases=[Phase.generate])
@given(st.lists(steps, min_size=3, max_size=12))
def test_any_order_of_deliveries_and_runs_gives_what_all_events_give(tmp_path_factory, history):
    tables = Tables(tmp_path_factory.mktemp("home"))
    tables.home.mkdir(exist_ok=True)
    for number, (kind, what) in enumerate(history, 1):
        if kind == "deliver":
            deliver(tables, what, number)
            continue
        run = run_as_of(tables, kind, what)
        assert count(run) == expected_counts(run)
        assert list_clicks(run) == expected_lists(run)


def counted(tables: Tables, job) -> str:
    return str(tables.commits(job.table)[-1].facts[COUNTED])


def one_each_day(tables: Tables, days: range, number: int) -> None:
    """An impression, clicked at once, on each of the days."""
    deliver(tables, [(day, "a", "v", day, 0, 0) for day in days], number)


@pytest.fixture
def tables(tmp_path, monkeypatch) -> Tables:
    """Ten days of events, each in a partition of its own, and a run as of the tenth."""
    monkeypatch.setattr(deltalake_engine, "DAY_ROWS", 1)
    tables = Tables(tmp_path / "home")
    tables.home.mkdir()
    one_each_day(tables, range(10), 1)
    run = run_as_of(tables, "backfill", 10)
    assert count(run) == {"v": of_days(0, 10)}
    assert counted(tables, COUNTS) == "everything: no earlier run"
    list_clicks(run)
    return tables


def test_a_day_with_enough_rows_has_a_partition_and_rows_of_others_lie_in_their_months(
    tables, monkeypatch
):
    monkeypatch.setattr(deltalake_engine, "DAY_ROWS", 2)
    # Day 20,000 since 1970 is 2024-10-04.
    deliver(tables, [(n, "a", "v", day, 0, None) for n, day in ((50, 40), (51, 40), (52, 41))], 2)
    rows = tables.read(IMPRESSIONS, columns=["event_id", "partition_date", "commit_version"])
    late = {r.pop("event_id"): tuple(r.values()) for r in rows.to_pylist()}
    assert [late[f"e{n}"] for n in (50, 51, 52)] == [
        (date(2024, 11, 13), 2),
        (date(2024, 11, 13), 2),
        (date(2024, 11, 1), 2),
    ]
    assert late["e09"] == (date(2024, 10, 13), 1)
    assert len(list(tables.path(IMPRESSIONS).glob("partition_date=2024-1*"))) == 12


def test_a_run_goes_on_from_the_last_with_new_days_and_late_rows(tables):
    one_each_day(tables, range(10, 13), 2)
    deliver(tables, [(40, "b", "w", 3, 0, None)], 3)
    run = run_as_of(tables, "live", 12)
    chosen = plan(run, COUNTS, IMPRESSIONS, CLICKS)
    with connect(run, chosen) as con:
        new = con.sql("SELECT event_id FROM new_impressions ORDER BY ALL").fetchall()
    assert new == [("e10",), ("e11",), ("e12",), ("e40",)]
    assert count(run) == {"v": of_days(0, 13), "w": counts_row(1, 0, 1, 0, START + 3 * DAY)}
    assert counted(tables, COUNTS) == "what came since the run as of 2024-10-14T00:00:00+00:00"


def changed(job: Job) -> Job:
    return replace(job, settings=lambda s: "another")


def lose_rows(tables: Tables) -> None:
    for log in (IMPRESSIONS, CLICKS):
        delta = tables.delta(log)
        delta.alter.set_table_properties({"delta.appendOnly": "false"})
        delta.delete("event_id = 'e03'")


def replace_logs(tables: Tables) -> None:
    for log in (IMPRESSIONS, CLICKS):
        shutil.rmtree(tables.path(log))
    one_each_day(tables, range(9), 1)


def forget(tables: Tables) -> None:
    for table in (VIDEO_COUNTS, USER_RECENT_CLICKS):
        shutil.rmtree(tables.path(table))


OBSTACLES = {
    "settings": (lambda t: None, changed, 11, "code or settings changed"),
    "a later run": (lambda t: None, lambda job: job, 9, "no earlier run"),
    "rows are gone": (
        lose_rows,
        lambda job: job,
        11,
        r"\w+ isn't append-only since",
    ),
    "another log": (replace_logs, lambda job: job, 11, "the earlier run knew rows that this one d"),
    "no result": (forget, lambda job: job, 11, "no earlier run"),
}


@pytest.mark.parametrize(("break_chain", "job", "day", "reason"), OBSTACLES.values(), ids=OBSTACLES)
def test_everything_is_counted_where_there_is_nothing_to_go_on_from(
    tables, break_chain, job, day, reason
):
    break_chain(tables)
    run = run_as_of(tables, "backfill", day)
    for each, logs in ((COUNTS, (IMPRESSIONS, CLICKS)), (RECENT, (CLICKS,))):
        chosen = plan(run, job(each), *logs)
        assert chosen.base is None
        assert re.match(f"everything: {reason}", chosen.counted)
    assert count(run) == expected_counts(run)


def test_a_backfill_does_not_go_on_from_a_live_run(tables):
    deliver(tables, [(40, "b", "w", 3, 60, None)], 2)  # known two months later
    live = run_as_of(tables, "live", 11)
    assert count(live)["w"] == counts_row(1, 0, 1, 0, START + 3 * DAY)
    backfill = run_as_of(tables, "backfill", 12)
    assert plan(backfill, COUNTS, IMPRESSIONS, CLICKS).base.as_of_us == START + 10 * DAY
    assert count(backfill) == expected_counts(backfill) == {"v": of_days(0, 10)}


def test_spark_reads_the_files_of_new_days_and_of_late_rows_alone(tables, monkeypatch):
    one_each_day(tables, range(10, 12), 2)
    deliver(tables, [(40, "b", "w", 3, 0, None)], 3)
    run = run_as_of(tables, "live", 12)
    chosen = plan(run, COUNTS, IMPRESSIONS, CLICKS)
    files = []
    monkeypatch.setattr(
        spark_reader, "pack", lambda sized, n: files.append(len(sized)) or pack(sized, n)
    )
    for where, rows in ((chosen.new_rows(IMPRESSIONS), 3), (chosen.seen.rows(IMPRESSIONS), 13)):
        assert len(log_frame(run, IMPRESSIONS, chosen.seen, where).collect()) == rows
        assert files.pop() == rows


def test_the_benchmark_counts_a_day_beside_the_whole_log(tmp_path, capsys, monkeypatch):
    options = ["--home", str(tmp_path), "--days", "3", "--rows", "200", "--users", "20"]
    monkeypatch.setattr(sys, "argv", ["daily_counts", *options])
    daily_counts.main()
    out = capsys.readouterr().out
    counts = re.findall(r"(\w+): ([\d,]+) events counted", out)
    n = len(daily_counts.JOBS)
    yesterday, today, whole = ({j: int(c) for j, c in counts[i : i + n]} for i in (0, n, 2 * n))
    assert len(whole) == n
    assert today == {name: whole[name] - yesterday[name] for name in whole}
    assert out.count("everything: no earlier run") == 2 * (n - 1)  # user_topics reads no log
