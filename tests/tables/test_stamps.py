"""Rows of a live run count as known only once they can be read."""

import os
import time
from pathlib import Path

import pytest
from worlds import at, rows_of, tags

from vidtopics.contracts import TAG_EMBEDDING
from vidtopics.errors import ConflictError
from vidtopics.tables import Commit, Tables, deltalake_engine
from vidtopics.tables.stamps import LEAST_US, LateError, lead_of
from vidtopics.times import micros

WIDTHS = {"tag_width": 2}
TICK_US = 10_000


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)


def publish_live(tables: Tables, values: dict[str, int]) -> Commit:
    now = time.time_ns() // 1000
    commit = at(now, now, live=True)
    tables.publish(TAG_EMBEDDING, tags(values), commit, widths=WIDTHS)
    return tables.commits(TAG_EMBEDDING)[-1]


def readable_from_us(tables: Tables, version: int) -> int:
    """When the commit came to be, which is when a reader could first have had its rows."""
    entry = tables.path(TAG_EMBEDDING) / "_delta_log" / f"{version:020}.json"
    return entry.stat().st_mtime_ns // 1000


def slow(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[str]:
    """Makes publishing stand still between stamp and commit, so long in each attempt."""
    waits, points = list(seconds), []

    def wait(name: str) -> None:
        points.append(name)
        if name == "publish.compared" and waits:
            time.sleep(waits.pop(0))

    monkeypatch.setattr(deltalake_engine, "failpoint", wait)
    return points


def test_a_live_rows_created_time_is_not_before_its_commit(tables: Tables) -> None:
    commit = publish_live(tables, {"a": 1})
    assert readable_from_us(tables, commit.version) <= commit.created_us
    assert [row[2] for row in rows_of(tables, TAG_EMBEDDING, "video_count")] == [commit.created_us]


def test_a_write_that_takes_longer_than_its_lead_is_made_again_with_a_greater_one(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = slow(monkeypatch, 0.3)
    commit = publish_live(tables, {"a": 1, "b": 2})
    assert points == ["publish.compared", "publish.compared", "publish.committed"]
    assert commit.lead_us == 4 * LEAST_US
    assert readable_from_us(tables, commit.version) <= commit.created_us
    rows = rows_of(tables, TAG_EMBEDDING, "video_count")
    assert [row[0] for row in rows] == ["a", "b"]  # the first attempt left nothing
    assert {row[2] for row in rows} == {commit.created_us}


def test_the_next_lead_follows_what_the_last_write_took(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch, 0.3, 0.3)
    commit = publish_live(tables, {"a": 1})
    log, delta = tables.commits(TAG_EMBEDDING), tables.delta(TAG_EMBEDDING)
    took_us = readable_from_us(tables, commit.version) - (commit.created_us - commit.lead_us)
    assert took_us > 300_000
    lead_us = lead_of(delta, log, "job", "deltalake").us
    # The entry is stamped just before it is there; a file's time is of the kernel's last tick.
    assert 3 * 300_000 < lead_us <= 3 * (took_us + TICK_US)
    assert lead_of(delta, log, "another", "deltalake").us == LEAST_US


def test_a_copied_home_has_the_leads_of_its_original(tables: Tables) -> None:
    """A copy's files are as old as the copy: a run would wait for three times their age."""
    commit = publish_live(tables, {"a": 1})
    entry = tables.path(TAG_EMBEDDING) / "_delta_log" / f"{commit.version:020}.json"
    log, delta = tables.commits(TAG_EMBEDDING), tables.delta(TAG_EMBEDDING)
    lead = lead_of(delta, log, "job", "deltalake")
    os.utime(entry, (time.time() + 3_600,) * 2)
    assert lead_of(delta, log, "job", "deltalake") == lead
    assert lead.us <= 3 * commit.lead_us


def test_a_write_that_is_never_in_time_is_an_error_and_leaves_nothing(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 2**62, 2**40))  # leads grow fourfold, the clock faster
    monkeypatch.setattr("vidtopics.tables.stamps.now_us", lambda: next(clock))
    with pytest.raises(LateError, match="expected a commit before") as error:
        publish_live(tables, {"a": 1})
    assert isinstance(error.value, ConflictError)
    assert not len(tables.commits(TAG_EMBEDDING))


def test_a_backfills_created_time_is_the_given_one(tables: Tables) -> None:
    tables.publish(TAG_EMBEDDING, tags({"a": 1}), at(10, 11), widths=WIDTHS)
    [row] = tables.read(TAG_EMBEDDING).to_pylist()
    assert micros(row["created_timestamp"]) == 11
    assert tables.commits(TAG_EMBEDDING)[-1].lead_us == 0
