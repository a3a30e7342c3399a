"""A clean run has nothing to say; each fault put in by hand is caught and named."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis
from deltalake import DeltaTable
from parity_home import HOUR_US, ParityHome, ago, between, statuses

import consumers.parity
from consumers.parity import Report, Verdict, ViewReport
from consumers.parity.history import EntityRows
from consumers.parity.log import Log
from vidtopics import contracts
from vidtopics.contracts import VIDEO_STATISTICS, View
from vidtopics.layout import HEADER, Field, Schema
from vidtopics.materialization import StoreWriter

V = Verdict

DECAYED = ("video_decayed_exposures", "video_decayed_clicks", "video_decayed_at")


def only(report: Report, view: str = "video_statistics") -> ViewReport:
    return report.views[view]


def verdicts(report: Report, view: str = "video_statistics") -> dict[Verdict, int]:
    return dict(only(report, view).verdicts)


def example(report: Report, kind: str) -> dict[str, Any]:
    (example,) = [e for e in only(report).examples if e["kind"] == kind]
    return example


@pytest.fixture
def filled(home: ParityHome) -> ParityHome:
    """`a` and `b` have a row of 3 h ago, `a` one of 2 h ago; `c` ended. Both releases moved."""
    home.statistics(("a", ago(3), ago(3), 10), ("b", ago(3), ago(3), 20), ("c", ago(3), ago(3), 30))
    home.move()
    home.statistics(("a", ago(2), ago(2), 11), ("c", ago(2), ago(2), None))
    home.move()
    return home


def test_a_clean_run_has_no_findings(filled: ParityHome) -> None:
    filled.topics(("a", ago(1), ago(1), 7), ("b", ago(1), ago(1), None))
    filled.joint(("a", ago(1), ago(1), 7))
    filled.move()
    for view in ("video_statistics", "video_topics", "video_joint_representation"):
        filled.read("a", "b", "c", "unknown", view=view)
    report = filled.replay()
    for view, served in (
        ("video_statistics", 2),
        ("video_topics", 1),
        ("video_joint_representation", 1),
    ):
        view_report = only(report, view)
        assert (view_report.rows, view_report.requests, dict(view_report.verdicts)) == (
            4,
            1,
            {V.FINE: 4},
        )
        assert (view_report.joined, view_report.stale, view_report.examples) == (4, 0, [])
        assert {c.served for c in view_report.features.values()} == {served}
    assert (report.lines, report.damaged, report.dropped, report.mismatches, report.staleness) == (
        3,
        0,
        0,
        0,
        0.0,
    )


def test_views_of_one_request_and_chosen_fields(filled: ParityHome) -> None:
    filled.read("a", names=["video_clicks"])
    filled.read("b")
    report = filled.replay(chunk_rows=1)
    assert {name: c.served for name, c in only(report).features.items()} == {
        "video_clicks": 2,
        **dict.fromkeys(("video_exposures", *DECAYED), 1),
    }
    assert verdicts(report) == {V.FINE: 2}


def test_a_late_row_is_staleness_with_its_lag_and_no_mismatch(filled: ParityHome) -> None:
    filled.read("a", "b", "c")
    filled.statistics(
        ("b", ago(1), ago(0.5), 21)
    )  # known half an hour before the request, arrived after it
    filled.move()
    report = filled.replay()
    view_report = only(report)
    assert (verdicts(report), view_report.stale, view_report.joined) == ({V.FINE: 3}, 1, 3)
    assert view_report.behind_max_us == pytest.approx(
        HOUR_US / 2, abs=60e6
    )  # known, not held: created is the later time
    # n = 20 became 21: exposures differ, clicks don't
    assert {name: c.stale for name, c in view_report.features.items()} == {
        "video_exposures": 1,
        **dict.fromkeys(("video_clicks", *DECAYED), 0),
    }
    shown = example(report, "stale")
    assert (shown["video_id"], shown["request"], shown["version"]) == ("b", "r1", 2)
    assert (shown["served"]["video_exposures"], shown["expected"]["video_exposures"]) == (20, 21)


def test_a_row_known_after_the_request_is_no_staleness(filled: ParityHome) -> None:
    filled.read("b")
    after = ago(-0.001)
    filled.statistics(("b", ago(1), after + 60_000_000, 21))
    assert only(filled.replay()).stale == 0


def test_the_same_features_under_later_times_are_not_stale(filled: ParityHome) -> None:
    filled.read("b")
    filled.statistics(("b", ago(1), ago(1), 20))
    assert (only(filled.replay()).stale, only(filled.replay()).joined) == (0, 1)


def test_an_end_that_was_not_served_is_stale_by_status(filled: ParityHome) -> None:
    filled.read("b")
    filled.statistics(("b", ago(1), ago(1), None))
    view_report = only(filled.replay())
    assert (view_report.stale, view_report.examples[0]["served"]["status"]) == (1, "present")


def test_lists_of_users_are_held_and_a_changed_item_is_named(home: ParityHome) -> None:
    """Two users with lists of two lengths; one time in a list is written over."""
    home.skips(("u", ago(2), ago(2), 3), ("w", ago(2), ago(2), 1))
    home.statistics(("a", ago(2), ago(2), 1))
    home.move()
    with home.log.request("r1"):
        home.client.read_entities(
            ["user_recent_skips", "video_statistics"], {"user": ["u", "w"], "video": ["a"]}
        )
    home.settle()
    key = home.key("u", "user_recent_skips")
    value = home.store.get(key)
    assert value is not None
    home.store.set(key, value.replace((2).to_bytes(8, "little"), (9).to_bytes(8, "little")))
    home.read("u", "w", view="user_recent_skips")
    report = home.replay()
    view_report = only(report, "user_recent_skips")
    assert dict(view_report.verdicts) == {V.FINE: 3, V.WRONG_VALUE: 1}
    assert {name: c.wrong for name, c in view_report.features.items()} == {
        "skipped_video_ids": 0,
        "skipped_times": 1,
        "skipped_positions": 0,
    }
    assert dict(only(report, "video_statistics").verdicts) == {V.FINE: 1}


def test_a_changed_value_is_a_mismatch_that_names_the_feature(filled: ParityHome) -> None:
    # 29 header, 1 null bits, exposures int64 at 30, clicks at 38
    filled.store.setrange(filled.key("a"), 38, (5).to_bytes(8, "little"))
    filled.read("a", "b", request="r7")
    report = filled.replay()
    assert verdicts(report) == {V.WRONG_VALUE: 1, V.FINE: 1}
    assert {name: c.wrong for name, c in only(report).features.items()} == {
        "video_clicks": 1,
        **dict.fromkeys(("video_exposures", *DECAYED), 0),
    }
    shown = example(report, "wrong_value")
    assert (shown["video_id"], shown["request"]) == ("a", "r7")
    assert (shown["served"]["video_clicks"], shown["expected"]["video_clicks"]) == (5, 1)
    assert (only(report).stale, only(report).joined) == (0, 1)  # check 2 has nothing to say of it


@pytest.mark.parametrize("fault", ["bit", "null"])
def test_the_smallest_change_of_a_vector_is_seen(home: ParityHome, fault: str) -> None:
    home.joint(("a", ago(1), ago(1), 7), width=40)
    home.move()
    key = home.key("a", "video_joint_representation")
    value = bytearray(home.store.get(key))
    at = (
        value.index(np.float32(1).tobytes()) if fault == "bit" else 29
    )  # 7 / 7; the byte of null bits
    value[at] ^= 1
    home.store.set(key, bytes(value))
    home.read("a", view="video_joint_representation")
    report = home.replay()
    view_report = report.views["video_joint_representation"]
    assert {name for name, c in view_report.features.items() if c.wrong} == {"joint_embedding"}
    assert verdicts(report, view_report.view) == {V.WRONG_VALUE: 1}


def test_a_dropped_key_is_missing_and_an_unknown_one_is_not(filled: ParityHome) -> None:
    filled.store.delete(filled.key("a"), filled.key("c"))
    filled.read("a", "c", "unknown")
    report = filled.replay(examples=1)
    assert verdicts(report) == {V.MISSING: 2, V.FINE: 1}
    shown = example(report, "missing")
    assert (shown["served"], shown["expected"]["video_exposures"]) == ({"status": "not_found"}, 11)


def test_an_old_value_put_back_is_superseded(home: ParityHome) -> None:
    home.statistics(("a", ago(3), ago(3), 10))
    home.move()
    old = home.store.get(home.key("a"))
    home.statistics(("a", ago(3), ago(2), 11))  # a correction
    home.move()
    home.store.set(home.key("a"), old)
    home.read("a")
    report = home.replay()
    assert verdicts(report) == {V.SUPERSEDED: 1}
    shown = example(report, "superseded")
    assert (shown["served"]["video_exposures"], shown["expected"]["video_exposures"]) == (10, 11)


def test_a_value_that_came_back_after_its_end_is_superseded(home: ParityHome) -> None:
    home.statistics(("a", ago(3), ago(3), 10))
    home.move()
    old = home.store.get(home.key("a"))
    home.statistics(("a", ago(2), ago(2), None))
    home.move()
    home.store.set(home.key("a"), old)
    home.read("a")
    assert verdicts(home.replay()) == {V.SUPERSEDED: 1}


def test_a_foreign_value_is_unreadable_and_a_forged_one_wrong(filled: ParityHome) -> None:
    foreign = filled.store.get(filled.key("b"))
    filled.store.set(filled.key("a"), foreign)
    filled.read("a")
    fingerprint = filled.space().fingerprints([b"a"]).tobytes()
    filled.store.set(
        filled.key("a"), foreign[:5] + fingerprint + foreign[9:]
    )  # b's row of three hours ago, under a's name
    filled.store.delete(filled.key("b"))
    filled.read("a")
    report = filled.replay()
    # a has a row of three hours ago too, so that the times are its own and the value isn't
    assert verdicts(report) == {V.UNREADABLE: 1, V.WRONG_VALUE: 1}


def test_times_that_the_table_does_not_have(filled: ParityHome) -> None:
    filled.store.setrange(
        filled.key("a"), HEADER.fields["event_us"][1], (ago(2.5)).to_bytes(8, "little")
    )
    filled.read("a")
    report = filled.replay()
    assert verdicts(report) == {V.FOREIGN_TIMES: 1}
    assert example(report, "foreign_times")["expected"]["video_exposures"] == 11


def test_a_tombstone_that_never_was_is_a_wrong_status(filled: ParityHome) -> None:
    value = filled.store.get(filled.key("b"))
    filled.store.set(filled.key("b"), (b"\x12" + value[1:])[:29])
    assert statuses(filled.read("b")) == ["NULL"]
    assert verdicts(filled.replay()) == {V.WRONG_STATUS: 1}


def test_a_read_while_a_load_is_under_way_is_ahead_and_fine(
    filled: ParityHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.statistics(("a", ago(1), ago(1), 12))
    source = filled.source()
    filled.move()
    filled.say_live(source)  # as for rows that are written beside some that are not due
    filled.read("a", "b")
    report = filled.replay()
    assert (verdicts(report), report.mismatches) == ({V.AHEAD: 1, V.FINE: 1}, 0)


@pytest.mark.parametrize(
    ("floor", "ceiling", "old", "new"),
    [
        (2, 3, V.FINE, V.FINE),
        (3, 3, V.SUPERSEDED, V.FINE),
        (2, 2, V.FINE, V.AHEAD),
        (1, 2, V.FINE, V.AHEAD),
    ],
)
def test_between_floor_and_ceiling_either_value_is_right(
    filled: ParityHome, floor: int, ceiling: int, old: Verdict, new: Verdict
) -> None:
    filled.read("a", "unknown")  # version 2
    filled.settle()
    filled.statistics(("a", ago(1), ago(1), 12))
    filled.move()
    filled.read("a", "unknown")  # version 3
    between(filled, floor, ceiling)
    assert verdicts(filled.replay()) == Counter([old, new, V.FINE, V.FINE])


@pytest.mark.parametrize(("floor", "ceiling"), [(1, 3), (2, 2), (3, 3)])
def test_a_row_that_was_late_when_it_came_is_never_the_latest(
    filled: ParityHome, floor: int, ceiling: int
) -> None:
    """Version 3's row is older than version 2's; Redis must not show it at any floor."""
    filled.statistics(("a", ago(2.5), ago(2.5), 12))
    filled.move()
    filled.read("a")
    overwrite(filled, "a", 12, ago(2.5))
    filled.read("a")
    between(filled, floor, ceiling)
    assert verdicts(filled.replay()) == {V.FINE: 1, V.SUPERSEDED: 1}


def overwrite(home: ParityHome, video: str, n: int, time_us: int) -> None:
    """A value of video_statistics under a key, written past the rule that the later row wins."""
    home.store.setrange(
        home.key(video), HEADER.fields["event_us"][1], time_us.to_bytes(8, "little") * 2
    )
    home.store.setrange(home.key(video), 30, n.to_bytes(8, "little"))


def test_without_a_watermark_values_are_checked_and_absence_is_not(filled: ParityHome) -> None:
    filled.store.setrange(filled.key("b"), 38, (5).to_bytes(8, "little"))
    filled.say_live("")
    filled.read("a", "b", "unknown")
    report = filled.replay()
    assert verdicts(report) == {V.NO_WATERMARK: 2, V.WRONG_VALUE: 1}
    assert (report.checked, only(report).unchecked) == (1, 2)


def test_without_a_watermark_an_older_row_may_have_been_the_latest(home: ParityHome) -> None:
    """As where only Feast wrote."""
    home.statistics(("a", ago(3), ago(3), 10))
    home.move()
    old = home.store.get(home.key("a"))
    home.statistics(("a", ago(2), ago(2), 11))
    home.move()
    home.store.set(home.key("a"), old)
    home.say_live("")
    home.read("a")
    assert verdicts(home.replay()) == {V.NO_WATERMARK: 1}


def test_another_table_under_the_path_is_not_judged(filled: ParityHome) -> None:
    filled.read("a", "unknown")
    filled.log.close()
    shutil.rmtree(filled.tables.path(VIDEO_STATISTICS))
    filled.statistics(("a", ago(3), ago(3), 99))
    report = filled.replay()
    assert verdicts(report) == {V.OTHER_TABLE: 2}
    assert (report.checked, only(report).joined, only(report).stale) == (0, 0, 0)


def test_a_version_that_is_gone_is_told(filled: ParityHome) -> None:
    filled.read("a")
    filled.say_live(filled.source().replace(" 2 ", " 9 "))
    filled.read("a")
    assert verdicts(filled.replay()) == {V.FINE: 1, V.VERSION_GONE: 1}


def test_compaction_between_read_and_replay_changes_nothing(filled: ParityHome) -> None:
    filled.read("a", "b", "c")
    DeltaTable(filled.tables.uri(VIDEO_STATISTICS)).optimize.compact()
    assert verdicts(filled.replay()) == {V.FINE: 3}
    filled.settle()
    filled.statistics(("b", ago(1), ago(1), 21))
    filled.move()
    filled.read("a", "b", "c")
    assert verdicts(filled.replay()) == {V.FINE: 6}


@pytest.fixture
def aging(home: ParityHome, monkeypatch: pytest.MonkeyPatch) -> ParityHome:
    """`old` is four hours old, `new` two; the view's TTL is three."""
    aged = replace(VIDEO_STATISTICS, view=View("video", ttl=timedelta(hours=3)))
    for module in (consumers.parity, contracts):
        monkeypatch.setattr(module, "VIEWS", {**contracts.VIEWS, aged.name: aged})
    monkeypatch.setattr("vidtopics.materialization.releases.VIEWS", {aged.name: aged})
    home.statistics(("old", ago(4), ago(4), 1), ("new", ago(2), ago(2), 2))
    home.move()
    return home


