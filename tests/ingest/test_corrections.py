"""Corrections: values, classes and tags of videos that come again, with their two times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from replay import Replay
from small_delivery import IMPRESSIONS, VIDEOS, Deliver

from vidtopics.contracts import VIDEO_CATALOG, VIDEO_TAGS

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
TAGS = "video_id,tag,event_timestamp,removed_at\n"
EFFECTIVE = VIDEOS.strip() + ",effective_from\n"


def at(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


@pytest.fixture
def replay(deliver: Deliver) -> Replay:
    return Replay(deliver)


def video(tags: str = "", title: str = "T", group: str = "sport", kind: str = "golf") -> str:
    return VIDEOS + f"v1,{title},,{group},{kind},{tags},2026-01-01\n"


def deliver_video(replay: Replay, time: datetime, content: str, tags: str = ""):
    files = {"tags": TAGS + tags} if tags else {}
    return replay(time, videos=content, impressions=IMPRESSIONS, **files)


def states(replay: Replay, tag: str) -> list[tuple[datetime, datetime, bool]]:
    """(event, created, whether it holds) of each row of a tag of v1."""
    return [
        (row["event_timestamp"], row["created_timestamp"], row["value_hash"] != 0)
        for row in replay.rows(VIDEO_TAGS)
        if row["tag"] == tag
    ]


def values(replay: Replay, time: datetime, known_by: datetime = NEVER) -> tuple[object, ...]:
    """Title and primary classes of v1."""
    (row,) = replay.as_of(VIDEO_CATALOG, time, known_by)
    return (row["title"], *row["primary_classes"])


# --- the catalogue


def test_other_values_hold_from_their_delivery_on(replay):
    deliver_video(replay, at(2, 1), video(title="Old"))
    staged = deliver_video(replay, at(3, 1), video(title="New", group="music"))
    assert values(replay, at(2, 28)) == ("Old", "sport")  # it was true then, and stays so
    assert values(replay, at(3, 1)) == ("New", "music")
    assert values(replay, at(3, 1), known_by=at(2, 28)) == ("Old", "sport")
    assert staged.file("videos.csv").accepted == 1
    again = deliver_video(replay, at(3, 2), video(title="New", group="music"))
    assert again.file("videos.csv").already_there == 1
    assert len(replay.rows(VIDEO_CATALOG)) == 2


def test_a_correction_of_the_past_holds_from_its_time_and_is_known_from_its_delivery(replay):
    deliver_video(replay, at(2, 1), video(group="sport"))
    deliver_video(replay, at(3, 1), video(group="food"))
    deliver_video(replay, at(4, 1), EFFECTIVE + "v1,T,,music,golf,,2026-01-01,2026-01-15\n")
    assert values(replay, at(1, 14)) == ("T", "sport")
    assert [values(replay, time)[1] for time in (at(1, 15), at(3, 1), at(4, 2))] == ["music"] * 3
    assert values(replay, at(1, 15), known_by=at(3, 31)) == ("T", "sport")
    assert values(replay, at(3, 1), known_by=at(3, 31)) == ("T", "food")


def test_a_correction_of_the_past_that_comes_again_adds_nothing(replay):
    deliver_video(replay, at(2, 1), video(group="sport"))
    correction = EFFECTIVE + "v1,T,,music,golf,a,2026-01-01,2026-01-15\n"
    for day in (1, 2):
        staged = deliver_video(replay, at(4, day), correction)
    assert staged.file("videos.csv").already_there == 1
    assert len(replay.rows(VIDEO_CATALOG)) == 2
    assert len(replay.rows(VIDEO_TAGS)) == 1


@pytest.mark.parametrize(
    ("effective", "start"), [("2026-01-05", at(1, 5)), ("2025-06-01", at(1, 1))]
)
def test_a_new_video_holds_from_its_effective_time_but_not_before_it_is_published(
    replay, effective, start
):
    deliver_video(replay, at(2, 1), EFFECTIVE + f"v1,T,,music,golf,a,2026-01-01,{effective}\n")
    assert not replay.as_of(VIDEO_CATALOG, start - timedelta(microseconds=1), NEVER)
    assert replay.tags(start, known_by=start) == {"a"}
    assert values(replay, start, known_by=start) == ("T", "music")


def test_an_effective_time_after_the_delivery_is_refused(replay):
    staged = deliver_video(replay, at(2, 1), EFFECTIVE + "v1,T,,,,,2026-01-01,2026-02-02\n")
    assert staged.rejected("video_catalog") == [(1, "future_time")]


# --- classes


def test_classes_that_differ_in_case_or_space_are_one_in_the_spelling_first_delivered(replay):
    lines = ["v1,A,,Slow Music,x,,", "v2,B,,slow  music|Other| OTHER,X,,"]
    replay(at(2, 1), videos=VIDEOS + "\n".join(lines), impressions=IMPRESSIONS)
    replay(at(3, 1), videos=VIDEOS + "v3,C,,SLOW MUSIC|other,X ,,\n", impressions=IMPRESSIONS)
    rows = {
        r["video_id"]: (r["primary_classes"], r["secondary_classes"])
        for r in replay.rows(VIDEO_CATALOG)
    }
    assert rows == {
        "v1": (["Slow Music"], ["x"]),
        "v2": (["Slow Music", "Other"], ["x"]),
        "v3": (["Slow Music", "Other"], ["x"]),
    }


def test_another_spelling_of_a_class_is_no_change(replay):
    deliver_video(replay, at(2, 1), video(group="Sport"))
    staged = deliver_video(replay, at(3, 1), video(group="SPORT"))
    assert staged.file("videos.csv").already_there == 1
    assert len(replay.rows(VIDEO_CATALOG)) == 1


# --- tags of the catalogue


def test_a_tag_that_is_no_longer_listed_ends_at_the_delivery(replay):
    deliver_video(replay, at(2, 1), video("piano|racket"))
    staged = deliver_video(replay, at(3, 1), video("piano|live"))
    assert replay.tags(at(2, 28), NEVER) == {"piano", "racket"}
    assert replay.tags(at(3, 1), NEVER) == {"piano", "live"}
    assert replay.tags(at(3, 1), known_by=at(2, 28)) == {"piano", "racket"}
    assert staged.delivery.already_there["video_tags"] == 1  # piano
    deliver_video(replay, at(3, 2), video("piano|live"))
    assert len(replay.rows(VIDEO_TAGS)) == 4


def test_a_tag_that_is_listed_again_holds_again(replay):
    for month, tags in ((2, "a"), (3, ""), (4, "A")):
        deliver_video(replay, at(month, 1), video(tags))
    assert states(replay, "a") == [
        (at(1, 1), at(1, 1), True),
        (at(3, 1), at(3, 1), False),
        (at(4, 1), at(4, 1), True),
    ]
    assert {row["spelling"] for row in replay.rows(VIDEO_TAGS)} == {"a", None}  # the first one


def test_only_videos_of_the_delivery_lose_tags(replay):
    lines = ["v1,A,,,,a|b,2026-01-01", "v2,B,,,,a|b,2026-01-01"]
    replay(at(2, 1), videos=VIDEOS + "\n".join(lines), impressions=IMPRESSIONS)
    replay(at(3, 1), videos=VIDEOS + lines[0].replace("|b", "") + "\n", impressions=IMPRESSIONS)
    assert replay.tags(at(3, 1), NEVER) == {"a"}
    assert replay.tags(at(3, 1), NEVER, "v2") == {"a", "b"}


def test_a_correction_of_the_past_corrects_tags_too(replay):
    deliver_video(replay, at(2, 1), video("a|b"))
    deliver_video(replay, at(3, 1), video("b"))
    deliver_video(replay, at(4, 1), EFFECTIVE + "v1,T,,sport,golf,a|c,2026-01-01,2026-01-15\n")
    assert replay.tags(at(1, 14), NEVER) == {"a", "b"}
    for time in (at(1, 15), at(3, 1), at(4, 2)):
        assert replay.tags(time, NEVER) == {"a", "c"}
    assert replay.tags(at(3, 1), known_by=at(3, 31)) == {"b"}


# --- tags of the tags file


def test_a_list_does_not_touch_tags_of_the_tags_file(replay):
    deliver_video(replay, at(2, 1), video("a|b"), tags="v1,b,2026-01-10,\nv1,c,2026-01-10,\n")
    deliver_video(replay, at(3, 1), video(""))
    assert replay.tags(at(2, 28), NEVER) == {"a", "b", "c"}
    assert replay.tags(at(3, 1), NEVER) == {"b", "c"}


def test_a_listed_tag_that_the_tags_file_gives_later_is_the_tags_files_from_then_on(replay):
    deliver_video(replay, at(2, 1), video("a"))
    deliver_video(replay, at(3, 1), video("a"), tags="v1,A,2026-01-20,\n")
    assert replay.tags(at(1, 1), NEVER) == {"a"}  # it holds since it was listed
    deliver_video(replay, at(4, 1), video(""))
    assert replay.tags(at(4, 1), NEVER) == {"a"}


@pytest.mark.parametrize("listed", ["a", ""])
def test_a_tag_is_taken_back_at_a_time_and_the_same_files_again_change_nothing(replay, listed):
    deliver_video(replay, at(2, 1), video("a"))
    for day in (1, 2):
        staged = deliver_video(replay, at(4, day), video(listed), tags="v1,a,,2026-03-01\n")
    assert replay.tags(at(2, 28), NEVER) == {"a"}
    assert replay.tags(at(3, 1), NEVER) == set()
    assert replay.tags(at(3, 1), known_by=at(3, 31)) == {"a"}  # nobody knew it yet
    assert states(replay, "a") == [(at(1, 1), at(1, 1), True), (at(3, 1), at(4, 1), False)]
    assert staged.file("tags.csv").already_there == 1
    assert staged.file("videos.csv").already_there == 1


def test_an_old_withdrawal_in_the_file_ends_a_tag_that_was_listed_again(replay):
    taken_back = "v1,a,,2026-01-10\n"
    deliver_video(replay, at(2, 1), video("a"), tags=taken_back)
    deliver_video(replay, at(3, 1), video("a"))
    assert replay.tags(at(3, 1), NEVER) == {"a"}
    deliver_video(replay, at(4, 1), video("a"), tags=taken_back)  # the file says so again
    assert [replay.tags(time, NEVER) for time in (at(3, 31), at(4, 1))] == [{"a"}, set()]


def test_a_new_tag_has_its_whole_past_at_once(replay):
    tags = "v1,a,2026-01-05,2026-01-10\nv1,A,2026-01-20,\nv1,b,2026-01-05,2026-01-05\n"
    for day in (1, 2):
        deliver_video(replay, at(2, day), video(), tags=tags)
    assert states(replay, "a") == [
        (at(1, 5), at(1, 5), True),
        (at(1, 10), at(1, 10), False),
        (at(1, 20), at(1, 20), True),
    ]
    assert states(replay, "b") == []  # it held at no time


def test_a_tag_that_goes_and_comes_at_one_time_stays(replay):
    tags = "v1,a,2026-01-05,2026-01-10\nv1,a,2026-01-10,\n"
    deliver_video(replay, at(2, 1), video(), tags=tags)
    assert states(replay, "a") == [(at(1, 5), at(1, 5), True)]


def test_an_earlier_time_of_a_known_tag_is_known_from_its_delivery_on(replay):
    deliver_video(replay, at(2, 1), video(), tags="v1,a,2026-01-20,\n")
    deliver_video(replay, at(3, 1), video(), tags="v1,a,2026-01-10,\n")
    assert replay.tags(at(1, 15), NEVER) == {"a"}
    assert replay.tags(at(1, 15), known_by=at(2, 28)) == set()


def test_a_tag_that_is_given_again_after_its_end_holds_again(replay):
    deliver_video(replay, at(2, 1), video(), tags="v1,a,2026-01-05,2026-01-10\n")
    deliver_video(replay, at(3, 1), video(), tags="v1,a,2026-02-20,\n")
    assert [replay.tags(time, NEVER) for time in (at(1, 12), at(2, 20))] == [set(), {"a"}]


def test_a_new_videos_listed_tag_ends_where_the_same_delivery_takes_it_back(replay):
    deliver_video(replay, at(2, 1), video("a"), tags="v1,a,,2026-01-10\n")
    assert states(replay, "a") == [(at(1, 1), at(1, 1), True), (at(1, 10), at(1, 10), False)]


def test_the_spelling_of_a_tag_is_kept_for_display(replay):
    deliver_video(replay, at(2, 1), video("Slow\t Motion|GOLF"), tags="v1,New York,2026-01-10,\n")
    spellings = {(r["tag"], r["spelling"], r["source"]) for r in replay.rows(VIDEO_TAGS)}
    assert spellings == {
        ("slow motion", "Slow Motion", "catalogue"),
        ("golf", "GOLF", "catalogue"),
        ("new york", "New York", "tags"),
    }
