"""A world's log as deliveries, day by day: the same rows as in one folder, and readable."""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from vidtopics.cli.common import run
from vidtopics.contracts import IMPRESSIONS, VIDEO_CATALOG
from vidtopics.errors import InputError
from vidtopics.ingest import Source, ingest
from vidtopics.settings import IngestSettings, SimulationSettings
from vidtopics.simulation import write_world
from vidtopics.simulation.deliveries import write_deliveries
from vidtopics.tables import Tables

SETTINGS = SimulationSettings(users=60, videos=120, days=4, tags=200, cover_pixels=24)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("deliveries")
    lines = []
    whole = write_world(SETTINGS, root / "whole", seed=7)
    by_day = write_deliveries(SETTINGS, root / "days", seed=7, progress=lines.append)
    return root, whole, by_day, lines


def days(root):
    return sorted((root / "days").glob("day=*"))


def read(folders, name):
    return pa.concat_tables([pq.read_table(folder / f"{name}.parquet") for folder in folders])


def test_all_days_together_are_the_world_in_one_folder(folders):
    root, whole, by_day, _ = folders
    assert [day.name for day in days(root)] == [f"day=2026-01-0{i}" for i in range(1, 5)]
    log = pq.read_table(root / "whole" / "impressions.parquet")
    assert read(days(root), "impressions").equals(log)
    for name in ("videos", "tags"):
        order = [(column, "ascending") for column in ("video_id", "tags", "tag")]
        one, many = pq.read_table(root / "whole" / f"{name}.parquet"), read(days(root), name)
        keys = [key for key in order if key[0] in one.column_names]
        assert many.sort_by(keys).equals(one.sort_by(keys)), name
    same = ("videos", "users", "active_users", "impressions", "clicks", "tags", "late_tags")
    assert [getattr(by_day, name) for name in same] == [getattr(whole, name) for name in same]
    assert by_day.covers == SETTINGS.videos


def test_covers_and_truth_are_the_same_bytes(folders):
    root = folders[0]

    def digests(paths):
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    covers = [path for day in days(root) for path in (day / "covers").glob("*")]
    assert digests(covers) == digests((root / "whole" / "covers").iterdir())
    truths = [digests((root / name / "truth").iterdir()) for name in ("days", "whole")]
    assert truths[0] == truths[1]


def test_a_day_has_what_was_known_by_its_end(folders):
    """Its videos and tags are of the day, the first one's also older; sessions begin on it."""
    root = folders[0]
    for number, folder in enumerate(days(root)):
        start = datetime(2026, 1, 1 + number, tzinfo=UTC)
        end = start + timedelta(days=1)
        times = pa.chunked_array(
            pq.read_table(folder / f"{name}.parquet")[column].chunk(0)
            for name, column in (("videos", "published_at"), ("tags", "event_timestamp"))
        )
        assert pc.max(times).as_py() < end
        assert number == 0 or pc.min(times).as_py() >= start
        log = pq.read_table(folder / "impressions.parquet")
        sessions = {text.split("-")[1] for text in log["request_id"].to_pylist()}
        assert sessions == {f"{number:03d}"}


def test_each_day_is_read_as_a_delivery_after_the_others(folders, tmp_path):
    root, whole = folders[:2]
    tables = Tables(tmp_path / "home")
    for folder in days(root):
        result = ingest(tables, Source("folder", folder), IngestSettings())
        for file in result.files:
            assert not file.refused
            assert set(file.warnings) <= {"no_rows"}  # nothing is published on the last day
    assert tables.read(IMPRESSIONS).num_rows == whole.impressions
    assert tables.read(VIDEO_CATALOG).num_rows >= SETTINGS.videos


def test_progress_says_what_is_left(folders):
    lines = folders[3]
    assert len(lines) == SETTINGS.days
    assert re.fullmatch(r"day 2 of 4, [\d,]+ impressions, \d+ s left", lines[1])
    assert lines[-1].endswith("0 s left")


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="expected a new or empty folder"):
        write_deliveries(SETTINGS, tmp_path / "w", seed=7)


def test_the_command_writes_as_many_users_and_days_as_it_is_given(tmp_path, capsys):
    config = tmp_path / "small.yaml"
    config.write_text("simulation: {videos: 60, tags: 200, covers: false}\n", encoding="utf-8")
    out = tmp_path / "out"
    argv = ["simulate", "world", str(out), "--users", "30", "--days", "2", "--config", str(config)]
    assert run([*argv, "--json"]) == 0
    screen, log = capsys.readouterr()
    report = json.loads(screen)
    assert (report["users"], report["videos"]) == (30, 60)
    assert "day 1 of 2" in log
    assert "s left" in log
    by_day = [pq.read_table(day / "impressions.parquet") for day in sorted(out.glob("day=*"))]
    assert len(by_day) == 2
    assert sum(rows.num_rows for rows in by_day) == report["impressions"] > 0
    assert (out / "truth" / "users.parquet").is_file()
    assert run(argv) == 0
    screen = capsys.readouterr().out
    assert f"2 days, 60 videos, 30 users, {report['impressions']:,} impressions" in screen
