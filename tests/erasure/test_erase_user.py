"""`vidtopics erase user`: nothing of a person remains, and everything of the others does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import erasure_world as world
import pyarrow.parquet as pq
import pytest
import redis
from erasure_world import HER, OTHERS

from vidtopics.cli import common, homes
from vidtopics.contracts import IMPRESSIONS, TABLES, USER_STATISTICS
from vidtopics.online import OnlineClient
from vidtopics.tables import Tables


@pytest.fixture
def home(tmp_path: Path, store: redis.Redis, valkey: str, monkeypatch: Any) -> Path:
    made = world.build(tmp_path, store, releases=1)
    homes.keep(made.tables.home, made.settings)
    monkeypatch.setenv("REDIS_URL", valkey)
    return made.tables.home


def run(capsys: Any, home: Path, *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = common.run([*words, "--home", str(home)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def rows_of_others(tables: Tables) -> dict[str, list[Any]]:
    """All rows of every version of every table that are not hers, in plain Python."""
    rows = {}
    for table in TABLES.values():
        if tables.exists(table):
            for version in range(tables.version(table) + 1):
                plain = tables.read(table, version=version).to_pylist()
                others = [r for r in plain if r.get("user_id") != HER and not is_hers(r)]
                rows[f"{table.name} {version}"] = sorted(map(repr, others))
    return rows


def is_hers(row: dict[str, Any]) -> bool:
    """Of dead letters and refused rows."""
    texts = [row.get("event") or "", row.get("detail") or ""]
    return any(HER in text or json.dumps(HER)[1:-1] in text for text in texts)


def test_no_trace_of_her_remains_and_all_of_the_others_does(home, store, capsys):
    tables = Tables(home)
    before = rows_of_others(tables)
    count = len(pq.read_table(home / "sets" / "one.parquet"))
    videos = OnlineClient(store).live_statistics(world.VIDEOS)
    assert len(world.traces(home, HER)) > 10
    assert world.redis_traces(store, HER)
    status, out, err = run(capsys, home, "erase", "user", HER, "--request", "r1")
    assert status == 0, out + err
    assert world.traces(home, HER) == []
    assert world.redis_traces(store, HER) == []
    after = rows_of_others(tables)
    assert {name: after[name] for name in before} == before
    assert set(tables.read(IMPRESSIONS)["user_id"].to_pylist()) == set(OTHERS)
    assert set(tables.read(USER_STATISTICS)["user_id"].to_pylist()) == set(OTHERS)
    sets = pq.read_table(home / "sets" / "one.parquet")
    assert len(sets) == count * 3 // 4
    assert (
        run(capsys, home, "releases")[1]
        .splitlines()[-1]
        .startswith("Releases up to 1 are without 1 erased (request r1, ")
    )
    model = json.loads((home / "models" / "ranking" / "model.json").read_text())
    assert model["users"] == ["", *OTHERS]
    client = OnlineClient(store)
    clicks = client.live_user(OTHERS[0])
    assert clicks.exposures > 0
    assert client.live_user(HER).exposures == 0
    again = client.live_statistics(world.VIDEOS)
    assert again.exposures.tolist() == videos.exposures.tolist()
