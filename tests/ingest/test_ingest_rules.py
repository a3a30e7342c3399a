"""Each documented reason: the bad row is named, and every good row beside it is accepted."""

from __future__ import annotations

import pytest

from vidtopics.ingest import REFUSALS

VIDEO_HEADER = "video_id,title,cover,primary_class,secondary_class,tags,published_at,removed_at\n"
LOG_HEADER = (
    "user_id,video_id,event_timestamp,clicked,"
    "clicked_at,watch_seconds,request_id,position,event_id,created_timestamp\n"
)
TAG_HEADER = "video_id,tag,event_timestamp,removed_at\n"

BAD_VIDEOS = [
    (",Title,,,,,,", "empty_id"),
    ("x" * 129 + ",Title,,,,,,", "long_id"),
    ("é" * 65 + ",130 bytes,,,,,,", "long_id"),
    ("bad\tid,Title,,,,,,", "control_character"),
    ("bad\u0085id,C1 control,,,,,,", "control_character"),
    ("x,Title,,,,,yesterday,", "bad_time"),
    ("x,Title,,,,,2026-02-30,", "bad_time"),
    ("x,Title,,,,,1767225600000,", "bad_time"),  # milliseconds
    ("x,Title,,,,,1/2/2026,", "bad_time"),
    ("x,Title,,,,,2026-01-01T00:00:00+99:00,", "bad_time"),
    ("x,Title,,,,,1899-12-31T23:59:59Z,", "early_time"),
    ("x,Title,,,,,2026-11-23T12:00:01Z,", "future_time"),
    ("x,Title,,,,,,tomorrow", "bad_time"),
    ("x,Title,,,,,2026-02-02,2026-02-01", "removed_before_published"),
    ("x,Title,../cover.jpg,,,,,", "cover_outside_folder"),
    ("x,Title,/etc/passwd,,,,,", "cover_outside_folder"),
    ("x,Title,,,,,2026-01-01", "field_count"),
    ("x,Title,,,,,2026-01-01,,", "field_count"),
    ('x,"Title,,,,,,', "malformed_row"),
    ('x,"Ti"tle,,,,,,', "malformed_row"),
    ("x,Ti\rtle,,,,,,", "malformed_row"),
    ("x,Ti\0tle,,,,,,", "nul_byte"),
    (b"x,Caf\xe9,,,,,,", "not_utf8"),
    ("x," + "y" * (1 << 20) + ",,,,,,", "overlong_row"),
]
BAD_IMPRESSIONS = [
    (",v1,2026-02-01,0,,,,,,", "empty_id"),
    ("u,,2026-02-01,0,,,,,,", "empty_id"),
    ("u,v1,2026-02-01,0,,,r\x7f,,,", "control_character"),
    ("u,v1,2026-02-01,0,,,,," + "e" * 129 + ",", "long_id"),
    ("u,v1,,0,,,,,,", "bad_time"),
    ("u,v1,nan,0,,,,,,", "bad_time"),
    ("u,v1,2026-02-01,0,,,,,,then", "bad_time"),
    ("u,v1,1800-01-01,0,,,,,,", "early_time"),
    ("u,v1,2027-01-01,0,,,,,,", "future_time"),
    ("u,v1,2026-02-01,0,,,,,,2026-01-31T23:59:59.999999", "created_before_event"),
    ("u,v1,2026-02-01,0,,,,0,,", "bad_position"),
    ("u,v1,2026-02-01,0,,,,1.5,,", "bad_position"),
    ("u,v1,2026-02-01,0,,,,2147483648,,", "bad_position"),
    ("u,v9,2026-02-01,0,,,,,,", "unknown_video"),
    ("u,v9,2026-02-01,1,,,,,,", "unknown_video"),
    ("u,v1,2026-02-01,0", "field_count"),
]
BAD_CLICKS = [
    ("u,v1,2026-02-01,2,,,,,,", "bad_clicked"),
    ("u,v1,2026-02-01,,,,,,,", "bad_clicked"),
    ("u,v1,2026-02-01,yes,,,,,,", "bad_clicked"),
    ("u,v1,2026-02-01,truthy,,,,,,", "bad_clicked"),
    ("u,v1,2026-02-01,False,2026-02-02,,,,,", "contradicting_click"),
    ("u,v1,2026-02-01,1,soon,,,,,", "bad_time"),
    ("u,v1,2026-02-01,1,2026-01-31T23:59:59Z,,,,,", "click_before_impression"),
    ("u,v1,2026-02-01,0,2026-02-02,,,,,", "contradicting_click"),
    ("u,v1,2026-02-01,1,,NaN,,,,", "not_finite"),
    ("u,v1,2026-02-01,1,,-inf,,,,", "not_finite"),
    ("u,v1,2026-02-01,1,,4e38,,,,", "not_finite"),
    ("u,v1,2026-02-01,1,,12s,,,,", "bad_number"),
    ("u,v1,2026-02-01,1,,-0.5,,,,", "negative_watch"),
]
BAD_TAGS = [
    ("v1," + "t" * 129 + ",,", "long_tag"),
    ("v1,ta\x01g,,", "control_character"),
    ("v9,tag,,", "unknown_video"),
    (",tag,,", "empty_id"),
    ("v1,tag,sometime,", "bad_time"),
    ("v1,tag,,sometime", "bad_time"),
    ("v1,tag,,2027-01-01", "future_time"),
    ("v1,tag,2026-03-02,2026-03-01", "removed_before_given"),
]
CONFLICTS = {"conflicting_rows", "reused_id", "changed_click"}  # need other rows
PARQUET_ALONE = {"inexact_id"}  # test_ingest_parquet_columns.py


