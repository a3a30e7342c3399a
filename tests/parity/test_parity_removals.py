"""Rows that were taken out of a table count before, and not after.

Rows that only moved to other files count throughout.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from parity_home import ParityHome, ago, between, statuses

from consumers.parity import Report, Verdict, ViewReport
from consumers.parity.history import EntityRows
from vidtopics.contracts import VIDEO_STATISTICS
from vidtopics.tables.schemas import arrow_schema

V = Verdict


def only(report: Report) -> ViewReport:
    return report.views["video_statistics"]


def verdicts(report: Report) -> dict[Verdict, int]:
    return dict(only(report).verdicts)


def delta(home: ParityHome) -> DeltaTable:
    return home.tables.delta(VIDEO_STATISTICS)


@pytest.fixture
def filled(home: ParityHome) -> ParityHome:
    """Version 1 is loaded: `a` and `b`, in one file. A DELETE may follow."""
    home.statistics(("a", ago(3), ago(3), 10), ("b", ago(3), ago(3), 20))
    delta(home).alter.set_table_properties({"delta.appendOnly": "false"})  # version 2
    home.move()
    return home


def deleted(home: ParityHome) -> None:
    """`a` goes; the file is written again without it."""
    delta(home).delete("video_id = 'a'")


def overwritten(home: ParityHome) -> None:
    rows = home.tables.read(VIDEO_STATISTICS).slice(1)
    write_deltalake(delta(home), rows, mode="overwrite", commit_properties=CommitProperties())


def restored(home: ParityHome) -> None:
    """To before all rows; `b` comes again."""
    delta(home).restore(0)
    home.statistics(("b", ago(3), ago(3), 20))


def release(home: ParityHome) -> None:
    """A commit that a release is made for."""
    home.statistics(("c", ago(1), ago(1), 30))
    home.move()


@pytest.mark.parametrize("took", [deleted, overwritten, restored])
def test_a_row_that_was_taken_out_is_right_before_and_absent_after(
    filled: ParityHome, took: Callable[[ParityHome], None]
) -> None:
    filled.read("a", "b", request="r1")
    took(filled)
    release(filled)
    assert statuses(filled.read("a", "b", request="r2")) == ["NOT_FOUND", "PRESENT"]
    report = filled.replay()
    assert verdicts(report) == {V.FINE: 4}
    # a join of today finds no `a`, so that training doesn't have what r1 got
    assert (only(report).stale, only(report).joined, only(report).behind_us) == (1, 4, 0)
    (shown,) = only(report).examples
    assert (shown["kind"], shown["request"], shown["video_id"], shown["expected"]) == (
        "stale",
        "r1",
        "a",
        {},
    )


@pytest.mark.parametrize("took", [deleted, overwritten, restored])
@pytest.mark.parametrize("first", [True, False])
def test_a_row_that_a_rebuild_left_is_removed(
    filled: ParityHome, took: Callable[[ParityHome], None], first: bool
) -> None:
    """Whether or not the chunk has a line from before."""
    left = filled.store.get(filled.key("a"))
    if first:
        filled.read("a", "b", request="r1")
    took(filled)
    release(filled)
    filled.store.set(filled.key("a"), left)
    assert statuses(filled.read("a", "b", request="r2")) == ["PRESENT", "PRESENT"]
    report = filled.replay()
    kind = V.REMOVED if first else V.FOREIGN_TIMES
    assert verdicts(report) == {kind: 1, V.FINE: 3 if first else 1}
    (shown,) = [e for e in only(report).examples if e["kind"] == kind.name.lower()]
    assert (shown["request"], shown["video_id"], shown["expected"]) == ("r2", "a", {})
    assert report.mismatches == 1


def test_while_a_rebuild_is_under_way_both_answers_are_right(filled: ParityHome) -> None:
    filled.read("a", request="r1")
    deleted(filled)
    release(filled)
    filled.read("a", request="r2")
    between(filled, 2, 4)
    assert verdicts(filled.replay()) == {V.FINE: 2}
    between(filled, 2, 2)
    assert verdicts(filled.replay()) == {V.FINE: 1, V.MISSING: 1}
    between(filled, 4, 4)
    assert verdicts(filled.replay()) == {
        V.FOREIGN_TIMES: 1,
        V.FINE: 1,
    }  # no line names a version that has `a`


def test_the_row_before_holds_again_where_the_latest_was_taken_out(filled: ParityHome) -> None:
    old = filled.store.get(filled.key("a"))
    filled.statistics(("a", ago(2), ago(2), 11))
    filled.move()
    new = filled.store.get(filled.key("a"))
    filled.read("a", request="r1")
    delta(filled).delete("video_exposures = 11")
    release(filled)
    assert filled.read("a", request="r2")["video_exposures"].tolist() == [10]
    filled.store.set(filled.key("a"), new)
    filled.read("a", request="r3")
    report = filled.replay()
    assert verdicts(report) == {V.FINE: 2, V.REMOVED: 1}
    (shown,) = [e for e in only(report).examples if e["kind"] == "removed"]
    assert (
        shown["request"],
        shown["served"]["video_exposures"],
        shown["expected"]["video_exposures"],
    ) == (
        "r3",
        11,
        10,
    )
    assert old != new


def test_a_row_that_was_read_ahead_of_the_watermark_and_then_taken_out(filled: ParityHome) -> None:
    """No line names version 3, the one version that has `d`."""
    source = filled.source()
    filled.statistics(("d", ago(2), ago(2), 40))
    filled.move()
    filled.say_live(source)
    filled.read("d")
    delta(filled).restore(2)
    assert verdicts(filled.replay()) == {V.AHEAD: 1}


def test_a_restore_that_was_undone_and_a_compaction_take_nothing_out(filled: ParityHome) -> None:
    filled.read("a", "b")
    for step in (
        lambda: delta(filled).restore(0),
        lambda: delta(filled).restore(2),
        delta(filled).optimize.compact,
    ):
        step()
    release(filled)
    filled.read("a", "b")
    delta(filled).optimize.compact()
    report = filled.replay()
    assert (verdicts(report), only(report).stale) == ({V.FINE: 4}, 0)


def test_a_value_that_was_rewritten_under_its_times_is_right_on_its_side(
    filled: ParityHome,
) -> None:
    old = filled.store.get(filled.key("a"))
    filled.read("a", "b", request="r1")
    delta(filled).update(predicate="video_id = 'a'", updates={"video_clicks": "7"})
    release(filled)
    assert filled.read("a", "b", request="r2")["video_clicks"].tolist() == [7, 1]
    filled.store.set(filled.key("a"), old)
    filled.read("a", request="r3")
    report = filled.replay()
    assert verdicts(report) == {V.FINE: 4, V.WRONG_VALUE: 1}
    shown = {e["request"]: e for e in only(report).examples if e["kind"] == "wrong_value"}["r3"]
    assert (shown["served"]["video_clicks"], shown["expected"]["video_clicks"]) == (1, 7)
    assert [e["request"] for e in only(report).examples if e["kind"] == "stale"] == ["r1"]


def test_a_table_that_was_replaced_in_its_log_is_not_judged(filled: ParityHome) -> None:
    """Nor are files read that it had in between, of other columns."""
    filled.read("a", "unknown")
    filled.log.close()
    uri, schema = filled.tables.uri(VIDEO_STATISTICS), arrow_schema(VIDEO_STATISTICS)
    DeltaTable.create(uri, schema=pa.schema({"video_id": pa.list_(pa.string())}), mode="overwrite")
    write_deltalake(uri, pa.table({"video_id": [["a"]]}), mode="append")
    DeltaTable.create(uri, schema=schema, mode="overwrite", name="video_statistics")
    filled.statistics(("a", ago(3), ago(3), 10))
    assert verdicts(filled.replay()) == {V.OTHER_TABLE: 2}


def vacuum(home: ParityHome) -> None:
    assert delta(home).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)


def test_what_a_vacuum_took_after_a_compaction_is_known_from_the_compacted_file(
    filled: ParityHome,
) -> None:
    filled.statistics(("a", ago(2), ago(2), 11))  # version 3
    filled.move()
    filled.read("a", "b")
    old = filled.store.get(filled.key("b"))
    filled.store.delete(filled.key("b"))
    filled.read("b")
    delta(filled).optimize.compact()
    vacuum(filled)
    assert verdicts(filled.replay()) == {V.FINE: 2, V.MISSING: 1}
    filled.store.set(filled.key("b"), old)
    release(filled)
    filled.read("a", "b")
    assert verdicts(filled.replay()) == {V.FINE: 4, V.MISSING: 1}
    assert only(filled.replay()).stale == 0


def test_a_version_whose_files_a_vacuum_took_is_gone(filled: ParityHome) -> None:
    filled.read("a", "b")
    deleted(filled)
    release(filled)
    filled.read("a", "b")
    vacuum(filled)
    report = filled.replay()
    assert verdicts(report) == {V.VERSION_GONE: 2, V.FINE: 2}
    assert (report.checked, only(report).unchecked) == (2, 2)


def test_a_version_between_which_and_the_compaction_rows_came_is_gone(filled: ParityHome) -> None:
    filled.read("a", "b")
    filled.statistics(("a", ago(2), ago(2), 11))
    delta(filled).optimize.compact()
    vacuum(filled)
    assert verdicts(filled.replay()) == {V.VERSION_GONE: 2}


def test_a_version_whose_log_was_cleaned_is_gone(filled: ParityHome) -> None:
    filled.read("a", "b")
    filled.statistics(("a", ago(2), ago(2), 11))
    delta(filled).create_checkpoint()
    for version in (0, 1, 2):
        (filled.tables.path(VIDEO_STATISTICS) / "_delta_log" / f"{version:020}.json").unlink()
    assert verdicts(filled.replay()) == {V.VERSION_GONE: 2}


def test_equal_copies_are_one_row_and_say_where_they_are_held(filled: ParityHome) -> None:
    filled.statistics(("a", ago(2), ago(2), 11))  # version 3
    delta(filled).optimize.compact()
    deleted(filled)  # version 5
    history = EntityRows.read(
        filled.tables, VIDEO_STATISTICS, ["video_exposures"], ["a", "b"], [1, 3, 9]
    )
    assert history.versions == [1, 3, 4, 5]  # 4: the last before rows went; there is no 9
    rows = dict(
        zip(
            zip(history.entity.tolist(), history.event_us.tolist(), strict=True),
            history.held.T,
            strict=True,
        )
    )
    assert {key: held.tolist() for key, held in rows.items()} == {
        (0, ago(3)): [True, True, True, False],
        (0, ago(2)): [False, True, True, False],
        (1, ago(3)): [True, True, True, True],
    }
    assert np.array_equal(
        history.winners >= 0, [[True, True], [True, True], [True, True], [False, True]]
    )
