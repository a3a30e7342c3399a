"""What a delivery in the folder format becomes: times, removals, tags, events."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from small_delivery import GOOD, IMPRESSIONS, NOW, TAGS, VIDEOS, known

from vidtopics.cli.show import file_notes
from vidtopics.contracts import INPUTS, rejected
from vidtopics.errors import InputError
from vidtopics.ingest import Source, recognise, stage
from vidtopics.settings import IngestSettings
from vidtopics.tables.schemas import arrow_schema

LOG_START = datetime(2026, 2, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)


def at(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def times(rows: list[dict[str, object]], *keys: str) -> list[tuple[object, ...]]:
    return [
        tuple(row[key] for key in (*keys, "event_timestamp", "created_timestamp")) for row in rows
    ]


def test_every_table_has_exactly_its_contracts_columns(deliver):
    import pyarrow.parquet as pq

    staged = deliver()
    tables = [*INPUTS, *map(rejected, INPUTS)]
    assert set(staged.delivery.staged) == {table.name for table in tables}
    for table in tables:
        columns = table.timed_columns
        schema = pq.read_schema(staged.delivery.staged[table.name])
        assert schema.equals(arrow_schema(table, columns)), table.name


def test_reports_count_rows_of_each_file(deliver):
    staged = deliver(impressions=GOOD["impressions"] + "u3,v3,2026-02-01,0\n")
    file = staged.file("impressions.csv")
    assert (file.rows, file.accepted, file.rejected_share) == (3, 2, pytest.approx(1 / 3))
    assert file.refused["unknown_video"].examples == (
        "row 3: expected a video_id of the catalogue, found 'v3'",
    )
    assert [f.name for f in staged.delivery.files] == ["impressions.csv", "videos.csv"]


def test_examples_are_the_first_ten(deliver):
    staged = deliver(impressions=IMPRESSIONS + "u,v9,2026-02-01,0\n" * 12)
    tally = staged.file("impressions.csv").refused["unknown_video"]
    assert tally.count == 12
    assert [example.split(":")[0] for example in tally.examples] == [
        f"row {i}" for i in range(1, 11)
    ]


# --- times


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-02", at(1, 2)),
        ("2026-01-02T03:00", at(1, 2, 3)),
        ("2026-01-02 03:00:00", at(1, 2, 3)),
        ("2026-01-02T03:00:00Z", at(1, 2, 3)),
        ("2026-01-02T05:00:00+02:00", at(1, 2, 3)),
        ("2026-01-01T21:30-0530", at(1, 2, 3)),
        ("2026-01-02T03:00:00.123456789Z", at(1, 2, 3) + timedelta(microseconds=123456)),
        ("1767322800", at(1, 2, 3)),  # 20,455 days and 3 hours: 20455 * 86400 + 10800
        ("1767322800.25", at(1, 2, 3) + timedelta(milliseconds=250)),
        ("1.7673228e9", at(1, 2, 3)),
        ("-1", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_times_are_iso_8601_or_unix_seconds(deliver, text, time):
    staged = deliver(videos=VIDEOS + f"v1,Title,,,,,{text}\n", impressions=IMPRESSIONS)
    assert staged.tables["video_catalog"][0]["published_at"] == time


def test_a_new_video_holds_from_its_publication_else_from_the_logs_start(deliver):
    catalogue = deliver().tables["video_catalog"]
    assert times(catalogue, "video_id") == [
        ("v1", at(1, 1), at(1, 1)),
        ("v2", LOG_START, LOG_START),
    ]


def test_without_a_log_an_undated_video_holds_from_the_delivery(deliver):
    catalogue = deliver(impressions=IMPRESSIONS).tables["video_catalog"]
    assert times(catalogue, "video_id")[1] == ("v2", NOW, NOW)


def test_a_refused_impression_does_not_start_the_log(deliver):
    staged = deliver(impressions=IMPRESSIONS + "u1,v9,2026-01-15,0\nu1,v1,2026-02-01T10:00:00Z,1\n")
    assert staged.tables["video_catalog"][1]["published_at"] == LOG_START


def test_a_removed_video_has_two_rows(deliver):
    header = VIDEOS.strip() + ",removed_at\n"
    staged = deliver(
        videos=header
        + "v1,Title,,,,,2026-01-01,2026-01-05\nv2,Undated,,,,,,2026-01-03\n"
        + "v3,At once,,,,,2026-01-01,2026-01-01\n",
        impressions=IMPRESSIONS,
    )
    rows = times(staged.tables["video_catalog"], "video_id", "published_at", "removed_at")
    assert rows == [
        ("v1", at(1, 1), None, at(1, 1), at(1, 1)),
        ("v1", at(1, 1), at(1, 5), at(1, 5), at(1, 5)),
        ("v2", at(1, 3), at(1, 3), at(1, 3), at(1, 3)),  # no younger than its removal
        ("v3", at(1, 1), at(1, 1), at(1, 1), at(1, 1)),
    ]


def test_impressions_are_known_when_they_say_and_clicks_once_both_are(deliver):
    header = IMPRESSIONS.strip() + ",clicked_at,created_timestamp,event_id,watch_seconds\n"
    lines = [
        "u,v1,2026-02-01,1,,,a,2.5",  # all at once
        "u,v1,2026-02-01,1,2026-02-03,2026-02-02,b,",  # known on the 2nd, clicked on the 3rd
        "u,v1,2026-02-01,1,2026-02-02,2026-02-03,c,0",  # clicked on the 2nd, known on the 3rd
        "u,v1,2026-02-01,0,,2026-02-02,d,",
    ]
    staged = deliver(impressions=header + "\n".join(lines))
    assert times(staged.tables["impressions"], "event_id") == [
        ("a", at(2, 1), at(2, 1)),
        ("b", at(2, 1), at(2, 2)),
        ("c", at(2, 1), at(2, 3)),
        ("d", at(2, 1), at(2, 2)),
    ]
    assert times(staged.tables["clicks"], "event_id", "watch_seconds") == [
        ("a", 2.5, at(2, 1), at(2, 1)),
        ("b", None, at(2, 3), at(2, 3)),
        ("c", 0.0, at(2, 2), at(2, 3)),
    ]


# --- tags


def test_tags_are_folded_and_as_old_as_their_video(deliver):
    videos = VIDEOS + "v1,Title,,,,  Slow\t Motion|GOLF||golf | ,2026-01-01\n"
    staged = deliver(videos=videos, impressions=IMPRESSIONS)
    assert times(staged.tables["video_tags"], "tag") == [
        ("golf", at(1, 1), at(1, 1)),
        ("slow motion", at(1, 1), at(1, 1)),
    ]


def test_the_first_time_of_a_tag_counts(deliver):
    tags = (
        TAGS
        + "v1,New,2026-03-02\nv1,new,2026-03-01\nv1,golf,2026-03-01\n"
        + "v2,undated,\nv1,early,2025-12-01\nv1, ,2026-03-01\n"
    )
    staged = deliver(tags=tags)
    assert times(staged.tables["video_tags"], "video_id", "tag") == [
        ("v1", "early", datetime(2025, 12, 1, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC)),
        ("v1", "golf", at(1, 1), at(1, 1)),
        ("v1", "new", at(3, 1), at(3, 1)),
        ("v1", "slow", at(1, 1), at(1, 1)),
        ("v2", "undated", LOG_START, LOG_START),
    ]
    assert staged.file("tags.csv").warnings["empty_tag"].examples == (
        "row 6: expected a tag, found none",
    )
    file = staged.file("tags.csv")
    assert (file.rows, file.accepted, file.left_out) == (6, 5, 1)  # the empty tag is left out


def test_a_bad_tag_in_a_videos_list_costs_that_tag_alone(deliver):
    staged = deliver(
        videos=VIDEOS + f"v1,Title,,,,good|{'x' * 129}|{'y' * 200}|b\x01d,2026-01-01\n",
        impressions=IMPRESSIONS,
    )
    assert [row["tag"] for row in staged.tables["video_tags"]] == ["good"]
    assert staged.rejected("video_tags") == [(1, "control_character"), (1, "long_tag")]
    file = staged.file("videos.csv")
    assert (file.accepted, file.warnings["long_tag"].count) == (1, 1)
    detail = staged.tables["video_tags_rejected"][1]["detail"]
    assert [part[-9:] for part in detail.split("; ")] == ["129 bytes", "200 bytes"]


def test_classes_keep_their_order_and_are_listed_once(deliver):
    row = deliver(videos=VIDEOS + "v1,T,,b| a |b|,,,\n", impressions=IMPRESSIONS).tables[
        "video_catalog"
    ][0]
    assert (row["primary_classes"], row["secondary_classes"]) == (["b", "a"], [])


# --- videos delivered before


def test_the_row_of_a_known_video_says_what_holds_now(deliver):
    earlier = known(("v1", at(1, 1)), ("v2", at(1, 6)), ("v2", at(1, 7)), ("v0", at(1, 1)))
    staged = deliver(known=earlier, impressions=IMPRESSIONS + "u,v0,2026-02-01,0\n")
    assert times(staged.tables["video_catalog"], "video_id", "published_at") == [
        ("v1", at(1, 1), NOW, NOW),
        ("v2", at(1, 7), NOW, NOW),  # undated: as it was, not the start of this delivery's log
    ]
    assert times(staged.tables["video_tags"], "tag") == [("golf", NOW, NOW), ("slow", NOW, NOW)]
    assert [row["video_id"] for row in staged.tables["impressions"]] == ["v0"]


def test_a_known_video_that_was_removed_has_one_row(deliver):
    videos = VIDEOS.strip() + ",removed_at\nv1,Title,,,,,2026-01-01,2026-01-05\n"
    staged = deliver(videos=videos, impressions=IMPRESSIONS, known=known(("v1", at(1, 1))))
    assert times(staged.tables["video_catalog"], "removed_at") == [(at(1, 5), NOW, NOW)]


# --- event ids


def test_a_missing_event_id_is_a_hash_of_the_row_alone(deliver):
    rows = ["u1,v1,2026-02-01,1", "u1,v1,2026-02-02,1", "u1,v2,2026-02-01,1", "u2,v1,2026-02-01,1"]
    first = deliver(impressions=IMPRESSIONS + "\n".join(rows)).tables["impressions"]
    again = deliver(
        impressions=IMPRESSIONS + "\n".join(reversed(rows)).replace("2026-02-02", "1769990400")
    ).tables["impressions"]
    ids = [row["event_id"] for row in first]
    assert len(set(ids)) == 4
    assert [row["event_id"] for row in again] == ids[::-1]


# --- files


def test_parquet_and_csv_give_the_same_rows(deliver, tmp_path):
    folder = deliver.folder(tags=TAGS + "v1,new,2026-03-01\n")
    tables = {
        name: pa_csv.read_csv(folder / f"{name}.csv") for name in ("videos", "impressions", "tags")
    }
    parquet = deliver.root / "parquet"
    parquet.mkdir()
    import pyarrow.parquet as pq

    for (
        name,
        table,
    ) in tables.items():  # published_at is date32 there, clicked int64, times timestamp[s, UTC]
        pq.write_table(table, parquet / f"{name}.parquet")
    assert str(tables["impressions"].schema.field("event_timestamp").type) == "timestamp[s, tz=UTC]"
    assert deliver.stage(parquet).tables == deliver.stage(folder).tables


def test_parquet_columns_of_any_plain_type(deliver):
    zone = timezone(timedelta(hours=2))
    impressions = pa.table(
        {
            "user_id": pa.array([7, 8, 9]),
            "video_id": pa.array(["v1", "v1", "v2"]).dictionary_encode(),
            "event_timestamp": pa.array(
                [datetime(2026, 2, 1, 2, tzinfo=zone)] * 3, pa.timestamp("ms", "Africa/Maputo")
            ),
            "clicked": pa.array([True, False, True]),
            "clicked_at": pa.array([1769904000.5, None, None]),
            "watch_seconds": pa.array([1.5, None, 2.0], pa.float32()),
            "position": pa.array([1, 2, 3], pa.int8()),
            "event_id": pa.array([b"a", b"b", b"c"]),
            "created_timestamp": pa.array([date(2026, 2, 2)] * 3),
        }
    )
    staged = deliver(impressions=impressions)
    assert times(staged.tables["impressions"], "user_id", "event_id", "position") == [
        ("7", "a", 1, at(2, 1), at(2, 2)),
        ("8", "b", 2, at(2, 1), at(2, 2)),
        ("9", "c", 3, at(2, 1), at(2, 2)),
    ]
    assert staged.tables["clicks"][0]["event_timestamp"] == at(2, 1) + timedelta(milliseconds=500)


@pytest.mark.parametrize("batch_rows", [2, 100_000])
def test_bad_values_in_parquet_are_named_by_row(deliver, batch_rows):
    impressions = pa.table(
        {
            "user_id": pa.array([b"u", b"\xff", b"u", b"u\0", b"u", b"x" * (1 << 20)]),
            "video_id": pa.array(["v1"] * 6),
            "event_timestamp": pa.array([at(2, 1)] * 2 + [None] + [at(2, 1)] * 3),
            "clicked": pa.array([1] * 6),
            "watch_seconds": pa.array([1.0, 1.0, 1.0, 1.0, float("nan"), 1.0]),
        }
    )
    folder = deliver.folder(impressions=impressions)
    staged = deliver.stage(folder, batch_rows=batch_rows)
    assert staged.rejected("impressions") == [
        (2, "not_utf8"),
        (3, "bad_time"),
        (4, "nul_byte"),
        (6, "overlong_row"),
    ]
    assert staged.rejected("clicks") == [(5, "not_finite")]
    assert len(staged.tables["impressions"]) == 1


@pytest.mark.parametrize("batch_rows", [1, 3, 100_000])
def test_nothing_depends_on_the_batch_size(deliver, batch_rows):
    lines = [f'u{i},v1,2026-02-01,{i % 3},"a\nb{i}"' for i in range(40)]
    folder = deliver.folder(impressions=IMPRESSIONS.strip() + ",event_id\n" + "\n".join(lines))
    assert deliver.stage(folder, batch_rows=batch_rows).tables == deliver.stage(folder).tables


def test_a_byte_order_mark_and_windows_line_ends_are_fine(deliver):
    plain = deliver()
    windows = {
        name: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() for name, text in GOOD.items()
    }
    assert deliver(**windows).tables == plain.tables


def test_unknown_columns_are_ignored_with_a_warning(deliver):
    staged = deliver(
        impressions="user_id,video_id,event_timestamp,clicked,clickedat\nu,v1,2026-02-01,1,soon\n"
    )
    report = staged.file("impressions.csv")
    (example,) = report.warnings["unknown_column"].examples
    assert example.endswith("found 'clickedat'")
    assert file_notes(report) == [
        "impressions.csv: unknown_column 1, the first are",
        f"  {example}",
    ]
    assert len(staged.tables["clicks"]) == 1


# --- what stops a delivery


def fails(deliver, match: str, **files: str | bytes | pa.Table) -> None:
    folder = deliver.folder(**files)
    into = deliver.root / "into"
    with pytest.raises(InputError, match=match):
        stage(Source("folder", folder), into, IngestSettings(), delivered_at=NOW)
    assert list(into.iterdir()) == []


def test_too_many_refused_rows_stop_the_delivery(deliver):
    rows = "u,v1,2026-02-01,0\n" + "u,v1,2026-02-02,0\n" + "u,v9,2026-02-01,0\n"
    match = (
        r"impressions.csv: expected at most 5.0% refused rows, found 33.3% \(1 of 3\)[^$]*"
        r"unknown_video 1: row 3: expected a video_id of the catalogue, found 'v9'"
    )
    fails(deliver, match, impressions=IMPRESSIONS + rows)


def test_a_missing_column_is_named_with_the_nearest_one(deliver):
    match = (
        r"videos.csv: expected a column 'published_at', found missing_column, .*"
        r" Mend: rename 'publish_at' to 'published_at'"
    )
    fails(deliver, match, videos=VIDEOS.replace("published_at", "publish_at"))
    fails(
        deliver,
        r"impressions.parquet: expected a column 'user_id'",
        impressions=pa.table({"x": [1]}),
    )


def test_a_column_that_is_there_twice(deliver):
    fails(
        deliver,
        "expected one column 'clicked', found several",
        impressions=IMPRESSIONS.strip() + ",clicked\n",
    )


@pytest.mark.parametrize("content", ["video_id,title\n".encode("utf-16-le"), b"\xff\n", b"", b"\n"])
def test_a_file_without_a_readable_header(deliver, content):
    fails(deliver, "videos.csv: expected (a header|a CSV file|text)", videos=content)


def test_a_parquet_column_that_is_no_plain_value(deliver):
    impressions = pa.table(
        {"user_id": [["u"]], "video_id": ["v1"], "event_timestamp": [at(2, 1)], "clicked": [1]}
    )
    fails(
        deliver,
        r"impressions.parquet, user_id: expected text, number or time, found list",
        impressions=impressions,
    )


def test_a_damaged_parquet_file(deliver, tmp_path):
    folder = deliver.folder()
    (folder / "impressions.csv").unlink()
    (folder / "impressions.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(InputError, match=r"impressions.parquet: expected a Parquet file"):
        stage(Source("folder", folder), tmp_path / "into", IngestSettings())


def test_a_parquet_file_with_a_damaged_page(deliver, tmp_path):
    import pyarrow.parquet as pq

    folder = deliver.folder()
    (folder / "impressions.csv").unlink()
    path = folder / "impressions.parquet"
    table = pa.table(
        {name: [str(i) for i in range(5000)] for name in IMPRESSIONS.strip().split(",")}
    )
    pq.write_table(table, path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[50:2000] = bytes(1950)
    path.write_bytes(data)
    with pytest.raises(
        InputError, match=r"impressions.parquet: expected a file that can be read to its end"
    ):
        stage(Source("folder", folder), tmp_path / "into", IngestSettings())
    assert list((tmp_path / "into").iterdir()) == []


def test_a_failure_while_writing_leaves_nothing_staged(deliver, tmp_path, monkeypatch):
    def full(work):
        assert (tmp_path / "into" / "video_catalog.parquet").exists()
        raise OSError("no space left on device")

    monkeypatch.setattr("vidtopics.ingest.tag_history.write", full)
    with pytest.raises(OSError, match="no space"):
        stage(Source("folder", deliver.folder()), tmp_path / "into", IngestSettings())
    assert list((tmp_path / "into").iterdir()) == []


def test_staged_files_of_another_delivery_are_not_mixed_in(deliver, tmp_path):
    (tmp_path / "clicks.parquet").touch()
    with pytest.raises(InputError, match="expected an empty directory"):
        stage(Source("folder", deliver.folder()), tmp_path, IngestSettings())
    assert (tmp_path / "clicks.parquet").exists()


# --- formats


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["videos.csv", "impressions.parquet"], "folder"),
        (["movies.csv", "ratings.csv", "posters"], "movielens"),
    ],
)
def test_a_delivery_is_recognised_by_its_files(tmp_path, files, kind):
    for name in files:
        (tmp_path / name).touch()
    assert recognise(tmp_path) == kind


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ([], "found an empty directory"),
        (["videos.csv", "log.csv"], "found log.csv, videos.csv"),
        (["videos.csv", "impressions.csv", "movies.csv", "ratings.csv"], "expected one delivery"),
    ],
)
def test_anything_else_is_an_error(tmp_path, files, match):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=match):
        recognise(tmp_path)
    with pytest.raises(InputError, match="expected a directory"):
        recognise(tmp_path / "nowhere")


def test_one_of_two_files_is_not_chosen_silently(deliver):
    folder = deliver.folder()
    (folder / "videos.parquet").touch()
    with pytest.raises(
        InputError, match=r"expected one file videos.csv or videos.parquet, found both"
    ):
        deliver.stage(folder)
