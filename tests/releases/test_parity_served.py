"""Staleness against what could have been served: a load's delay and a bad release are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from test_rollback_command import Home

from consumers.parity import replay
from vidtopics.online import OnlineClient
from vidtopics.online.serving_log import ServingLog
from vidtopics.tables import Tables


def test_what_was_served_is_what_a_join_of_served_rows_gives(
    tmp_path: Path, store: redis.Redis, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey)
    folder = tmp_path / "logs" / "served"
    log = ServingLog(folder, store, share=1)
    home = Home(Tables(tmp_path), OnlineClient(store, log=log), [])
    home.publish({"a": 1, "b": 2})
    assert home.ask("materialize") == 0
    home.look()
    home.publish({"a": 99})
    home.look()  # committed, and not served yet
    assert home.ask("materialize") == 0
    home.look()
    assert home.ask("rollback", "--because", "bad") == 0
    home.look()
    log.close()
    assert [values for _, values in home.seen] == [[1, 2], [1, 2], [99, None], [1, 2]]
    [committed] = replay(home.tables, folder).views.values()
    [served] = replay(home.tables, folder, served=True).views.values()
    assert (committed.rows, committed.stale) == (8, 2)
    assert (served.rows, served.joined, served.stale) == (8, 8, 0)
    assert home.ask("parity", "--max-stale", "0", "--max-unchecked", "1") == 1
    assert home.ask("parity", "--max-stale", "0", "--max-unchecked", "1", "--served") == 0
