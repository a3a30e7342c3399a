"""What a run lands after its time was fixed is counted by the next, which isn't skipped."""

from __future__ import annotations

from pathlib import Path

from events_home import SETTINGS, SmallHome, now_us
from live_worlds import Shown

from spark_jobs.video_counts import JOB
from vidtopics.contracts import VIDEO_COUNTS
from vidtopics.jobs.job import Run


def test_events_of_after_the_time_of_a_run_are_counted_by_the_next(tmp_path: Path) -> None:
    home = SmallHome(tmp_path)
    t_us = now_us() - 60_000_000
    home.deliver([Shown("a", "u1", "v1", t_us - 1, 1), Shown("b", "u1", "v1", t_us, 2)])

    def run(at_us: int) -> bool:
        return JOB.run(Run(home.tables, SETTINGS, at_us, live=True)).skipped

    def exposures() -> list[int]:
        rows = home.tables.as_of(VIDEO_COUNTS, now_us(), now_us() + 10_000_000)
        return rows["video_exposures"].to_pylist()

    assert not run(t_us)
    assert exposures() == [1]
    assert run(t_us)  # nothing has changed
    assert not run(t_us + 1)
    assert exposures() == [2]
    assert run(t_us + 2)  # time alone changes nothing more
    assert run(now_us())