def test_a_ttl_is_judged_by_the_time_of_the_request(aging: ParityHome) -> None:
    assert statuses(aging.read("old", "new", "unknown")) == [
        "OUTSIDE_MAX_AGE",
        "PRESENT",
        "NOT_FOUND",
    ]
    report = aging.replay()
    assert (verdicts(report), only(report).stale) == ({V.FINE: 3}, 0)


def test_a_directory_with_another_ttl_serves_wrong_statuses(aging: ParityHome) -> None:
    StoreWriter(aging.store, buckets=4).register(
        "video_statistics", Schema.of(VIDEO_STATISTICS), HOUR_US
    )
    assert statuses(aging.read("old", "new")) == ["OUTSIDE_MAX_AGE", "OUTSIDE_MAX_AGE"]
    report = aging.replay()
    assert verdicts(report) == {V.FINE: 1, V.WRONG_STATUS: 1}
    assert example(report, "wrong_status")["video_id"] == "new"


def test_redis_may_collect_what_is_outside_its_ttl(aging: ParityHome) -> None:
    aging.store.delete(aging.key("old"), aging.key("new"))
    aging.read("old", "new")
    report = aging.replay()
    assert (verdicts(report), only(report).stale) == ({V.FINE: 1, V.MISSING: 1}, 0)


