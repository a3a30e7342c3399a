"""The demo on a delivery too small for its figures: it leaves them out and ends with the page."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from vidtopics import server
from vidtopics.online import OnlineClient

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_small_folder_goes_all_the_way(tmp_path):
    folder, home = tmp_path / "data", tmp_path / "home"
    (folder / "covers").mkdir(parents=True)
    classes = {"primary_class": "music", "published_at": "2026-01-02"}
    videos = [
        {
            "video_id": f"v{i}",
            "title": f"piano number {i}",
            "cover": f"covers/{i}.jpg",
            "secondary_class": f"s{i % 3}",
        }
        | {"tags": "piano|rain" if i % 2 else "piano|sun"}
        | classes
        for i in range(30)
    ]
    for i in range(30):
        Image.new("RGB", (32, 32), (i * 8, 80, 255 - i * 8)).save(folder / "covers" / f"{i}.jpg")
    shown = [
        {
            "user_id": "u1",
            "video_id": f"v{i}",
            "event_timestamp": f"2026-01-03T10:00:{i:02}Z",
            "clicked": i % 2,
        }
        for i in range(6)
    ]
    for name, rows in (("videos", videos), ("impressions", shown)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    config = yaml.safe_load((ROOT / "conf" / "demo.yaml").read_text(encoding="utf-8")) | {
        "topics": {"clusters": 4}
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    verb = [
        "demo",
        "--data",
        str(folder),
        "--home",
        str(home),
        "--config",
        str(tmp_path / "small.yaml"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", "from vidtopics.cli import main; main()", *verb],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k not in ("REDIS_URL", "SPARK_MASTER")},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        assert (
            "Table I: left out. held-out videos: expected at least 20 with classes" in done.stdout
        )
        assert "Ranking" in done.stdout
        topics = OnlineClient.from_url(server.start(home)).read("video_topics", ["v1", "v99"])
        assert topics.present.tolist() == [True, False]
        assert "piano" in (home / "explore.html").read_text(encoding="utf-8")
    finally:
        server.stop(home)
