"""`vidtopics export user` gives all that is held of a person, and of nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import erasure_world as world
import pyarrow.parquet as pq
import pytest
from erasure_world import HER, OTHERS, USERS
from events_home import VIDEOS, SmallHome, now_us

from vidtopics.cli import common, homes


@pytest.mark.slow
def test_all_that_a_home_and_its_redis_hold(tmp_path, store, valkey, capsys, monkeypatch):
    home = SmallHome(tmp_path)
    events = world.log(now_us() - 3_600_000_000, "d-", number=8)
    home.deliver(events)
    home.release()
    home.load(store)
    world.send(home, store)
    world.serve(home, store)
    world.save_sets(home)
    root = home.tables.home
    homes.keep(root, home.settings)
    (outside := tmp_path / "outside").mkdir()
    pq.write_table(pq.read_table(root / "sets" / "one.parquet"), outside / "far.parquet")
    monkeypatch.setenv("REDIS_URL", valkey)
    words = ["export", "user", HER, "--home", str(root), "--also", str(outside)]
    capsys.readouterr()
    assert common.run(words) == 0
    text = capsys.readouterr().out
    assert not any(other in text for other in OTHERS if other not in served_together(root))
    held = json.loads(text)
    shown = {row["event_id"] for row in held["tables"]["impressions"]}
    assert {e.event for e in events if e.user == HER} < shown
    assert all(row["user_id"] == HER for row in held["tables"]["clicks"])
    assert len(held["tables"]["dead_events"]) == 2
    assert {"user_statistics", "user_recent_clicks", "user_recent_skips"} < {*held["tables"]}
    files = {
        Path(path).relative_to(tmp_path).as_posix(): rows for path, rows in held["files"].items()
    }
    assert len(files["outside/far.parquet"]) == len(files["home/sets/one.parquet"]) == 3
    assert len(files["home/sets/two"]) == 6
    assert files["home/sets/spine.csv"] == [{"user_id": HER, "n": "1"}]
    assert files["home/logs/requests.jsonl"] == [{"user_id": HER, "candidates": VIDEOS}]
    (online,) = held["redis"].values()
    clicked = [e.video for e in events if e.user == HER and e.clicked_us]
    assert set(online["values"]["user_recent_clicks"]["recent_video_ids"]) == {*clicked}
    assert online["values"]["user_statistics"]["user_exposures"] == 2
    assert {event["u"] for event in online["events"]} == {HER}
    assert {letter["reason"] for letter in online["dead_letters"]} == {"bad_time"}
    assert len(online["held_back"]) == 1
    assert online["live"][0]["exposures"] > 0


def served_together(root: Path) -> set[str]:
    """Users whose values a reader asked for in one request with hers."""
    lines = [json.loads(line) for p in (root / "logs" / "served").iterdir() for line in p.open()]
    return {i for line in lines if HER in line["ids"] for i in line["ids"]} & {*USERS}
