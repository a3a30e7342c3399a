"""video_statistics: what was shown and clicked strictly before the as-of time and known by it."""

from types import SimpleNamespace

import plain
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from small_home import T1, T2

from vidtopics.contracts import (
    CLICKS,
    IMPRESSIONS,
    VIDEO_CATALOG,
    VIDEO_COUNTS,
    VIDEO_STATISTICS,
)
from vidtopics.jobs import frames
from vidtopics.jobs.job import Run
from vidtopics.jobs.pipeline import find
from vidtopics.tables import Commit
from vidtopics.tables.schemas import arrow_schema
from vidtopics.times import moment

COUNTS, JOB = find(["video_counts", "video_statistics"])
LOGS = {"exposures": IMPRESSIONS, "clicks": CLICKS}
TABLES = (VIDEO_CATALOG, IMPRESSIONS, CLICKS, VIDEO_COUNTS, VIDEO_STATISTICS)


def figures(rows) -> dict[str, tuple[int, int]]:
    return {r["video_id"]: (r["video_exposures"], r["video_clicks"]) for r in rows}


@pytest.mark.parametrize("at", [T1, T2], ids=["T1", "T2"])
def test_figures_by_hand(home, at):
    assert figures(home.holds(VIDEO_STATISTICS, at)) == plain.statistics(home, at)


@pytest.mark.parametrize("at", [T1, T2], ids=["T1", "T2"])
def test_decayed_counts_by_hand(home, at):
    """Each event halved per week of its age at the video's last one; null where there is none."""
    times = {name: plain.event_times(home, table, at) for name, table in LOGS.items()}
    for row in home.holds(VIDEO_STATISTICS, at):
        video = row["video_id"]
        events = [us for by_video in times.values() for us in by_video[video]]
        last = max(events, default=None)
        assert row["video_decayed_at"] == last
        for name, by_video in times.items():
            decayed = [0.5 ** ((last - us) / (7 * 86.4e9)) for us in by_video[video]]
            expected = pytest.approx(sum(decayed), rel=1e-6) if events else None
            assert row[f"video_decayed_{name}"] == expected, (video, name)
    nulls = [r["video_decayed_at"] is None for r in home.holds(VIDEO_STATISTICS, at)]
    assert 0 < sum(nulls) < len(nulls) or at == T2


def test_each_run_goes_on_from_the_last(home):
    for job in find(["video_counts", "user_recent_clicks"]):
        counted = {c.as_of_us: c.facts["counted"] for c in home.tables.commits(job.table)}
        assert counted == {
            T1: "everything: no earlier run",
            T2: f"what came since the run as of {moment(T1)}",
            home.live_us: f"what came since the run as of {moment(T2)}",
        }


def test_the_edge_of_time(home):
    """v020: an impression at T1 - 1 us counts without its click, after T1; one at T1 doesn't."""
    edge = [e for e in home.rows(IMPRESSIONS) if e["event_id"] in ("at-t1", "before-t1")]
    assert sorted(e["event_timestamp"] - T1 for e in edge) == [-1, 0]
    usual = [
        r for r in home.rows(IMPRESSIONS) if r["video_id"] == "v020" and r["user_id"] != "edge"
    ]
    clicked = {c["event_id"] for c in home.rows(CLICKS) if c["event_timestamp"] < T1}
    before = [r for r in usual if r["event_timestamp"] < T1]
    assert figures(home.holds(VIDEO_STATISTICS, T1))["v020"] == (
        len(before) + 1,
        sum(r["event_id"] in clicked for r in before),
    )


def test_the_edge_of_knowledge(home):
    """v021: of two impressions of one time, one is known at T1, one a microsecond later."""
    usual = {
        r["event_id"]: r["event_timestamp"]
        for r in home.rows(IMPRESSIONS)
        if r["video_id"] == "v021" and r["user_id"] != "edge"
    }
    for at, edge in ((T1, 1), (T2, 2)):
        assert (
            figures(home.holds(VIDEO_STATISTICS, at))["v021"][0]
            == sum(t < at for t in usual.values()) + edge
        )


def test_only_videos_that_were_shown_or_clicked_since_get_a_row(home, fork):
    """Two of some 120 videos are shown, neither clicked: the mean of all rates falls, two rows."""
    shown = fork(TABLES, models=False)
    for video in ("v030", "v031"):
        add_impression(shown, f"of-{video}", event=T2 - 10, known=T2 - 10, video=video)
    # Two, and the same two again at the live run, which had found the old counts.
    assert [job.run(shown.at(T2)).rows for job in (COUNTS, JOB)] == [4, 4]
    counted = str(COUNTS.last(shown.at(T2)).facts["counted"])
    assert counted == f"what came since the run as of {moment(T2)}"
    changed = (
        figures(shown.holds(VIDEO_STATISTICS, T2)).items()
        - figures(home.holds(VIDEO_STATISTICS, T2)).items()
    )
    assert {video for video, _ in changed} == {"v030", "v031"}


