"""The folder: its format, its bytes, its bounds."""

import hashlib
import json
import shutil
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vidtopics.errors import InputError, SettingsError
from vidtopics.ingest import Source, recognise, stage
from vidtopics.settings import IngestSettings, SimulationSettings
from vidtopics.simulation import World, impressions, write_world, writer
from vidtopics.simulation.loop import simulate

SMALL = SimulationSettings(users=600, videos=200, days=4, cover_pixels=48)
START = datetime(2026, 1, 1, tzinfo=UTC)
TIME = pa.timestamp("us", tz="UTC")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("simulation") / "world"
    return path, write_world(SMALL, path, seed=7)


def digests(path):
    files = sorted(f for f in path.rglob("*") if f.is_file())
    return {str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_columns_and_types(folder):
    path, _ = folder
    text = pa.string()
    expected = {
        "videos": dict.fromkeys(
            ("video_id", "title", "cover", "primary_class", "secondary_class", "tags"), text
        )
        | {"published_at": TIME},
        "tags": {"video_id": text, "tag": text, "event_timestamp": TIME},
        "impressions": {
            "user_id": text,
            "video_id": text,
            "event_timestamp": TIME,
            "clicked": pa.int8(),
            "clicked_at": TIME,
            "watch_seconds": pa.float32(),
            "request_id": text,
            "position": pa.int32(),
            "event_id": text,
            "propensity": pa.float32(),
        },
    }
    for name, columns in expected.items():
        schema = pq.read_schema(path / f"{name}.parquet")
        assert dict(zip(schema.names, schema.types, strict=True)) == columns


def test_the_reader_of_customers_folders_takes_every_row(folder, tmp_path):
    path, summary = folder
    assert recognise(path) == "folder"
    reports = {
        f.name: f
        for f in stage(Source("folder", path), tmp_path / "staged", IngestSettings()).files
    }
    assert {name: report.accepted for name, report in reports.items()} == {
        "videos.parquet": 200,
        "tags.parquet": summary.late_tags,
        "impressions.parquet": summary.impressions,
    }
    assert not any(report.refused or report.warnings for report in reports.values())


def test_the_summary_counts_what_is_there(folder):
    path, summary = folder
    log, videos = (
        pq.read_table(path / "impressions.parquet"),
        pq.read_table(path / "videos.parquet"),
    )
    given = sum(len(tags.split("|")) for tags in videos["tags"].to_pylist() if tags)
    late = pq.read_metadata(path / "tags.parquet").num_rows
    assert (summary.videos, summary.users) == (videos.num_rows, 600)
    assert summary.impressions == log.num_rows
    assert summary.clicks == pc.sum(log["clicked"]).as_py()
    assert summary.active_users == len(pc.unique(log["user_id"]))
    assert (summary.tags, summary.late_tags) == (given + late, late)
    assert summary.covers == len(list((path / "covers").iterdir())) == 200
    assert late > 0


def test_every_cover_is_where_the_catalogue_says(folder):
    path, _ = folder
    for cover in pq.read_table(path / "videos.parquet")["cover"].to_pylist():
        with Image.open(path / cover) as image:
            assert (image.size, image.mode) == ((48, 48), "RGB")


def test_the_log_keeps_its_own_rules(folder):
    path, _ = folder
    log = pq.read_table(path / "impressions.parquet")
    published = dict(
        zip(
            *(
                pq.read_table(path / "videos.parquet")[c].to_pylist()
                for c in ("video_id", "published_at")
            ),
            strict=True,
        )
    )
    rows = log.to_pylist()
    assert len({row["event_id"] for row in rows}) == len(rows)
    assert all(published[row["video_id"]] < row["event_timestamp"] for row in rows)
    assert min(row["event_timestamp"] for row in rows) >= START
    for row in rows:
        after = [row["clicked_at"], row["watch_seconds"]]
        if row["clicked"]:
            assert (
                timedelta(seconds=0.9) < after[0] - row["event_timestamp"] < timedelta(seconds=3.1)
            )
            assert after[1] > 0
        else:
            assert after == [None, None]


def test_a_request_is_a_slate_of_distinct_videos(folder):
    path, _ = folder
    log = pq.read_table(path / "impressions.parquet").select(["request_id", "video_id", "position"])
    grouped = log.group_by("request_id").aggregate(
        [("video_id", "count_distinct"), ("position", "sum"), ("position", "count")]
    )
    assert set(grouped["video_id_count_distinct"].to_pylist()) == {8}
    assert set(grouped["position_count"].to_pylist()) == {8}
    assert set(grouped["position_sum"].to_pylist()) == {36}


def test_a_user_does_one_thing_at_a_time(folder):
    path, _ = folder
    last = {}
    for row in pq.read_table(path / "impressions.parquet").to_pylist():
        assert last.get(row["user_id"], START) <= row["event_timestamp"]
        watched = timedelta(seconds=(row["watch_seconds"] or 0) - 0.001)
        last[row["user_id"]] = (row["clicked_at"] or row["event_timestamp"]) + watched


def test_late_tags_are_later_than_publication_and_not_later_than_the_log(folder):
    path, _ = folder
    videos = {row["video_id"]: row for row in pq.read_table(path / "videos.parquet").to_pylist()}
    for row in pq.read_table(path / "tags.parquet").to_pylist():
        video = videos[row["video_id"]]
        assert video["published_at"] < row["event_timestamp"] < START + timedelta(days=4)
        assert row["tag"] not in video["tags"].split("|")


def test_new_videos_are_shown_from_the_midnight_after_their_publication(folder):
    path, _ = folder
    videos = pq.read_table(path / "videos.parquet").to_pylist()
    new = {v["video_id"]: v["published_at"] for v in videos if v["published_at"] >= START}
    shown = [
        r for r in pq.read_table(path / "impressions.parquet").to_pylist() if r["video_id"] in new
    ]
    assert shown
    assert all(r["event_timestamp"].date() > new[r["video_id"]].date() for r in shown)


def test_truth_is_what_is_planted(folder):
    path, _ = folder
    world = World.build(SMALL, 7)
    videos, users = (
        pq.read_table(path / "truth" / f"{name}.parquet") for name in ("videos", "users")
    )
    assert videos["topic"].to_pylist() == world.items.topic.tolist()
    assert np.array_equal(
        np.array(videos["taste"].to_pylist(), dtype=np.float32), world.items.taste
    )
    interests = np.array(users["interests"].to_pylist(), dtype=np.float32)
    assert np.array_equal(interests.reshape(600, 4, 16), world.users.interests)
    known = json.loads((path / "truth" / "settings.json").read_text())
    assert (known["seed"], known["click_intercept"]) == (7, world.click_intercept)
    assert SimulationSettings(**known["settings"]) == SMALL


def test_poisoned_latents_change_no_byte_of_what_is_read(folder, tmp_path):
    """What jobs and consumers get are the staged files: a world's truth has no way into them."""
    path, _ = folder
    poisoned = tmp_path / "poisoned"
    shutil.copytree(path, poisoned)
    stage(Source("folder", poisoned), tmp_path / "first", IngestSettings())
    for name in ("videos", "users"):
        file = poisoned / "truth" / f"{name}.parquet"
        latents = pq.read_table(file)
        backwards = latents.take(pa.array(range(latents.num_rows - 1, -1, -1)))
        pq.write_table(backwards.set_column(0, latents.field(0), latents.column(0)), file)
    (poisoned / "truth" / "settings.json").write_text("{}")
    stage(Source("folder", poisoned), tmp_path / "second", IngestSettings())
    first, second = digests(tmp_path / "first"), digests(tmp_path / "second")
    assert first
    assert first == second


COMMANDS = ("demo", "ingest", "live_day", "live_processes", "live_report", "simulate")


def test_only_commands_policies_of_experiments_and_the_ceiling_import_the_simulation():
    """What learns from a world's log knows nothing of the world."""
    root = Path(__file__).parents[2]
    importers = {
        str(file.relative_to(root))
        for folder in ("vidtopics", "producers", "consumers", "spark_jobs", "feature_repo")
        for file in (root / folder).rglob("*.py")
        if "vidtopics.simulation" in file.read_text() and file.parent.name != "simulation"
    }
    allowed = ("consumers/policies/", "vidtopics/evaluate/ceiling/")
    others = {path for path in importers if not path.startswith(allowed)}
    assert others == {f"vidtopics/cli/{verb}.py" for verb in COMMANDS}


def test_the_same_bytes_again_and_others_with_another_seed(folder, tmp_path):
    path, _ = folder
    write_world(SMALL, tmp_path / "again", seed=7)
    assert digests(tmp_path / "again") == digests(path)
    write_world(SMALL, tmp_path / "again", seed=8)
    other, first = digests(tmp_path / "again"), digests(path)
    assert other.keys() == first.keys()
    assert not set(other.values()) & set(first.values())


@pytest.mark.parametrize(
    ("threads", "block"), [(1, 37), (1, 100_000), (numba.config.NUMBA_NUM_THREADS, 101)]
)
def test_neither_threads_nor_blocks_change_a_byte(folder, tmp_path, block, threads):
    path, _ = folder
    numba.set_num_threads(threads)
    write_world(
        SMALL.model_copy(update={"covers": False}), tmp_path / "w", seed=7, block_users=block
    )
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    log = "impressions.parquet"
    assert digests(tmp_path / "w")[log] == digests(path)[log]


def test_row_groups_are_bounded_and_hold_every_row_once(folder, tmp_path, monkeypatch):
    path, _ = folder
    monkeypatch.setattr(impressions, "ROW_GROUP", 1_000)
    monkeypatch.setattr(writer, "VIDEOS", 64)
    write_world(SMALL, tmp_path / "w", seed=7)
    for name in ("impressions", "videos", "tags"):
        assert pq.read_table(tmp_path / "w" / f"{name}.parquet").equals(
            pq.read_table(path / f"{name}.parquet")
        )
    metadata = pq.read_metadata(tmp_path / "w" / "impressions.parquet")
    rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert set(rows[:-1]) == {1_000}
    assert rows[-1] <= 1_000


def test_memory_does_not_grow_with_the_days():
    def peak(days):
        world = World.build(SimulationSettings(users=500, videos=200, days=days), 7)
        tracemalloc.start()
        rows = sum(batch.slates.size for batch in simulate(world, block=64))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return rows, used

    peak(1)
    (few, small), (many, large) = peak(2), peak(8)
    assert many > 3 * few
    assert large < 1.1 * small


def test_without_covers_the_column_is_empty_and_no_folder_is_made(tmp_path):
    settings = SimulationSettings(users=10, videos=50, days=1, topics=40, tags=200, covers=False)
    assert write_world(settings, tmp_path / "w", seed=7).covers == 0
    assert set(pq.read_table(tmp_path / "w" / "videos.parquet")["cover"].to_pylist()) == {""}
    assert not (tmp_path / "w" / "covers").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"w: expected a new or empty folder"):
        write_world(SMALL, tmp_path / "w", seed=7)
    assert [f.name for f in tmp_path.rglob("*")] == ["w", "thesis.tex"]


def test_an_interrupted_run_leaves_the_earlier_world(tmp_path, monkeypatch):
    settings = SimulationSettings(users=10, videos=50, days=1, topics=40, tags=200, covers=False)
    write_world(settings, tmp_path / "w", seed=7)
    before = digests(tmp_path / "w")

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "write_truth", fail)
    with pytest.raises(KeyboardInterrupt):
        write_world(settings, tmp_path / "w", seed=8)
    assert digests(tmp_path / "w") == before


def test_a_pool_smaller_than_a_slate_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(
        SettingsError, match=r"simulation\.videos: expected a slate of 8 videos on the first day"
    ):
        write_world(SimulationSettings(users=10, videos=7), tmp_path / "w", seed=7)
    assert not (tmp_path / "w").exists()
