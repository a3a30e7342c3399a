"""Deliveries into real tables: what they say, what two at once and a crash leave."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from small_delivery import IMPRESSIONS, VIDEOS, Deliver

from vidtopics.contracts import CLICKS, INPUTS, VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.contracts import IMPRESSIONS as IMPRESSION_TABLE
from vidtopics.errors import InputError, MachineError, TableError
from vidtopics.failpoints import Crash
from vidtopics.ingest import Ingested, Source, ingest, publishing
from vidtopics.settings import IngestSettings
from vidtopics.tables import Tables
from vidtopics.tables.schemas import arrow_schema

VIDEO = VIDEOS + "v1,T,,sport,golf,{},2020-01-01\n"
LOG = IMPRESSIONS.strip() + ",event_id\n"
OURS = LOG + "u1,v1,2020-01-03,1,1\nu2,v1,2020-01-04,0,2\n"
THEIRS = LOG + "u8,v1,2020-01-05,1,2\nu9,v1,2020-01-06,1,9\n"


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path / "home")


def bring(tables: Tables, deliver: Deliver, log: str, tags: str = "a", **options: Any) -> Ingested:
    folder = deliver.folder(videos=VIDEO.format(tags), impressions=log)
    settings = IngestSettings(max_rejected_share=1, max_reused_share=1)
    return ingest(tables, Source("folder", folder), settings, **options)


def clicked_users(tables: Tables) -> dict[str, bool]:
    clicks = set(tables.read(CLICKS)["event_id"].to_pylist())
    rows = tables.read(IMPRESSION_TABLE, columns=["event_id", "user_id"]).to_pylist()
    return {row["user_id"]: row["event_id"] in clicks for row in rows}


def test_a_delivery_that_comes_again_is_there_already(tables, deliver):
    assert bring(tables, deliver, OURS, "a|b").already_there == dict.fromkeys(
        (table.name for table in INPUTS), 0
    )
    again = bring(tables, deliver, OURS, "a|b")
    assert again.already_there == {
        "video_catalog": 1,
        "video_tags": 2,
        "impressions": 2,
        "clicks": 1,
    }
    assert [publication.rows for publication in again.publications] == [0] * 8
    assert [(f.accepted, f.already_there) for f in again.files] == [(0, 2), (0, 1)]


def test_withdrawals_and_corrections_are_published(tables, deliver):
    bring(tables, deliver, OURS, "a|b")
    bring(tables, deliver, OURS, "b|C")
    rows = tables.as_of(VIDEO_TAGS, 2**60, columns=["tag", "spelling"]).sort_by("tag")
    assert rows.to_pylist() == [{"tag": "b", "spelling": "b"}, {"tag": "c", "spelling": "C"}]
    assert tables.read(VIDEO_TAGS).num_rows == 4  # a, its tombstone, b, c


def test_a_delivery_in_between_has_the_whole_judged_anew(tables, deliver, monkeypatch):
    """Another delivery with the same ids commits after ours was judged: no click lands on it."""
    stage = publishing.stage

    def stage_then_lose_the_race(*args: Any, **options: Any) -> Any:
        delivery = stage(*args, **options)
        monkeypatch.setattr(publishing, "stage", stage)
        bring(tables, deliver, THEIRS)
        return delivery

    monkeypatch.setattr(publishing, "stage", stage_then_lose_the_race)
    result = bring(tables, deliver, OURS)
    assert clicked_users(tables) == {"u8": True, "u9": True, "u1": True}
    assert result.files[0].refused["reused_id"].count == 1  # u2's 2 is u8's


@pytest.mark.parametrize("table", [VIDEO_CATALOG, VIDEO_TAGS, IMPRESSION_TABLE, CLICKS])
def test_a_race_before_any_table_leaves_no_click_on_anothers_impression(
    tables, deliver, monkeypatch, table
):
    publish = Tables.publish

    def lose_the_race(self: Tables, target: Any, *args: Any, **options: Any) -> Any:
        if target is table:
            monkeypatch.setattr(Tables, "publish", publish)
            bring(tables, deliver, THEIRS)
        return publish(self, target, *args, **options)

    monkeypatch.setattr(Tables, "publish", lose_the_race)
    bring(tables, deliver, OURS)
    users = clicked_users(tables)
    assert users["u1"]
    assert users["u9"]
    assert users in ({"u1": True, "u8": True, "u9": True}, {"u1": True, "u2": False, "u9": True})


@pytest.mark.parametrize("committed", range(4))
def test_a_delivery_that_died_is_delivered_again_with_its_own_times(
    tables, deliver, monkeypatch, committed
):
    """Tags and clicks of videos and impressions that the attempt brought are not late ones."""
    folder = deliver.folder(videos=VIDEO.format("a"), impressions=OURS)
    publish = Tables.publish

    def die_after(self: Tables, target: Any, *args: Any, **options: Any) -> Any:
        if target is INPUTS[committed]:
            raise Crash(target.name)
        return publish(self, target, *args, **options)

    monkeypatch.setattr(Tables, "publish", die_after)
    with pytest.raises(Crash):
        ingest(tables, Source("folder", folder), IngestSettings())
    monkeypatch.setattr(Tables, "publish", publish)
    ingest(tables, Source("folder", folder), IngestSettings())
    for table in INPUTS:
        rows = tables.read(table)
        assert rows["event_timestamp"].equals(rows["created_timestamp"]), table.name
    assert clicked_users(tables) == {"u1": True, "u2": False}
    assert tables.read(VIDEO_TAGS)["event_timestamp"].to_pylist()[0].year == 2020


def test_a_disk_without_room_for_the_whole_delivery_gets_none_of_it(tables, deliver, monkeypatch):
    room = shutil.disk_usage(tables.home.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room._replace(free=100 * 1024))
    with pytest.raises(
        MachineError, match=r"home: expected room on its disk, 1\d\d kB.*100 kB free"
    ):
        bring(tables, deliver, OURS)
    assert not list(tables.home.iterdir())


def test_a_table_of_an_older_contract_is_named(tables, deliver):
    uri = tables.uri(VIDEO_TAGS)
    os.makedirs(uri)
    write_deltalake(uri, pa.table({"video_id": ["v1"], "tag": ["a"]}), name="video_tags")
    with pytest.raises(
        TableError,
        match=r"expected the columns of video_tags, with spelling, source, found only"
        r" video_id, tag, of another version of vidtopics. Mend: ingest and run into a new home",
    ):
        bring(tables, deliver, OURS)
    assert DeltaTable(uri).version() == 0
    assert not tables.exists(VIDEO_CATALOG)  # nothing half done


def test_a_log_from_before_it_was_partitioned_is_named(tables, deliver):
    uri = tables.uri(CLICKS)
    os.makedirs(uri)
    rows = arrow_schema(CLICKS, CLICKS.timed_columns).empty_table()
    write_deltalake(uri, rows, name="clicks")
    with pytest.raises(
        TableError,
        match=r"expected the columns of clicks, with partition_date, commit_version, found only"
        r" .*, of another version of vidtopics. Mend: ingest and run into a new home",
    ):
        bring(tables, deliver, OURS)
    assert not tables.exists(VIDEO_CATALOG)  # nothing half done


def test_restarted_ids_leave_the_tables_as_they_were(tables, deliver):
    bring(tables, deliver, OURS)
    before = {table.name: tables.version(table) for table in INPUTS}
    folder = deliver.folder(videos=VIDEO.format("other"), impressions=THEIRS)
    with pytest.raises(InputError, match="ids restart in this file"):
        ingest(tables, Source("folder", folder), IngestSettings())
    assert {table.name: tables.version(table) for table in INPUTS} == before


def test_the_command_takes_a_prefix_and_counts_what_is_new(deliver, tmp_path):
    from typer.testing import CliRunner

    from vidtopics.cli.ingest import app

    home = str(tmp_path / "home")
    for prefix, new in (("", 2), ("b-", 2), ("b-", 0)):
        folder = deliver.folder(videos=VIDEO.format("a"), impressions=OURS)
        command = ["folder", str(folder), "--home", home, "--event-id-prefix", prefix]
        result = CliRunner().invoke(app, [*command, "--json"])
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        (log,) = (file for file in report["files"] if file["name"] == "impressions.csv")
        assert (log["accepted"], log["already_there"]) == (new, 2 - new)
        assert report["already_there"]["clicks"] == (0 if new else 1)
