"""Releases, loads, rollbacks and runs after an erasure: the others' as before, her never again."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import erasure_world as world
import pytest
import redis
from erasure_world import HER, OTHERS
from events_home import SETTINGS, SmallHome, now_us
from live_worlds import Batch, Shown

from vidtopics.contracts import IMPRESSIONS, TABLES, USER_RECENT_CLICKS, VIDEO_COUNTS
from vidtopics.erasure.ids import Ids
from vidtopics.erasure.request import Server, erase
from vidtopics.materialization import materialize
from vidtopics.materialization.rollback import switch_back
from vidtopics.online import OnlineClient
from vidtopics.releases.lock import hold
from vidtopics.releases.rollback import restore, take_back, target_of
from vidtopics.settings import ErasureSettings
from vidtopics.tables.releases import in_force, read_log

pytestmark = pytest.mark.slow
FOREVER = 2**62


def deliver(home: SmallHome, hours: int) -> list[Shown]:
    events = world.log(now_us() - 3_600_000_000 * hours, f"d{hours}-")
    home.deliver(events)
    return events


def remove(home: SmallHome, store: redis.Redis | None = None, counts: str = "keep") -> Any:
    servers = [Server("it", store, "vt", nullcontext)] if store else []
    settings = ErasureSettings.model_validate({"counts": counts})
    return erase(home.tables, Ids.of([HER]), "r", settings, servers=servers)


def users_of(home: SmallHome) -> set[str]:
    """Every user that any version of any table has."""
    found: set[str] = set()
    for table in TABLES.values():
        if home.tables.exists(table) and any(c.name == "user_id" for c in table.columns):
            for version in range(home.tables.version(table) + 1):
                column = home.tables.read(table, version=version, columns=["user_id"])
                found |= {*column["user_id"].to_pylist()}
    return found


def counted(home: SmallHome) -> dict[str, tuple[int, int]]:
    rows = home.tables.as_of(VIDEO_COUNTS, FOREVER).to_pylist()
    return {r["video_id"]: (r["video_exposures"], r["video_clicks"]) for r in rows}


def test_releases_loads_and_rollbacks_without_her(tmp_path, store):
    home = SmallHome(tmp_path)
    for hours in (3, 2):
        deliver(home, hours)
        home.release()
        home.load(store)
    receipt = remove(home, store)
    assert receipt.state == "done"
    assert receipt.releases == [1, 2]
    assert users_of(home) == set(OTHERS)
    moved = materialize(home.tables, store, SETTINGS.online)
    assert [m.why for m in moved] == [""] * len(moved)  # no view is filled anew
    client = OnlineClient(store)
    switch_back(store, SETTINGS.online, 1)
    assert client.recent_clicks(OTHERS[0])
    assert client.recent_clicks(HER) == []
    with hold(home.tables.home, "test") as lock:
        target = target_of(home.tables, 1)
        take_back(home.tables, target, "test", lock)
        restore(home.tables, target, "test", lock)
    moved = materialize(home.tables, store, SETTINGS.online)
    assert in_force(read_log(home.tables)).release_id == 3
    home.load(store, full=True)
    assert client.recent_clicks(OTHERS[0])
    assert client.recent_clicks(HER) == []
    assert users_of(home) == set(OTHERS)
    assert world.traces(home.tables.home, HER) == []
    assert world.redis_traces(store, HER) == []


@pytest.mark.parametrize("counts", ["keep", "remove"])
def test_the_next_run_counts_as_the_settings_say(tmp_path, counts):
    home = SmallHome(tmp_path)
    before = deliver(home, 3)
    home.release()
    uncounted = deliver(home, 2)  # no run has counted these
    remove(home, counts=counts)
    later = world.log(now_us() - 1_000_000, "later-", users=OTHERS)
    home.deliver(later)
    home.release()
    others = [e for e in [*before, *uncounted, *later] if e.user != HER]
    hers = [e for e in before if e.user == HER and counts == "keep"]
    expected = Batch([*others, *hers], FOREVER, 3).counts("video")
    assert home.tables.read(IMPRESSIONS).num_rows == len(others)
    assert counted(home) == expected
    clicks = home.tables.as_of(USER_RECENT_CLICKS, FOREVER)["user_id"].to_pylist()
    assert set(clicks) <= set(OTHERS)
    facts = home.tables.commits(VIDEO_COUNTS)[-1].facts["counted"]
    assert ("erased from" in facts) == (counts == "remove")
    home.deliver(world.log(now_us() - 1_000_000, "more-", users=OTHERS))
    home.release()
    assert "erased from" not in home.tables.commits(VIDEO_COUNTS)[-1].facts["counted"]
    assert Path(home.tables.home / "erasures" / "r.json").exists()