def between(header: str, good: list[str], bad: list[str | bytes]) -> bytes:
    """A file in which a good row follows every bad one: bad rows are 1, 3, 5, ..."""
    assert len(good) >= len(bad)
    lines = [
        line if isinstance(line, bytes) else line.encode()
        for pair in zip(bad, good, strict=False)
        for line in pair
    ]
    return header.encode() + b"".join(line + b"\n" for line in lines)


def expected(cases: list[tuple[str | bytes, str]]) -> list[tuple[int, str]]:
    return [(2 * i + 1, reason) for i, (_, reason) in enumerate(cases)]


def test_every_bad_video_is_named_and_every_good_one_kept(deliver):
    good = [f'g{i},"Title, ""{i}""",,,,,2026-01-01,' for i in range(len(BAD_VIDEOS))]
    staged = deliver(
        videos=between(VIDEO_HEADER, good, [line for line, _ in BAD_VIDEOS]), impressions=LOG_HEADER
    )
    assert staged.rejected("video_catalog") == expected(BAD_VIDEOS)
    titles = {row["video_id"]: row["title"] for row in staged.tables["video_catalog"]}
    assert titles == {f"g{i}": f'Title, "{i}"' for i in range(len(good))}


def test_every_bad_impression_and_click_is_named_and_every_good_one_kept(deliver):
    bad = [*BAD_IMPRESSIONS, *BAD_CLICKS]
    good = [f"u,v1,2026-02-01,1,,1.5,,{i + 1},e{i}," for i in range(len(bad))]
    staged = deliver(impressions=between(LOG_HEADER, good, [line for line, _ in bad]))
    named = sorted(staged.rejected("impressions") + staged.rejected("clicks"))
    assert named == expected(bad)
    assert [row for row, _ in staged.rejected("clicks")] == [
        row for row, _ in expected(bad)[len(BAD_IMPRESSIONS) :]
    ]
    assert [row["event_id"] for row in staged.tables["impressions"]] == [
        f"e{i}" for i in range(len(good))
    ]
    assert [row["event_id"] for row in staged.tables["clicks"]] == [
        f"e{i}" for i in range(len(good))
    ]


def test_every_bad_tag_is_named_and_every_good_one_kept(deliver):
    good = [f"v2,tag {i},2026-03-01," for i in range(len(BAD_TAGS))]
    staged = deliver(tags=between(TAG_HEADER, good, [line for line, _ in BAD_TAGS]))
    assert staged.rejected("video_tags") == expected(BAD_TAGS)
    assert {row["tag"] for row in staged.tables["video_tags"]} == {
        f"tag {i}" for i in range(len(good))
    } | {
        "golf",
        "slow",
    }


