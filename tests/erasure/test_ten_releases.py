"""A home with ten releases, its own server and files kept by it: no byte of a person remains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import erasure_world as world
import pytest
import redis
from erasure_world import HER, OTHERS
from test_erase_user import rows_of_others

from vidtopics import server
from vidtopics.cli import common, homes
from vidtopics.contracts import CLICKS, IMPRESSIONS, USER_RECENT_CLICKS, USER_STATISTICS
from vidtopics.tables import Tables
from vidtopics.tables.schemas import STATS_COLUMNS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
OLD = (IMPRESSIONS, CLICKS, USER_STATISTICS, USER_RECENT_CLICKS)


def test_no_byte_remains(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("vidtopics.tables.configuration", older_configuration)
    monkeypatch.setattr("vidtopics.maintenance.upkeep.SMALL_FILES", 4)
    url = server.start(tmp_path / "home")
    try:
        with redis.Redis.from_url(url) as store:
            store.config_set("rdbcompression", "no")  # so that bytes of its files can be compared
            home = world.build(tmp_path, store, releases=10)
            root = home.tables.home
            homes.keep(root, home.settings)
            assert common.run(["maintain", "--home", str(root)]) == 0
            statistics = logs_of(root, IMPRESSIONS.name)
            assert json.dumps(HER)[1:-1] in statistics or HER in statistics
            others = rows_of_others(Tables(root))
            assert [p for p in world.traces(root, HER) if "/redis/" in p]
            words = ["erase", "user", HER, "--request", "r", "--home", str(root)]
            assert common.run([*words, "--embedded"]) == 0, capsys.readouterr().out
            assert world.redis_traces(store, HER) == []
            now = rows_of_others(Tables(root))
            assert {name: now[name] for name in others} == others
            for table in OLD:
                names = home.tables.delta(table).metadata().configuration[STATS_COLUMNS]
                assert "user_id" not in names.split(",")
            assert common.run(["maintain", "--home", str(root)]) == 0
            home.deliver(world.log(world.now_us() - 1_000_000, "z-", users=OTHERS))
            home.release()
            home.load(store)
            assert world.redis_traces(store, HER) == []
        server.stop(root)
        assert world.traces(root, HER) == []
    finally:
        server.stop(tmp_path / "home")


def older_configuration(table: Any) -> dict[str, str | None]:
    """As tables were made before ids left their statistics."""
    from vidtopics.tables.schemas import configuration

    return {k: v for k, v in configuration(table).items() if k != STATS_COLUMNS}


def logs_of(root: Path, table: str) -> str:
    return "".join(p.read_text() for p in (root / "tables" / table / "_delta_log").glob("*.json"))
