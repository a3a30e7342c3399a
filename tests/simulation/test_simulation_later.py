"""The videos of the days after a log: their delivery, and that an experiment asks for it."""

import pyarrow.parquet as pq
import pytest

from vidtopics.cli import homes
from vidtopics.cli.common import run
from vidtopics.ingest import Source, ingest, recognise
from vidtopics.settings import SimulationSettings, load
from vidtopics.simulation import World, write_world
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.later import write_later
from vidtopics.tables import Tables

SMALL = SimulationSettings(users=80, videos=100, days=3, topics=40, tags=200, covers=False)


@pytest.fixture(scope="module")
def delivery(tmp_path_factory):
    path = tmp_path_factory.mktemp("later") / "delivery"
    write_later(World.build(SMALL, 7, later_days=4), path)
    return path


def test_it_has_the_videos_behind_the_logs_and_no_impressions(delivery, tmp_path):
    write_world(SMALL, tmp_path / "log", seed=7)
    first = pq.read_table(tmp_path / "log" / "videos.parquet")
    videos = pq.read_table(delivery / "videos.parquet").to_pylist()
    count = int(0.05 * 91 * 4)  # 91 videos are older than the log of 100
    assert [v["video_id"] for v in videos] == [f"v{100 + n:07d}" for n in range(count)]
    last_day = start_of(SMALL) + 2 * DAY
    assert all(v["published_at"].timestamp() * 1e6 >= last_day for v in videos)
    assert max(first["published_at"].to_pylist()) < videos[0]["published_at"]
    assert sum(bool(v["tags"]) for v in videos) > 0.8 * count
    assert pq.read_metadata(delivery / "impressions.parquet").num_rows == 0


def test_what_was_there_is_replaced(delivery, tmp_path):
    world = World.build(SMALL, 7, later_days=4)
    write_later(world, tmp_path / "d")
    (tmp_path / "d" / "videos.parquet").write_bytes(b"")
    write_later(world, tmp_path / "d")
    assert (tmp_path / "d" / "videos.parquet").read_bytes() == (
        delivery / "videos.parquet"
    ).read_bytes()


def test_an_experiment_wants_a_home_that_knows_its_videos(delivery, tmp_path, capsys):
    config = tmp_path / "world.yaml"
    config.write_text(f"simulation: {SMALL.model_dump(mode='json')}\n")
    settings, home = load(config), tmp_path / "home"
    write_world(SMALL, tmp_path / "log", seed=settings.seed)
    ingest(Tables(home), Source("folder", tmp_path / "log"), settings.ingest)
    homes.keep(home, settings)
    options = ["--home", str(home), "--days", "2+2", "--groups", "2", "--arms", "popular,topics"]
    command = ["simulate", "ab", str(tmp_path / "out"), *options]
    assert run(command) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "expected the videos of 4 days after its log, up to v0000117, found fewer" in error
    assert f"Mend: vidtopics simulate later --home {home} --days 4" in error
    assert recognise(delivery) == "folder"
    ingest(Tables(home), Source("folder", delivery), settings.ingest)
    assert run(command) == 2  # nothing was released
    assert "v0000117" not in capsys.readouterr().err