def test_labels_from_the_as_of_time_on_change_nothing(home, fork):
    changed = fork([VIDEO_CATALOG, IMPRESSIONS], models=False)
    flip_labels(home, changed, T1)
    assert all(job.run(changed.at(T1)).rows for job in (COUNTS, JOB))
    assert figures(changed.holds(VIDEO_STATISTICS, T1)) == figures(home.holds(VIDEO_STATISTICS, T1))
    assert plain.statistics(changed, T2) != plain.statistics(home, T2)  # the labels did change


def flip_labels(home, changed, since: int) -> None:
    """Clicks before `since` stay; every impression without one gets one after it, others none."""
    shown, clicks = home.tables.read(IMPRESSIONS), home.tables.read(CLICKS)
    early = clicks.filter(pc.less(clicks["event_timestamp"].cast(pa.int64()), since))
    others = shown.filter(
        pc.invert(pc.is_in(shown["event_id"], value_set=clicks["event_id"].combine_chunks()))
    )
    time = pa.array(
        [max(us, since) for us in others["event_timestamp"].cast(pa.int64()).to_pylist()]
    )
    columns = {name: others[name] for name in ("event_id", "user_id", "video_id")}
    columns["watch_seconds"] = pa.nulls(len(others), pa.float32())
    columns |= {
        name: time.cast(early.schema.field(name).type)
        for name in ("event_timestamp", "created_timestamp")
    }
    schema = arrow_schema(CLICKS, CLICKS.timed_columns)
    early = early.select(schema.names)
    rows = pa.concat_tables([early, pa.table(columns, schema=early.schema)])
    changed.tables.publish(CLICKS, rows, Commit("ingest", T2, T2, live=True))


def test_before_the_first_impression_all_counts_are_zero(inputs):
    start = T1 - 2 * 86_400_000_000  # videos are published, nothing is shown
    for job in (COUNTS, JOB):
        job.run(inputs.at(start))
    statistics = figures(inputs.holds(VIDEO_STATISTICS, start))
    assert len(statistics) > 100
    assert set(statistics.values()) == {(0, 0)}


def test_a_late_row_is_a_correction_of_the_run_that_should_have_known_it(home, fork):
    late = fork(TABLES, models=False)
    add_impression(late, "late", event=T1 - 10, known=T1)
    before = figures(home.holds(VIDEO_STATISTICS, T1))["v030"][0]
    assert not any(job.run(late.at(T1)).skipped for job in (COUNTS, JOB))
    assert figures(late.holds(VIDEO_STATISTICS, T1))["v030"][0] == before + 1
    assert up_to_date(late) == {T1: True, T2: False}


def up_to_date(home) -> dict[int, bool]:
    return {at: home.tables.is_done(VIDEO_COUNTS, COUNTS.commit(home.at(at))) for at in (T1, T2)}


def test_a_row_that_a_run_could_not_know_leaves_it_up_to_date(fork):
    late = fork(TABLES, models=False)
    add_impression(late, "later", event=T1 - 10, known=T1 + 1)
    assert up_to_date(late) == {T1: True, T2: False}


def add_impression(home, event_id: str, *, event: int, known: int, video: str = "v030") -> None:
    row = home.tables.read(IMPRESSIONS).slice(0, 1).to_pylist()[0]
    row |= {
        "event_id": event_id,
        "video_id": video,
        "event_timestamp": event,
        "created_timestamp": known,
    }
    rows = pa.Table.from_pylist([row], schema=home.tables.read(IMPRESSIONS).schema)
    home.tables.publish(IMPRESSIONS, rows, Commit("ingest", T2, T2, live=True))


def test_a_live_run_is_not_up_to_date_once_a_removal_has_come_due(home):
    removal = plain.live_videos(home, T1)["v000"]  # removed six hours after T1
    assert removal["removed_at"] is None
    keys = [JOB.commit(Run(home.tables, home.settings, at, live=True)).skip_key for at in (T1, T2)]
    assert keys[0] != keys[1]


def test_a_run_that_this_job_begins_has_its_session_before_a_column(monkeypatch):
    """As after the table was moved away, where all jobs before it are up to date."""
    run = SimpleNamespace(frame=lambda *of: pytest.fail("begun"), as_of_us=T1)
    monkeypatch.setattr(frames.F, "unix_micros", lambda name: pytest.fail("no session"))
    with pytest.raises(pytest.fail.Exception, match="begun"):
        frames.live_videos(run)
