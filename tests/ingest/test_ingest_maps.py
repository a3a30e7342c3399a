"""Exports of other names and units are read by a map; what it lacks is said by its column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_delivery import GOOD, NOW, Deliver

from vidtopics.cli.common import run
from vidtopics.contracts import IMPRESSIONS, INPUTS
from vidtopics.errors import InputError, SettingsError
from vidtopics.ingest import Source, arrivals, ingest, stage
from vidtopics.ingest.delivery_maps import COLUMNS, DeliveryMap, read_delivery_map
from vidtopics.ingest.inbox import Inbox
from vidtopics.settings import IngestSettings
from vidtopics.tables import Tables

SETTINGS = IngestSettings()
MAP = """
videos:
  fields: {video_id: item, title: name, cover: null, primary_class: genre, secondary_class: genre}
impressions:
  fields: {user_id: viewer, video_id: item, event_timestamp: shown_ms}
  time_unit: ms
"""
THEIRS = {
    "videos": "item,Name,genre,tags,published_at,title\n"
    "v1,Slow motion,sport,golf|slow,2026-01-01,not this\nv2,Bread,food,,,\n",
    "impressions": "viewer,item,shown_ms,clicked,event_timestamp\n"
    "u1,v1,1769940000000,1,yesterday\nu2,v2,1769943600250,0,today\n",
}
OURS = {
    "videos": "video_id,title,cover,primary_class,secondary_class,tags,published_at\n"
    "v1,Slow motion,,sport,sport,golf|slow,2026-01-01\nv2,Bread,,food,food,,\n",
    # 1,769,940,000 s is 2026-02-01 10:00 UTC: 20,485 days and 10 hours
    "impressions": "user_id,video_id,event_timestamp,clicked\n"
    "u1,v1,2026-02-01T10:00:00Z,1\nu2,v2,2026-02-01T11:00:00.25Z,0\n",
}


def written(folder: Path, text: str) -> Path:
    file = folder / "map.yaml"
    file.write_text(text)
    return file


@pytest.fixture
def fields(tmp_path: Path) -> DeliveryMap:
    return read_delivery_map(written(tmp_path, MAP))


def rows_of(folder: Path, into: Path, fields: DeliveryMap) -> dict[str, list[object]]:
    source = Source("folder", folder, fields)
    staged = stage(source, into, SETTINGS, delivered_at=NOW).staged
    return {t.name: pq.read_table(staged[t.name]).to_pylist() for t in INPUTS}


def as_parquet(csv: str) -> pa.Table:
    header, *lines = (line.split(",") for line in csv.splitlines())
    columns = dict(zip(header, map(list, zip(*lines, strict=True)), strict=True))
    whole = {"shown_ms", "clicked"}
    return pa.table(
        {name: [int(v) for v in vs] if name in whole else vs for name, vs in columns.items()}
    )


@pytest.mark.parametrize("kind", [str, as_parquet], ids=["csv", "parquet"])
def test_mapped_files_give_what_files_of_our_names_give(
    deliver: Deliver, tmp_path: Path, fields: DeliveryMap, kind
) -> None:
    theirs = deliver.folder(**{name: kind(text) for name, text in THEIRS.items()})
    ours = deliver.folder(**OURS)
    rows = rows_of(theirs, tmp_path / "theirs", fields)
    assert rows == rows_of(ours, tmp_path / "ours", DeliveryMap())
    assert [len(rows[t.name]) for t in INPUTS] == [2, 2, 2, 1]


def test_a_column_in_whose_place_another_was_named_is_said_to_be_ignored(
    deliver: Deliver, tmp_path: Path, fields: DeliveryMap
) -> None:
    source = Source("folder", deliver.folder(**THEIRS), fields)
    delivery = stage(source, tmp_path / "into", SETTINGS, delivered_at=NOW)
    ignored = {f.name: f.warnings["unknown_column"].examples for f in delivery.files}
    expected = "expected item, name, genre, genre, tags, published_at, removed_at, effective_from"
    assert ignored["videos.csv"] == (f"{expected}, found 'title'",)
    assert ignored["impressions.csv"][0].endswith("found 'event_timestamp'")


def test_a_named_column_that_is_not_there_is_an_error_even_where_it_is_optional(
    deliver: Deliver, tmp_path: Path
) -> None:
    folder = deliver.folder(impressions="user_id,video_id,at,clicked,seconds\nu1,v1,2026,1,2\n")
    fields = {"event_timestamp": "at", "watch_seconds": "second"}
    source = Source("folder", folder, DeliveryMap(impressions={"fields": fields}))
    with pytest.raises(InputError) as error:
        stage(source, tmp_path / "into", SETTINGS, delivered_at=NOW)
    assert str(error.value) == (
        "impressions.csv: expected a column 'second', as watch_seconds, found missing_column, only"
        " user_id, video_id, at, clicked, seconds. Mend: write 'seconds' for watch_seconds into the"
        " file of --map, or null if there is no such column."
    )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("videos: {fields: {titel: name}}", "map.yaml, videos: .*not 'titel'.*did you mean title"),
        ("videos: {title: name}", "map.yaml, videos.title"),
        ("movies: {fields: {}}", "map.yaml, movies"),
        ("tags: {time_unit: minutes}", "map.yaml, tags.time_unit"),
        ("impressions: {fields: {user_id: ''}}", "map.yaml, impressions.fields.user_id"),
        ("- videos", "map.yaml: expected keys and values"),
    ],
)
def test_a_wrong_map_is_refused_by_key(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(SettingsError, match=wrong):
        read_delivery_map(written(tmp_path, text))


def test_the_same_files_by_another_map_are_another_delivery(
    deliver: Deliver, tmp_path: Path, fields: DeliveryMap
) -> None:
    source = Source("folder", deliver.folder(**OURS))
    other = replace(source, fields=fields)
    assert arrivals.content_of(source) != arrivals.content_of(other)
    assert arrivals.content_of(other) == arrivals.content_of(replace(source, fields=fields))


def test_the_inbox_reads_deliveries_by_the_map_and_knows_those_that_are_published(
    deliver: Deliver, tmp_path: Path, fields: DeliveryMap
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    inbox = Inbox(home)
    inbox.make()
    folder = deliver.folder(**THEIRS)
    folder.rename(inbox.inbox / "day-1")
    with inbox.held():
        taken, errors = arrivals.take_deliveries(Tables(home), inbox, SETTINGS, fields=fields)
    assert ([t.outcome for t in taken], errors) == (["ingested"], [])
    assert Tables(home).delta(IMPRESSIONS).to_pyarrow_table().num_rows == 2
    source = Source("folder", taken[0].path, fields)
    assert arrivals.is_published(Tables(home), source, since=0)


def test_the_command_takes_the_page_s_map(
    deliver: Deliver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
    example = page.partition("### Other names\n")[2].partition("```yaml\n")[2].partition("```")[0]
    file, home = written(tmp_path, example), tmp_path / "home"
    folder = deliver.folder(
        videos="item,name,genre,labels,published_at\nv1,Bread,food,crust,2026-01-01\n",
        impressions="viewer,item,shown_ms,clicked\nu1,v1,1769940000000,1\n",
    )
    command = ["ingest", "folder", str(folder), "--home", str(home)]
    assert run(command) == 2
    assert "videos.csv: expected a column 'video_id'" in capsys.readouterr().err
    assert run([*command, "--map", str(file)]) == 0
    assert Tables(home).delta(IMPRESSIONS).to_pyarrow_table().num_rows == 1


def test_movielens_has_its_own_names(tmp_path: Path, fields: DeliveryMap) -> None:
    for name in ("movies.csv", "ratings.csv", "classes.csv", "tags.csv"):
        (tmp_path / name).write_text("movieId\n")
    with pytest.raises(InputError, match="leave out --map"):
        ingest(Tables(tmp_path / "home"), Source("movielens", tmp_path, fields), SETTINGS)


def test_each_file_of_the_folder_format_may_be_mapped() -> None:
    assert set(DeliveryMap.model_fields) == set(COLUMNS)
    assert set(GOOD) < set(COLUMNS)
