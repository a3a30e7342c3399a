"""MovieLens as a delivery: a small folder by hand, the real one by its known counts."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small_delivery import NOW, Staged, known

from vidtopics.ingest import Source, stage
from vidtopics.settings import IngestSettings

DATA = Path(
    os.environ.get("VIDTOPICS_MOVIELENS", Path(__file__).parents[3] / "shared/data/movielens")
)
FILES = {
    "movies.csv": 'movieId,title,genres\n1,"Matrix, The (1999)",Action\n2,Cosmos,\n'
    "3,Late Film (2020),Drama\n4,Early (2015),\n",
    "classes.csv": "movieId,primary_class,secondary_class\n1,Action,Action/Sci-Fi\n3,Drama,Drama\n",
    "ratings.csv": "userId,movieId,rating,timestamp\n7,1,4.0,1000000000\n7,2,3.5,1100000000\n"
    "8,3,4.5,1200000000\n8,9,5.0,900000000\n",
    "tags.csv": "userId,movieId,tag,timestamp,source\n-1,1,cult,-1,k\n7,2,space,1050000000,u\n"
    "8,2,space,1040000000,u\n",
}


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.fixture
def movielens(tmp_path: Path) -> Path:
    folder = tmp_path / "movielens"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def read(folder: Path, into: Path, known=None, **settings) -> Staged:
    delivery = stage(
        Source("movielens", folder), into, IngestSettings(**settings), known, delivered_at=NOW
    )
    return Staged(
        delivery, {name: pq.read_table(path).to_pylist() for name, path in delivery.staged.items()}
    )


def test_films_appear_when_they_could_first_be_seen(movielens, tmp_path):
    staged = read(movielens, tmp_path / "into", max_rejected_share=1)
    films = {row["video_id"]: row for row in staged.tables["video_catalog"]}
    assert {film: row["event_timestamp"] for film, row in films.items()} == {
        "1": at(1_000_000_000),  # 1999-01-01 lies before the log's start, 2001-09-09
        "2": at(1_040_000_000),  # no year: its first dated tag, before its first rating
        "3": at(1_200_000_000),  # rated before the year of its title
        "4": datetime(2015, 1, 1, tzinfo=UTC),  # never rated: the year of its title
    }
    assert (
        films["1"]["title"],
        films["1"]["primary_classes"],
        films["1"]["secondary_classes"],
    ) == (
        "The Matrix",
        ["Action"],
        ["Action/Sci-Fi"],
    )
    assert films["2"]["primary_classes"] == []
    assert films["1"]["published_at"] == films["1"]["created_timestamp"] == at(1_000_000_000)


def test_ratings_are_clicks_and_tags_have_their_first_time(movielens, tmp_path):
    staged = read(movielens, tmp_path / "into", max_rejected_share=1)
    assert [row["video_id"] for row in staged.tables["impressions"]] == ["1", "2", "3"]
    impressions = {row["event_id"]: row["video_id"] for row in staged.tables["impressions"]}
    assert [impressions[row["event_id"]] for row in staged.tables["clicks"]] == ["1", "3"]
    assert staged.rejected("impressions") == [(4, "unknown_video")]
    assert [(row["tag"], row["event_timestamp"]) for row in staged.tables["video_tags"]] == [
        ("cult", at(1_000_000_000)),  # undated: as old as the film
        ("space", at(1_040_000_000)),
    ]


def test_the_rating_that_counts_as_a_click_is_a_setting(movielens, tmp_path):
    staged = read(movielens, tmp_path / "into", max_rejected_share=1, click_rating=3.5)
    assert len(staged.tables["clicks"]) == 3


def test_a_film_keeps_its_publication_whatever_a_later_log_says(movielens, tmp_path):
    staged = read(
        movielens, tmp_path / "into", known(("2", at(5)), ("4", at(6))), max_rejected_share=1
    )
    films = {
        row["video_id"]: (row["published_at"], row["event_timestamp"])
        for row in staged.tables["video_catalog"]
    }
    assert (films["2"], films["4"]) == ((at(5), NOW), (at(6), NOW))


def test_a_rating_that_is_no_number_and_classes_that_conflict(movielens, tmp_path):
    (movielens / "ratings.csv").write_text(FILES["ratings.csv"] + "9,1,good,1200000000\n")
    (movielens / "classes.csv").write_text(FILES["classes.csv"] + "1,Drama,Drama\n3,Drama,Drama\n")
    staged = read(movielens, tmp_path / "into", max_rejected_share=1)
    assert staged.rejected("clicks") == [(5, "bad_clicked")]
    assert (
        staged.tables["clicks_rejected"][0]["detail"]
        == "expected clicked 0, 1, true or false, found 'rating good'"
    )
    assert staged.rejected("video_catalog") == [(1, "conflicting_rows"), (3, "conflicting_rows")]
    films = {row["video_id"]: row["primary_classes"] for row in staged.tables["video_catalog"]}
    assert (films["1"], films["3"]) == ([], ["Drama"])


@pytest.mark.slow
@pytest.mark.movielens
@pytest.mark.skipif(
    not DATA.is_dir(), reason="no MovieLens folder; VIDTOPICS_MOVIELENS may name one"
)
def test_the_real_folder_gives_its_known_counts(tmp_path):
    staged = read(DATA, tmp_path / "into")
    rows = {name: len(table) for name, table in staged.tables.items()}
    with (DATA / "tags.csv").open(encoding="utf-8") as file:
        tags = list(csv.DictReader(file))
    first = defaultdict(set)
    for tag in tags:
        if len(tag["tag"].encode()) <= 128:
            first[tag["movieId"], " ".join(tag["tag"].split())].add(int(tag["timestamp"]))
    assert rows == {
        "video_catalog": 9_517,
        "video_catalog_rejected": 0,
        "video_tags": len(first),
        "video_tags_rejected": 9,
        "impressions": 100_836 - 507,
        "impressions_rejected": 507,
        "clicks": 48_307,
        "clicks_rejected": 0,
    }
    assert staged.file("movies.csv").warnings == {}
    assert all(row["cover"] for row in staged.tables["video_catalog"])
    starts = {row["video_id"]: row["event_timestamp"] for row in staged.tables["video_catalog"]}
    assert min(starts.values()) == min(
        row["event_timestamp"] for row in staged.tables["impressions"]
    )
    assert all(
        starts[row["video_id"]] <= row["event_timestamp"] for row in staged.tables["impressions"]
    )
    dated = {
        (row["video_id"], row["tag"]): row["event_timestamp"] for row in staged.tables["video_tags"]
    }
    for (film, tag), seconds in first.items():
        known_since = {starts[film] if s == -1 else at(s) for s in seconds}
        assert dated[film, tag] == min(known_since), (film, tag)