@pytest.mark.parametrize(
    ("hours", "served", "late", "stale"),
    [
        # ahead: `new` looks too old, `old` is right; a late row makes `old` stale, `new` stays a
        # matter of the clock
        (2, ["OUTSIDE_MAX_AGE"] * 2, {V.FINE: 1, V.CLOCK_SKEW: 1}, 1),
        # behind: `old` looks fresh; the late row was to come by the client's clock, so `new` is a
        # matter of the clock too
        (-2, ["PRESENT"] * 2, {V.CLOCK_SKEW: 2}, 0),
    ],
)
def test_a_skewed_clock_of_the_client_is_its_own_class(
    aging: ParityHome,
    monkeypatch: pytest.MonkeyPatch,
    hours: int,
    served: list[str],
    late: dict[Verdict, int],
    stale: int,
) -> None:
    clock = SimpleNamespace(
        time_ns=lambda: time.time_ns() + hours * HOUR_US * 1000, monotonic_ns=time.monotonic_ns
    )
    monkeypatch.setattr("vidtopics.online.requests.time", clock)
    monkeypatch.setattr("vidtopics.online.serving_log.time", clock)
    aging.settle()
    assert statuses(aging.read("old", "new")) == served
    report = aging.replay()
    assert verdicts(report) == {
        V.FINE: 1,
        V.CLOCK_SKEW: 1,
    }  # one of the two is right by either clock
    assert (only(report).stale, report.mismatches) == (0, 0)
    assert report.max_skew_us == pytest.approx(2 * HOUR_US, abs=1e6)
    aging.statistics(("old", ago(0.1), ago(0.1), 3), ("new", ago(0.1), ago(0.1), 3))
    report = aging.replay()
    assert (verdicts(report), only(report).stale) == (late, stale)


