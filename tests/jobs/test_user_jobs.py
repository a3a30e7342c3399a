"""Jobs of entity `user`: what an earlier run and what came since give is what all events give."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pyarrow as pa
import pytest
import user_oracle
from event_logs import DAY, START, deliver, microseconds, rows_of, run_as_of, steps
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from spark_jobs import (
    user_recent_clicks,
    user_recent_skips,
    user_statistics,
    user_topic_counts,
    user_topics,
    video_counts,
)
from vidtopics.contracts import CLICKS, EVENT_TIME, IMPRESSIONS, TOPICS, VIDEO_TOPICS, Table
from vidtopics.jobs.increments import COUNTED, plan
from vidtopics.jobs.job import Job, Run
from vidtopics.tables import Commit, Tables
from vidtopics.tables.schemas import arrow_schema


def put(tables: Tables, table: Table, rows: list[dict], us: int = START - DAY) -> None:
    """Publish all rows of a table of topics as of a time."""
    data = pa.Table.from_pylist(rows, schema=arrow_schema(table, table.columns))
    commit = Commit(table.name, us, us, live=False, settings=str(rows))
    tables.publish(replace(table, engine="deltalake"), data, commit, widths={"topic_width": 2})


def put_topics(tables: Tables, topics=user_oracle.TOPICS, epoch: int = 1, us: int = START - DAY):
    """The topics of each video, and their parents."""
    slots = lambda values, pad: [*values, *[pad] * (8 - len(values))]  # noqa: E731
    put(
        tables,
        VIDEO_TOPICS,
        [
            {
                "video_id": video,
                "topic_ids": slots(weights, -1),
                "topic_weights": slots(weights.values(), 0.0),
                "parent_topic_ids": [-1] * 8,  # the jobs read those of `topics`
                "topic_count": len(weights),
                "below_threshold": False,
                "topic_epoch": epoch,
            }
            for video, weights in topics.items()
        ],
        us,
    )
    ids = sorted({topic for weights in topics.values() for topic in weights})
    put(
        tables,
        TOPICS,
        [
            {
                "topic_id": topic,
                "centroid": [0.6, 0.8],
                "size": 1,
                "label_terms": [],
                "topic_epoch": epoch,
                "born": us,
                "parent_topic_id": user_oracle.PARENTS.get(topic),
                "parent_label_terms": [],
            }
            for topic in ids
        ],
        us,
    )


def approximately(rows: dict[str, dict]) -> dict[str, dict]:
    """Rows whose floats are compared to 5 decimals, whether alone or in lists."""

    def close(value):
        floats = value if isinstance(value, list) else [value]
        return (
            pytest.approx(value, abs=1e-5) if any(isinstance(v, float) for v in floats) else value
        )

    return {user: {name: close(v) for name, v in row.items()} for user, row in rows.items()}


def base_version(run: Run, job: Job) -> int | None:
    """The commit that a run of a job goes on from."""
    base = plan(run, job, IMPRESSIONS, CLICKS).base
    return base.version if base else None


def topic_rows(sums: dict[str, dict[int, list[float]]]) -> dict[str, dict[int, list[float]]]:
    return {
        user: {topic: pytest.approx(values, abs=1e-5) for topic, values in by_topic.items()}
        for user, by_topic in sums.items()
    }


def met(row: dict) -> dict[int, list[float]]:
    """By topic: exposures, clicks, expected, decayed exposures of a row of user_topic_counts."""
    names = ("met_exposures", "met_clicks", "met_expected", "met_decayed")
    columns = [row[name] for name in names]
    return {
        topic: list(values) for topic, *values in zip(row["met_topic_ids"], *columns, strict=True)
    }


# To shrink a history of commits takes minutes.
@settings(max_examples=5, deadline=None, phases=[Phase.generate])
@given(st.lists(steps, min_size=3, max_size=12))
def test_any_order_of_deliveries_and_runs_gives_what_all_events_give_of_users(
    tmp_path_factory, history
):
    """Expected clicks stay as they were when their impression was first counted."""
    tables = Tables(tmp_path_factory.mktemp("home"))
    tables.home.mkdir(exist_ok=True)
    put_topics(tables)
    expected: dict[tuple[str, int | None], dict[str, float]] = {}
    for number, (kind, what) in enumerate(history, 1):
        if kind == "deliver":
            deliver(tables, what, number)
            continue
        run = run_as_of(tables, kind, what)
        rows_of(run, video_counts.JOB)
        for job in (user_statistics.JOB, user_topic_counts.JOB):
            before = expected.get((job.name, base_version(run, job)), {})
            own = user_oracle.expected_clicks(run, before)
            rows = rows_of(run, job)
            expected[job.name, tables.commits(job.table)[-1].version] = own
            if job is user_statistics.JOB:
                assert rows == approximately(user_oracle.statistics(run, own))
            else:
                sums = user_oracle.topic_sums(run, own, user_oracle.TOPICS)
                assert {u: met(row) for u, row in rows.items()} == topic_rows(sums)
        assert rows_of(run, user_recent_clicks.JOB) == user_oracle.recent_clicks(run)
        assert rows_of(run, user_recent_skips.JOB) == user_oracle.recent_skips(run)


JOBS = (
    video_counts.JOB,
    user_statistics.JOB,
    user_topic_counts.JOB,
    user_topics.JOB,
    user_recent_clicks.JOB,
    user_recent_skips.JOB,
)
HOUR = DAY // 24
EVENTS = [
    # impression, user, video, hour, hours until it is clicked
    (1, "u", "v", 1, None),
    (2, "u", "w", 2, 1),
    (3, "o", "v", 3, 1),
    (4, "u", "v", 26, 2),
    (5, "u", "x", 27, None),
    (6, "u", "v", 50, None),
]


def write(tables: Tables, events, number: int = 1, created_us: int | None = None) -> None:
    """Deliver events by the hour, known at once or at a time."""
    shown, clicked = [], []
    for i, user, video, hour, until in events:
        row = {"event_id": f"e{i}", "user_id": user, "video_id": video}
        us = START + hour * HOUR
        shown.append(row | {"request_id": None, "position": i, "event_timestamp": us})
        if until is not None:
            us += until * HOUR
            clicked.append(row | {"watch_seconds": 7.5, "event_timestamp": us})
    commit = Commit("ingest", START + 500 * DAY, START + 500 * DAY, live=True, ordinal=number)
    for table, rows in ((IMPRESSIONS, shown), (CLICKS, clicked)):
        schema = arrow_schema(table, table.timed_columns)
        known = [r | {"created_timestamp": created_us or r["event_timestamp"]} for r in rows]
        tables.publish(table, pa.Table.from_pylist(known, schema=schema), commit)


@pytest.fixture
def tables(tmp_path) -> Tables:
    tables = Tables(tmp_path / "home")
    tables.home.mkdir()
    put_topics(tables)
    return tables


def run_all(tables: Tables, day: int, **settings) -> dict[str, dict[str, dict]]:
    """The rows of all jobs as of the beginning of a day, by job and key."""
    run = run_as_of(tables, "backfill", day)
    if settings:
        users = run.settings.users.model_copy(update=settings)
        run = replace(run, settings=run.settings.model_copy(update={"users": users}))
    return {job.name: rows_of(run, job) for job in JOBS}


def test_a_user_by_hand(tables):
    """As of day 2, which the last event isn't before: u saw v, w, v, x and clicked w and v.

    On day 0 nothing was known of any video: all rates are 0. On day 1 there had been 3 impressions
    and 2 clicks, a rate of 2/3: v with 1 click of 2 has (1 + 10 * 2/3) / 12 = 23/36, x has 2/3.
    The last event is the click at hour 28; half-life is 7 days of 24 hours.
    """
    write(tables, EVENTS)
    rows = run_all(tables, 2)
    half = lambda hours: 0.5 ** (hours / (7 * 24))  # noqa: E731
    assert rows["user_statistics"]["u"] == {
        "user_exposures": 4,
        "user_clicks": 2,
        "user_expected_clicks": pytest.approx(23 / 36 + 2 / 3),
        "user_decayed_exposures": pytest.approx(half(27) + half(26) + half(2) + half(1)),
        "user_decayed_clicks": pytest.approx(half(25) + half(0)),
        "user_decayed_expected": pytest.approx(23 / 36 * half(2) + 2 / 3 * half(1)),
        "user_decayed_at": START + 28 * HOUR,
    }
    # v is of topics 1 and 2 with weights .8 and .4, w of topic 2, x of none.
    assert met(rows["user_topic_counts"]["u"]) == {
        1: pytest.approx([4 / 3, 2 / 3, 23 / 36 * 2 / 3, 2 / 3 * (half(27) + half(2))]),
        2: pytest.approx(
            [2 / 3 + 1, 1 / 3 + 1, 23 / 36 / 3, 1 / 3 * (half(27) + half(2)) + half(26)]
        ),
    }
    assert rows["user_topics"]["u"] == {
        "user_topic_ids": [2, 1],
        "user_topic_exposures": pytest.approx([5 / 3, 4 / 3]),
        "user_topic_clicks": pytest.approx([4 / 3, 2 / 3]),
        "user_topic_expected": pytest.approx([23 / 108, 23 / 54]),
        "user_parent_ids": [100],
        "user_parent_exposures": pytest.approx([3]),
        "user_parent_clicks": pytest.approx([2]),
        "user_parent_expected": pytest.approx([23 / 36]),
        "user_topic_epoch": 1,
    }
    assert rows["user_recent_clicks"]["u"] == {
        "recent_video_ids": ["v", "w"],
        "recent_times": [START + 28 * HOUR, START + 3 * HOUR],
        "recent_watch_seconds": [7.5, 7.5],
    }
    assert rows["user_recent_skips"]["u"] == {
        "skipped_video_ids": ["x", "v"],
        "skipped_times": [START + 27 * HOUR, START + 1 * HOUR],
        "skipped_positions": [5, 1],
    }


def test_only_users_with_new_events_have_new_rows(tables):
    """Of fifty users one has an event on the second day, one more a click of the day before."""
    first = [(i, f"u{i}", "v", 1, 40 if i == 9 else None) for i in range(50)]
    write(tables, first)
    run_all(tables, 1)
    write(tables, [(99, "u7", "w", 30, None)], 2)
    run_all(tables, 2)
    for job in JOBS[1:]:
        changed = {
            row["user_id"]
            for row in tables.read(job.table).to_pylist()
            if microseconds(row) == START + 2 * DAY
        }
        expected = {"u9"} if job is user_recent_clicks.JOB else {"u7", "u9"}
        assert (job.name, changed) == (job.name, expected)


def test_an_event_at_the_as_of_time_or_after_changes_no_byte(tables, tmp_path):
    """Whatever it is, and whenever it became known."""
    write(tables, EVENTS[:5])
    poisoned = Tables(tmp_path / "poisoned")
    shutil.copytree(tables.home, poisoned.home)
    later = [(70 + i, user, video, 48 + i, 0) for i, (user, video) in enumerate(["uv", "uw", "ox"])]
    write(poisoned, later, 2)
    write(poisoned, [(90, "u", "v", 5, 1)], 3, created_us=START + 3 * DAY)  # known too late
    for at in (tables, poisoned):
        run_all(at, 2)
    for job in JOBS:
        order = [(key, "ascending") for key in (*job.table.key, EVENT_TIME)]
        clean, other = (at.read(job.table).sort_by(order) for at in (tables, poisoned))
        assert clean.equals(other), job.name


def test_what_came_late_counts_once_and_leaves_expected_clicks_of_before(tables):
    """A click of day 0 becomes known on day 2: the rate of day 1 was 1/2 for what was counted."""
    write(tables, [(1, "a", "v", 1, 1), (2, "b", "w", 2, None), (3, "a", "x", 25, None)])
    before = run_all(tables, 2)["user_statistics"]["a"]
    assert before["user_expected_clicks"] == pytest.approx(0.5)
    write(tables, [(4, "b", "w", 3, 1)], 2, created_us=START + 2 * DAY)
    rows = run_all(tables, 3)["user_statistics"]
    assert rows["a"] == before
    assert (rows["b"]["user_exposures"], rows["b"]["user_clicks"]) == (2, 1)
    write(tables, [(5, "b", "x", 26, None)], 3, created_us=START + 3 * DAY)
    rows = run_all(tables, 4)["user_statistics"]  # one more of day 1, by the rate 2/3
    assert rows["b"]["user_expected_clicks"] == pytest.approx(2 / 3)


def test_a_new_epoch_counts_every_impression_anew(tables):
    write(tables, EVENTS)
    assert met(run_all(tables, 1)["user_topic_counts"]["u"]).keys() == {1, 2}
    put_topics(tables, {"v": {31: 1.0}, "w": {32: 1.0}}, epoch=2, us=START + DAY + 1)
    rows = run_all(tables, 3)
    counts = {topic: values[0] for topic, values in met(rows["user_topic_counts"]["u"]).items()}
    assert counts == {31: 3, 32: 1}
    assert rows["user_topics"]["u"]["user_topic_epoch"] == 2
    facts = tables.commits(user_topic_counts.JOB.table)[-1].facts
    assert facts[COUNTED] == "everything: a new topic epoch"
    assert tables.commits(user_statistics.JOB.table)[-1].facts[COUNTED].startswith("what came")


def test_topics_stay_those_of_the_run_that_counted_an_impression(tables):
    write(tables, EVENTS)
    run_all(tables, 1)
    put_topics(tables, {"v": {3: 1.0}, "w": {3: 1.0}}, us=START + DAY + 1)
    counts = met(run_all(tables, 3)["user_topic_counts"]["u"])
    assert {topic: values[0] for topic, values in counts.items()} == {
        1: pytest.approx(2 / 3),
        2: pytest.approx(4 / 3),
        3: 2,
    }


def test_the_topics_met_most_of_late_are_served_and_parents_are_of_all(tables):
    """z is of topics 1, 3, 4; a week later v of 1 and 2: 2 outweighs 3, and 4 has no parent."""
    write(tables, [(1, "u", "z", 1, None), (2, "u", "v", 24 * 40, None)])
    row = run_all(tables, 41, topics=1, parents=2)["user_topics"]["u"]
    assert row["user_topic_ids"] == [1]
    assert row["user_parent_ids"] == [100, 200]
    assert row["user_parent_exposures"] == pytest.approx([0.3 + 1, 0.6])
    row = run_all(tables, 41, topics=2, parents=1)["user_topics"]["u"]
    assert (row["user_topic_ids"], row["user_parent_ids"]) == ([1, 2], [100])


def test_equal_topics_come_by_their_number_and_a_user_without_parents_has_empty_lists(tables):
    put_topics(tables, {"v": {9: 0.5, 5: 0.5}}, us=START - 1)
    write(tables, [(1, "u", "v", 1, None)])
    row = run_all(tables, 1)["user_topics"]["u"]
    assert (row["user_topic_ids"], row["user_parent_ids"]) == ([5, 9], [])


def test_weights_that_add_up_to_nothing_are_equal_shares(tables):
    put_topics(tables, {"v": {1: -0.2, 2: 0.0}}, us=START - 1)
    write(tables, [(1, "u", "v", 1, None)])
    assert met(run_all(tables, 1)["user_topic_counts"]["u"])[1][0] == 0.5


def test_a_list_of_skips_that_lost_one_is_filled_from_the_log(tables):
    """N_1 is 2: of three skips the newest is clicked late, so that the oldest comes in."""
    write(tables, [(1, "u", "v", 1, None), (2, "u", "w", 2, None), (3, "u", "x", 3, 40)])
    assert run_all(tables, 1)["user_recent_skips"]["u"]["skipped_video_ids"] == ["x", "w"]
    assert run_all(tables, 2)["user_recent_skips"]["u"]["skipped_video_ids"] == ["w", "v"]


@pytest.mark.slow
def test_spark_gives_the_same_rows(tables):
    """From an earlier run, with late events and a list that is filled from the log."""
    write(tables, [*EVENTS, (7, "u", "y", 3, 30), (8, "o", "z", 4, None)])
    run_all(tables, 1)
    write(tables, [(20, "n", "w", 25, 1), (21, "u", "z", 3, 2)], 2)
    run = run_as_of(tables, "backfill", 3)
    rows_of(run, video_counts.JOB)
    for job in JOBS[1:]:
        spark = job.distribute(run)  # before the rows of DuckDB are there to go on from
        rows = spark.rows.toArrow().to_pylist()
        of_spark = {row.pop("user_id"): row for row in rows}
        assert len(of_spark) == len(rows), job.name
        assert of_spark == approximately(rows_of(run, job)), job.name
