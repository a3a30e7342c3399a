"""Logs that come again: repetitions, ids that restart, late clicks, one more column."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from replay import Replay
from small_delivery import GOOD, IMPRESSIONS, Deliver

from vidtopics.contracts import CLICKS
from vidtopics.contracts import IMPRESSIONS as IMPRESSION_TABLE
from vidtopics.errors import InputError

WITH_ID = IMPRESSIONS.strip() + ",event_id\n"
FIRST = "u1,v1,2026-02-01,0,1\nu2,v2,2026-02-02,1,2\nu3,v1,2026-02-03,0,3\n"
RESTARTED = "u9,v1,2026-03-01,1,1\nu8,v2,2026-03-02,0,2\nu7,v1,2026-03-03,1,3\n"


def day(number: int) -> datetime:
    return datetime(2026, 11, number, tzinfo=UTC)


@pytest.fixture
def replay(deliver: Deliver) -> Replay:
    return Replay(deliver)


def users(replay: Replay) -> dict[str, tuple[str, bool]]:
    """User of each impression and whether it was clicked, by id."""
    clicked = {row["event_id"] for row in replay.rows(CLICKS)}
    return {
        row["event_id"]: (row["user_id"], row["event_id"] in clicked)
        for row in replay.rows(IMPRESSION_TABLE)
    }


def counts(replay: Replay) -> tuple[int, int]:
    return len(replay.rows(IMPRESSION_TABLE)), len(replay.rows(CLICKS))


# --- ids that restart


def test_ids_that_restart_stop_the_delivery_and_name_the_cause(replay):
    replay(day(1), impressions=WITH_ID + FIRST)
    with pytest.raises(
        InputError, match=r"impressions.csv: expected one event_id per impression, found 3 of 3"
    ) as error:
        replay(day(2), impressions=WITH_ID + RESTARTED)
    text = str(error.value)
    assert "ids restart in this file. Mend: give them a prefix with `--event-id-prefix`" in text
    assert "row 1: expected event_id '1' as it is known, found user_id 'u9' (known: 'u1')" in text
    assert users(replay) == {"1": ("u1", False), "2": ("u2", True), "3": ("u3", False)}


def test_with_a_prefix_both_days_are_there_and_each_click_is_on_its_own_impression(replay):
    replay(day(1), impressions=WITH_ID + FIRST)
    for _ in range(2):  # the second time adds nothing
        staged = replay(day(2), prefix="b-", impressions=WITH_ID + RESTARTED)
    assert users(replay) == {
        "1": ("u1", False),
        "2": ("u2", True),
        "3": ("u3", False),
        "b-1": ("u9", True),
        "b-2": ("u8", False),
        "b-3": ("u7", True),
    }
    assert staged.file("impressions.csv").already_there == 3


def test_ids_that_restart_within_one_file_stop_the_delivery_too(replay):
    with pytest.raises(InputError, match="found 6 of 6 rows with the id of another: ids restart"):
        replay(day(1), impressions=WITH_ID + FIRST + RESTARTED)
    assert counts(replay) == (0, 0)


def test_few_reused_ids_are_refused_alone(replay):
    replay(day(1), impressions=WITH_ID + FIRST)
    many = "".join(f"u{i},v1,2026-03-04,1,n{i}\n" for i in range(199))
    staged = replay(day(2), impressions=WITH_ID + "u9,v1,2026-03-01,1,1\n" + many)
    assert staged.rejected("impressions") == [(1, "reused_id")]
    (row,) = staged.tables["impressions_rejected"]
    assert row["detail"] == (
        "expected event_id '1' as it is known, found user_id 'u9' (known: 'u1'), event_timestamp"
        " '2026-03-01 00:00:00+00' (known: '2026-02-01 00:00:00+00')"
    )
    assert users(replay)["1"] == ("u1", False)
    assert counts(replay) == (3 + 199, 1 + 199)


@pytest.mark.parametrize("column", ["video", "time", "user"])
def test_any_other_value_is_another_impression(replay, column):
    replay(day(1), impressions=WITH_ID + "u,v1,2026-02-01,0,a\n")
    values = {"user": "u", "video": "v1", "time": "2026-02-01"}
    values |= {column: {"user": "U", "video": "v2", "time": "2026-02-01T00:00:00.000001Z"}[column]}
    line = f"{values['user']},{values['video']},{values['time']},1,a\n"
    staged = replay(day(2), limits={"max_reused_share": 1.0}, impressions=WITH_ID + line)
    assert staged.rejected("impressions") == [(1, "reused_id")]
    assert counts(replay) == (1, 0)


def test_a_prefix_before_no_id_is_refused(replay):
    with pytest.raises(InputError, match="--event-id-prefix b-: expected a log with a column"):
        replay(day(1), prefix="b-", impressions=GOOD["impressions"])


@pytest.mark.parametrize("prefix", ["a\nb", "x" * 65])
def test_a_prefix_that_can_not_begin_an_id_is_refused(replay, prefix):
    with pytest.raises(InputError, match="--event-id-prefix: expected at most 64 bytes"):
        replay(day(1), prefix=prefix, impressions=WITH_ID + FIRST)


# --- one column more or less


@pytest.mark.parametrize("column", ["position", "request_id"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_log_with_one_more_column_is_the_same_log(replay, column, order):
    rows = [f"u{i % 2},v1,2026-02-0{i},{i % 2}" for i in range(1, 9)]
    plain = IMPRESSIONS + "".join(f"{row}\n" for row in rows)
    more = (
        IMPRESSIONS.strip()
        + f",{column}\n"
        + "".join(f"{row},{i + 1}\n" for i, row in enumerate(rows))
    )
    replay(day(1), impressions=[plain, more][::order][0])
    staged = replay(day(2), impressions=[plain, more][::order][1])
    assert counts(replay) == (8, 4)
    file = staged.file("impressions.csv")
    assert (file.accepted, file.already_there, file.refused_rows) == (0, 8, 0)
    assert staged.delivery.already_there["impressions"] == 8
    assert staged.delivery.already_there["clicks"] == 4


def test_both_forms_of_a_log_in_one_file_are_one_log(replay):
    header = IMPRESSIONS.strip() + ",position,request_id\n"
    lines = ["u,v1,2026-02-01,1,,", "u,v1,2026-02-01,1,3,", "u,v1,2026-02-01,1,3,r"]
    staged = replay(day(1), impressions=header + "\n".join(lines))
    (row,) = replay.rows(IMPRESSION_TABLE)
    assert (row["position"], row["request_id"]) == (3, "r")
    assert staged.file("impressions.csv").left_out == 2


def test_an_id_added_to_a_log_keeps_its_impressions(replay):
    replay(day(1), impressions=GOOD["impressions"])
    lines = GOOD["impressions"].splitlines()[1:]
    again = WITH_ID + "".join(f"{line},id{i}\n" for i, line in enumerate(lines))
    for _ in range(2):
        staged = replay(day(2), impressions=again)
    assert counts(replay) == (2, 1)
    assert staged.file("impressions.csv").already_there == 2


def test_an_id_left_out_keeps_its_impressions(replay):
    lines = GOOD["impressions"].splitlines()[1:]
    replay(day(1), impressions=WITH_ID + "".join(f"{line},i{n}\n" for n, line in enumerate(lines)))
    assert replay(day(2), impressions=GOOD["impressions"]).file("impressions.csv").accepted == 0
    assert counts(replay) == (2, 1)


# --- one user, video and time, several impressions


def test_impressions_apart_in_position_alone_are_several_however_they_come_again(replay):
    header = IMPRESSIONS.strip() + ",position\n"
    line = "u,v1,2026-02-01,{},{}\n"
    replay(day(1), impressions=header + line.format(1, 2))
    replay(day(2), impressions=header + line.format(0, 1) + line.format(1, 2) + line.format(0, 3))
    places = {r["event_id"]: r["position"] for r in replay.rows(IMPRESSION_TABLE)}
    (first,) = (event_id for event_id, place in places.items() if place == 2)
    assert places == {first: 2, f"{first}-2": 1, f"{first}-3": 3}
    assert [row["event_id"] for row in replay.rows(CLICKS)] == [first]
    replay(day(3), impressions=header + line.format(0, 3) + line.format(0, 1))
    replay(day(3), impressions=IMPRESSIONS + "u,v1,2026-02-01,0\n")
    assert counts(replay) == (3, 1)


def test_a_log_without_positions_knows_one_of_them(replay):
    replay(day(1), impressions=IMPRESSIONS + "u,v1,2026-02-01,0\n")
    header = IMPRESSIONS.strip() + ",position\n"
    staged = replay(day(2), impressions=header + "u,v1,2026-02-01,0,1\nu,v1,2026-02-01,0,2\n")
    file = staged.file("impressions.csv")
    assert (file.accepted, file.already_there) == (1, 1)
    assert [row["position"] for row in replay.rows(IMPRESSION_TABLE)] == [None, 2]


@pytest.mark.parametrize("refused", [[1], [2], [1, 2]])
def test_a_number_of_a_refused_impression_is_not_one_of_a_known_one(replay, refused):
    """Position `n` of the first delivery has id `<hash>-n`; those of `refused` are both 0 and 1."""
    header = IMPRESSIONS.strip() + ",position\n"
    line = "u,v1,2026-02-01,{},{}\n"
    lines = [line.format(0, place) for place in (1, 2, 3, 4)]
    replay(day(1), impressions=header + "".join(lines + [line.format(1, n) for n in refused]))
    staged = replay(day(2), impressions=header + line.format(1, 5))
    assert staged.rejected("impressions") == []
    places = {row["position"] for row in replay.rows(IMPRESSION_TABLE)}
    assert places == {1, 2, 3, 4, 5} - set(refused)
    assert counts(replay) == (len(places), 1)


# --- clicks that come later, or are taken back

CLICKS_HEADER = IMPRESSIONS.strip() + ",watch_seconds,clicked_at\n"


def test_a_later_click_on_a_known_impression_is_known_from_its_delivery_on(replay):
    replay(day(1), impressions=IMPRESSIONS + "u,v1,2026-02-01,0\n")
    staged = replay(day(2), impressions=CLICKS_HEADER + "u,v1,2026-02-01,1,4.5,2026-02-03\n")
    (click,) = replay.rows(CLICKS)
    assert click["event_timestamp"] == datetime(2026, 2, 3, tzinfo=UTC)
    assert (click["created_timestamp"], click["watch_seconds"]) == (day(2), 4.5)
    file = staged.file("impressions.csv")
    assert (file.accepted, file.already_there) == (1, 0)
    assert counts(replay) == (1, 1)


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("u,v1,2026-02-01,0,,", "clicked '0' (known: '1')"),
        ("u,v1,2026-02-01,1,7,", "watch_seconds '7.0' (known: '4.5')"),
        (
            "u,v1,2026-02-01,1,,2026-02-04",
            "clicked_at '2026-02-04 00:00:00+00' (known: '2026-02-03",
        ),
    ],
)
def test_a_click_that_is_taken_back_or_changed_is_a_conflict(replay, line, detail):
    replay(day(1), impressions=CLICKS_HEADER + "u,v1,2026-02-01,1,4.5,2026-02-03\n")
    staged = replay(day(2), impressions=CLICKS_HEADER + line + "\n")
    assert staged.rejected("impressions") == [(1, "changed_click")]
    (row,) = staged.tables["impressions_rejected"]
    assert row["detail"].startswith(
        "expected user_id 'u', video_id 'v1', event_timestamp '2026-02-01' as it is known, found "
    )
    assert detail in row["detail"]
    assert counts(replay) == (1, 1)


@pytest.mark.parametrize("line", ["u,v1,2026-02-01,1,,", "u,v1,2026-02-01,1,4.5,2026-02-03"])
def test_a_click_that_says_less_or_the_same_is_a_repetition(replay, line):
    replay(day(1), impressions=CLICKS_HEADER + "u,v1,2026-02-01,1,4.5,2026-02-03\n")
    staged = replay(day(2), impressions=CLICKS_HEADER + line + "\n")
    file = staged.file("impressions.csv")
    assert (file.already_there, file.refused_rows) == (1, 0)
    assert counts(replay) == (1, 1)


# --- within one delivery


def test_a_conflict_is_named_by_what_the_file_says(deliver):
    lines = ["u0,v1,2026-02-01,1", "u1,v1,2026-02-01,0", "u0,v1,2026-02-01,0"]
    staged = deliver(impressions=IMPRESSIONS + "\n".join(lines))
    assert staged.rejected("impressions") == [(1, "conflicting_rows"), (3, "conflicting_rows")]
    details = {row["detail"] for row in staged.tables["impressions_rejected"]}
    assert details == {
        "expected one row of user_id 'u0', video_id 'v1', event_timestamp '2026-02-01',"
        " found clicked '1' in row 1 and '0' in row 3"
    }


def test_a_conflict_of_videos_names_each_column_that_differs(deliver):
    header = GOOD["videos"].splitlines()[0] + "\n"
    staged = deliver(videos=header + "a,One,,x,,,2026-01-01\na,Two,,x,,,\nv1,T,,,,,\nv2,T,,,,,\n")
    assert staged.tables["video_catalog_rejected"][0]["detail"] == (
        "expected one row of video_id 'a', found published_at '2026-01-01 00:00:00+00' in row 1"
        " and '' in row 2, title 'One' in row 1 and 'Two' in row 2"
    )


def test_a_file_without_rows_is_warned_of(deliver):
    staged = deliver(impressions=IMPRESSIONS, tags="video_id,tag,event_timestamp\n")
    for name in ("impressions.csv", "tags.csv"):
        assert staged.file(name).warnings["no_rows"].examples == (
            "expected rows, found the header alone",
        )
    assert "no_rows" not in staged.file("videos.csv").warnings
