"""Commits are read from the end of the log; the answers are those of the whole log."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import at, tags

from benchmarks.homes import release_tables
from vidtopics.contracts import RELEASES, TAG_COOCCURRENCE, TAG_EMBEDDING
from vidtopics.tables import Tables, tail
from vidtopics.tables.commits import (
    ROLLBACK,
    Commit,
    CommitLog,
    data_version,
    is_done,
    last_run,
    latest_commit,
)
from vidtopics.tables.releases import Release, in_force, newest_released, read_log, released
from vidtopics.tables.scans import scan
from vidtopics.times import EPOCH

WIDTHS = {"tag_width": 2}
HOUR_US = 3_600_000_000
SECOND = timedelta(seconds=1)


def write(log: Path, version: int, committed_us: int, commit: Commit | None) -> None:
    """An entry as the engines write them; None: one of somebody else's commits."""
    log.mkdir(parents=True, exist_ok=True)
    info: dict[str, object] = {"timestamp": committed_us // 1_000, "operation": "WRITE"}
    if commit:
        info["userMetadata"] = commit.to_json()
    lines = [{"commitInfo": info}, {"txn": {"appId": "job", "version": version}}]
    (log / f"{version:020}.json").write_text("\n".join(map(json.dumps, lines)))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The entries that are parsed, in order."""
    paths: list[str] = []
    actions = tail.actions

    def counted(path: str, kind: str) -> list[dict[str, object]]:
        paths.append(path)
        return actions(path, kind)

    monkeypatch.setattr(tail, "actions", counted)
    return paths


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, Commit | None]]:
    """When each commit was made (clocks are up to an hour apart), and what it says."""
    history: list[tuple[int, Commit | None]] = []
    clock = 0
    for ordinal in range(draw(st.integers(0, 12))):
        clock += draw(st.integers(0, 3)) * HOUR_US
        live = draw(st.booleans())
        skew = draw(st.integers(-30, 30)) * HOUR_US // 60
        as_of = clock if live else draw(st.integers(0, max(0, clock // HOUR_US))) * HOUR_US
        rows = draw(st.integers(0, 2))
        commit = Commit(
            draw(st.sampled_from(["a", "b"])),
            as_of,
            as_of + 1,
            live,
            settings=draw(st.sampled_from("xy")),
            rows=rows,
            created_min_us=as_of + 1 if rows else None,
            content=draw(st.sampled_from("pq")),
            ordinal=ordinal,
            facts=draw(
                st.sampled_from([{}, {}, {}, {ROLLBACK: str(draw(st.integers(0, ordinal)))}])
            ),
        )
        history.append((max(clock + skew, 0), commit if draw(st.integers(0, 5)) else None))
    return history


@given(histories(), st.integers(0, 30), st.integers(0, 30))
def test_answers_are_those_of_the_whole_log(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[tuple[int, Commit | None]],
    asked: int,
    known: int,
) -> None:
    folder = tmp_path_factory.mktemp("log")
    for version, (committed, commit) in enumerate(history):
        write(folder, version, committed, commit)
    log = CommitLog(folder, len(history) - 1)
    whole = [replace(c, version=v) for v, (_, c) in enumerate(history) if c is not None]
    at_us, known_us = asked * HOUR_US, known * HOUR_US
    assert [*log] == whole
    assert log.last() == (whole[-1] if whole else None)
    assert [*log.as_of_or_later(at_us)] == [c for c in whole[::-1] if c.as_of_us >= at_us]
    until = [c for c in whole if c.as_of_us <= at_us]
    assert log.latest_as_of(at_us) == max(
        until, key=lambda c: (c.as_of_us, c.version), default=None
    )
    taken_back = [(int(c.facts[ROLLBACK]), c.version) for c in whole if ROLLBACK in c.facts]
    valid = [
        c
        for c in whole
        if c.facts.get(ROLLBACK) != "0"
        and not any(low < c.version < high for low, high in taken_back)
    ]
    assert log.standing() == valid
    assert latest_commit(log, at_us) == max(
        (c for c in valid if c.as_of_us <= at_us),
        key=lambda c: (c.as_of_us, c.version),
        default=None,
    )
    assert [*log.until(3)] == [c for c in whole if c.version <= 3]
    assert log.committed_since(0) == whole[::-1]
    for as_of in (None, at_us):
        runs = [
            c for c in whole if c.job == "a" and (c.live if as_of is None else c.as_of_us == as_of)
        ]
        assert last_run(log, "a", as_of) == (runs[-1] if runs else None)
        new = Commit("a", at_us, at_us + 1, as_of is None, settings="x")
        assert is_done(log, new) == (bool(runs) and runs[-1].skip_key == new.skip_key)
    seen = [c.version for c in whole if c.rows and c.as_of_us + 1 <= known_us]
    times = {"as_of_us": at_us, "known_by_us": known_us}
    assert data_version(TAG_EMBEDDING, log, **times) == max(seen, default=0)
    expected = 0
    if until:
        read = max(until, key=lambda c: (c.as_of_us, c.version))
        changed = [
            c
            for b, c in zip([None, *whole], whole, strict=False)
            if b is None or b.content != c.content
        ]
        expected = max(c.version for c in changed if c.version <= read.version)
    assert data_version(TAG_COOCCURRENCE, log, **times) == expected


@pytest.mark.parametrize(("behind", "latest"), [(59, 10), (61, 9.5)])
def test_a_writers_clock_may_be_an_hour_behind(tmp_path: Path, behind: int, latest: float) -> None:
    """As of 10:00, written by a clock that was behind; then a backfill as of 9:30.

    The first is the latest as of 11:00. A clock further behind than an hour is not allowed for: its
    entry isn't looked at.
    """
    first, second = 10 * HOUR_US, 10 * HOUR_US - HOUR_US // 2
    write(tmp_path, 0, second - behind * HOUR_US // 60, Commit("a", first, first))
    write(tmp_path, 1, first, Commit("a", second, first))
    answer = CommitLog(tmp_path, 1).latest_as_of(11 * HOUR_US)
    assert answer is not None
    assert answer.as_of_us == latest * HOUR_US


def test_a_live_run_reads_the_last_entries_alone(tmp_path: Path, parsed: list[str]) -> None:
    for version in range(200):
        us = version * 2 * HOUR_US
        commit = Commit("a", us, us, True, rows=1, created_min_us=us, content=str(version))
        write(tmp_path, version, us, commit)
    log = CommitLog(tmp_path, 199)
    now = 400 * HOUR_US
    for call in (
        log.last,
        lambda: is_done(log, Commit("a", now, now, True)),
        lambda: log.latest_as_of(now),
        lambda: [*log.as_of_or_later(now)],
        lambda: data_version(TAG_EMBEDDING, log, as_of_us=now, known_by_us=now),
        lambda: data_version(TAG_COOCCURRENCE, log, as_of_us=now, known_by_us=now),
    ):
        tail._entry.cache_clear()
        parsed.clear()
        call()
        assert len(parsed) <= 3
    tail._entry.cache_clear()
    parsed.clear()
    assert (len([*log]), len([*CommitLog(tmp_path, 199)]), len(parsed)) == (200, 200, 200)


def test_an_entry_is_parsed_once_until_another_lies_in_its_place(
    tmp_path: Path, parsed: list[str]
) -> None:
    commit = Commit("a", 1, 1)
    write(tmp_path, 0, 1, commit)
    assert [CommitLog(tmp_path, 0).last(), CommitLog(tmp_path, 0).last()] == [
        replace(commit, version=0)
    ] * 2
    assert len(parsed) == 1
    write(tmp_path, 0, 1, replace(commit, settings="of a backup"))
    assert CommitLog(tmp_path, 0)[-1].settings == "of a backup"


def aged(tmp_path: Path, versions: int) -> Tables:
    tables = Tables(tmp_path)
    for event in range(1, versions + 1):
        tables.publish(TAG_EMBEDDING, tags({"a": event}), at(event), widths=WIDTHS)
    return tables


def test_transactions_are_numbered_on_after_the_log_was_cleaned(tmp_path: Path) -> None:
    """Numbers of before would be skipped by Spark, and so refused for ever."""
    tables = aged(tmp_path, 3)
    other = replace(at(8), job="other")
    tables.publish(TAG_EMBEDDING, tags({"a": 8}), other, widths=WIDTHS)
    tables.delta(TAG_EMBEDDING).create_checkpoint()
    for version in range(4):
        (tables.path(TAG_EMBEDDING) / tail.LOG / f"{version:020}.json").unlink()
    tables.publish(TAG_EMBEDDING, tags({"a": 9}), at(9), widths=WIDTHS)
    commits = [(c.job, c.version, c.ordinal) for c in tables.commits(TAG_EMBEDDING)]
    assert commits == [("other", 4, 1), ("job", 5, 4)]


def test_the_last_version_is_counted_from_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = aged(tmp_path, 2)
    log = tables.path(TAG_EMBEDDING) / tail.LOG
    assert (tail.latest_version(log), tail.latest_version(tmp_path)) == (2, None)
    assert tail.latest_version(tmp_path / "nothing") is None
    tables.delta(TAG_EMBEDDING).create_checkpoint()
    tables.publish(TAG_EMBEDDING, tags({"a": 7}), at(7), widths=WIDTHS)
    with monkeypatch.context() as patch:
        patch.setattr(tail, "log_files", None)  # nothing is listed
        assert tail.latest_version(log) == 3
    (log / "_last_checkpoint").write_text('{"version": 7}')  # of a backup
    assert tail.latest_version(log) == 3


def released_tables(tmp_path: Path, releases: int) -> Tables:
    tables = Tables(tmp_path)
    for number in range(1, releases + 1):
        tables.publish(TAG_EMBEDDING, tags({"a": number}), at(number), widths=WIDTHS)
        assert release_tables(tables, as_of_us=number, created_us=number, settings="s") == number
    return tables


def ids(tables: Tables) -> list[int]:
    return [row["release_id"] for row in tables.newest_rows(RELEASES)]


def test_the_latest_release_is_read_from_the_end_of_the_log(
    tmp_path: Path, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = released_tables(tmp_path, 5)
    parsed.clear()
    tail._rows.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(Tables, "read", None)
        assert tables.latest_release()["release_id"] == 5
        assert len(set(parsed)) == 1
        assert ids(tables) == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("also", ["nothing", "vacuum", "cleanup", "row"])
def test_rows_that_the_log_lacks_are_read_from_the_table(tmp_path: Path, also: str) -> None:
    tables = released_tables(tmp_path, 4)
    delta = tables.delta(RELEASES)
    delta.optimize.compact()
    if also == "vacuum":
        assert delta.vacuum(0, dry_run=False, enforce_retention_duration=False)
    if also == "cleanup":
        delta.create_checkpoint()
        for version in range(5):
            (tables.path(RELEASES) / tail.LOG / f"{version:020}.json").unlink()
    if also == "row":
        tables.publish(TAG_EMBEDDING, tags({"a": 8}), at(8), widths=WIDTHS)
        release_tables(tables, as_of_us=8, created_us=8, settings="s")
    expected = [5, 4, 3, 2, 1] if also == "row" else [4, 3, 2, 1]
    tail._rows.cache_clear()
    assert ids(tables) == expected
    assert ids(tables) == sorted(
        scan(tables.delta(RELEASES)).to_table()["release_id"].to_pylist(), reverse=True
    )


class Rows:
    """Tables of which only the release log is asked for."""

    def __init__(self, rows: list[dict[str, object]]) -> None:
        self.rows = rows

    def newest_rows(self, table: object) -> object:
        return iter(self.rows[::-1])


@given(
    st.lists(st.sampled_from(["released", "candidate", "rejected", "back", "allow"]), max_size=12)
)
def test_the_release_in_force_is_that_of_the_whole_log(steps: list[str]) -> None:
    """`back` takes back the release in force, `allow` releases the last one that waits."""
    rows: list[dict[str, object]] = []

    def add(number: int, state: str) -> None:
        plain = {key: {} for key in ("versions", "quality", "figures", "verdicts")}
        times = dict.fromkeys(("as_of", "created_timestamp"), EPOCH + len(rows) * SECOND)
        texts = dict.fromkeys(("settings_hash", "by", "why"), "")
        row = {"release_id": number, "state": state, "topic_epoch": 1}
        rows.append({**plain, **times, **texts, **row})

    for step in steps:
        log = read_log(Rows(rows))  # type: ignore[arg-type]
        last = max((r.release_id for r in log), default=0)
        current = in_force(log)
        if step == "back":
            if current:
                add(current.release_id, "rolled_back")
        elif step == "allow":
            if log and log[-1].state in ("candidate", "rejected"):
                add(last, "released")
        else:
            add(last + 1, step)
    log = read_log(Rows(rows))  # type: ignore[arg-type]
    newest: list[Release] = [*newest_released(Rows(rows))]  # type: ignore[arg-type]
    assert newest == released(log)[::-1]