def test_each_documented_reason_has_a_case_above():
    cases = [*BAD_VIDEOS, *BAD_IMPRESSIONS, *BAD_CLICKS, *BAD_TAGS]
    assert {reason for _, reason in cases} | CONFLICTS | PARQUET_ALONE == set(REFUSALS)


def test_details_say_what_was_expected_and_found(deliver):
    staged = deliver(impressions=LOG_HEADER + "u,v1,yesterday,1,,,,,,\n")
    row = staged.tables["impressions_rejected"][0]
    assert (
        row["detail"] == "expected event_timestamp in ISO 8601 or Unix seconds, found 'yesterday'"
    )
    assert row["file"] == "impressions.csv"
    assert row["file_hash"] == staged.file("impressions.csv").file_hash


@pytest.mark.parametrize(
    "video_id", ["🎬", "فيديو", "e\u0301", "\u00e9", "a b", " a", "\u202eabc", "x" * 128]
)
def test_any_other_unicode_is_a_fine_id_and_stays_as_it_is(deliver, video_id):
    staged = deliver(
        videos=VIDEO_HEADER + f"{video_id},Title,,,,,,\n",
        impressions=LOG_HEADER + f"u,{video_id},2026-02-01,0,,,,,,\n",
    )
    assert [row["video_id"] for row in staged.tables["video_catalog"]] == [video_id]
    assert [row["video_id"] for row in staged.tables["impressions"]] == [video_id]


def test_composed_and_decomposed_ids_are_two_videos(deliver):
    staged = deliver(
        videos=VIDEO_HEADER + "e\u0301,One,,,,,,\n\u00e9,Two,,,,,,\n", impressions=LOG_HEADER
    )
    assert {row["title"] for row in staged.tables["video_catalog"]} == {"One", "Two"}


def test_conflicting_rows_are_all_refused_and_equal_ones_kept_once(deliver):
    videos = VIDEO_HEADER + "".join(
        f"{line}\n"
        for line in (
            "a,One,,,,,2026-01-01,",
            "b,Two,,,,,2026-01-01,",
            "a,Other,,,,,2026-01-01,",
            "b,Two,,,,,2026-01-01T00:00:00Z,",  # the same time, written otherwise
            "b,Two,,,,,never,",  # refused by itself, so no conflict
        )
    )
    staged = deliver(videos=videos, impressions=LOG_HEADER)
    assert staged.rejected("video_catalog") == [
        (1, "conflicting_rows"),
        (3, "conflicting_rows"),
        (5, "bad_time"),
    ]
    assert [row["video_id"] for row in staged.tables["video_catalog"]] == ["b"]
    file = staged.file("videos.csv")
    assert (file.rows, file.accepted, file.left_out, file.refused_rows) == (5, 1, 1, 3)
    assert file.warnings["duplicate_row"].examples == (
        "row 4: expected one row of video_id 'b', found it again after row 2",
    )


def test_clicked_is_read_as_pandas_and_spreadsheets_write_it(deliver):
    texts = ["True", "False", "TRUE", "false", "1", "0", "1.0"]
    lines = [f"u{i},v1,2026-02-01,{text},,,,,,\n" for i, text in enumerate(texts)]
    staged = deliver(impressions=LOG_HEADER + "".join(lines))
    clicked = {row["event_id"] for row in staged.tables["clicks"]}
    users = {r["user_id"] for r in staged.tables["impressions"] if r["event_id"] in clicked}
    assert users == {"u0", "u2", "u4", "u6"}
    assert len(staged.tables["impressions"]) == len(texts)


def test_rows_without_event_id_conflict_when_only_the_click_differs(deliver):
    row = "u,v1,2026-02-01,{},,,r,1,,\n"
    staged = deliver(
        impressions=LOG_HEADER + row.format(0) + row.format(1) + row.format(1).replace("r,1", "r,2")
    )
    assert staged.rejected("impressions") == [(1, "conflicting_rows"), (2, "conflicting_rows")]
    assert [row["position"] for row in staged.tables["impressions"]] == [2]