def test_memory_is_bounded_chunks_are_cut_and_files_read_once(filled: ParityHome) -> None:
    for _ in range(3):
        filled.read("a", "b")
    filled.log.close()
    assert [len(chunk.ids) for chunk in Log(filled.folder).chunks(4)] == [4, 2]
    history = EntityRows.read(
        filled.tables, VIDEO_STATISTICS, ["video_exposures"], ["a", "b"], [1, 2]
    )
    held = [tuple(rows) for rows in history.held.T.tolist()]  # in versions 1 and 2
    assert sorted(zip(history.entity.tolist(), held, strict=True)) == [
        (0, (False, True)),
        (0, (True, True)),
        (1, (True, True)),
    ]


def test_a_skewed_clock_changes_no_verdict_of_a_view_without_ttl(
    filled: ParityHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(
        time_ns=lambda: time.time_ns() - 150 * 60_000_000_000, monotonic_ns=time.monotonic_ns
    )
    monkeypatch.setattr("vidtopics.online.serving_log.time", clock)
    filled.settle()
    filled.read("a", "b")  # by the client's clock a's row of two hours ago is still to come
    report = filled.replay()
    assert (verdicts(report), only(report).stale) == ({V.FINE: 2}, 0)


def test_a_value_from_the_future_is_clock_skew(
    home: ParityHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of whoever publishes and materialises runs an hour ahead."""
    ahead = SimpleNamespace(
        time_ns=lambda: time.time_ns() + 2 * HOUR_US * 1000, monotonic=time.monotonic
    )
    monkeypatch.setattr("vidtopics.materialization.releases.time", ahead)
    # the tables' clock isn't ahead, and takes no line of a load that is to come
    monkeypatch.setattr("vidtopics.materialization.releases._log_load", lambda *_: None)
    home.statistics(("a", ago(1), ago(-1), 5), ("b", ago(1), ago(1), 6))
    home.move()
    home.read("a", "b")
    report = home.replay()
    assert (verdicts(report), only(report).stale) == ({V.CLOCK_SKEW: 1, V.FINE: 1}, 0)


def test_a_view_that_no_contract_has_is_told(home: ParityHome, store: redis.Redis) -> None:
    home.statistics(("a", ago(1), ago(1), 1))
    home.move()
    StoreWriter(store, buckets=4).register(
        "elsewhere", Schema((Field("n", "int64", "scalar", "int8"),))
    )
    home.read("a", view="elsewhere")
    assert verdicts(home.replay(), "elsewhere") == {V.OTHER_TABLE: 1}
