"""What a person did before the request doesn't come back whenever it lands; later events do."""

from __future__ import annotations

from pathlib import Path

import erasure_world as world
import pytest
from erasure_world import HER, OTHERS
from events_home import SmallHome, now_us
from live_worlds import Shown

from vidtopics.contracts import CLICKS, IMPRESSIONS, rejected
from vidtopics.erasure.ids import Ids
from vidtopics.erasure.receipts import Receipts
from vidtopics.erasure.request import erase
from vidtopics.errors import InputError, TableError
from vidtopics.settings import ErasureSettings


@pytest.fixture
def home(tmp_path: Path) -> SmallHome:
    home = SmallHome(tmp_path)
    home.deliver(world.log(now_us() - 3_600_000_000, "a-"))
    return home


def events(home: SmallHome) -> dict[str, set[str]]:
    return {
        log.name: {
            row["event_id"] for row in home.tables.read(log).to_pylist() if row["user_id"] == HER
        }
        for log in (IMPRESSIONS, CLICKS)
    }


def test_events_of_before_the_request_are_left_out_later_ones_are_not(home):
    earlier = world.log(now_us() - 1_800_000_000, "late-")
    receipt = erase(home.tables, Ids.of([HER]), "r", ErasureSettings())
    requested = receipt.requested_us
    edge = [
        Shown("at", HER, "v1", requested, 1, requested),
        Shown("click-after", HER, "v2", requested - 5, 1, requested + 1),
    ]
    after = [Shown("after", HER, "v3", requested + 1, 1, requested + 2)]
    while now_us() < requested + 10:
        pass
    home.deliver([*earlier, *edge, *after])
    assert events(home) == {"impressions": {"after"}, "clicks": {"after"}}
    others = home.tables.read(IMPRESSIONS, columns=["user_id"])["user_id"].to_pylist()
    assert {user: others.count(user) for user in OTHERS} == dict.fromkeys(OTHERS, 8)
    home.deliver(earlier)  # once more
    assert events(home)["impressions"] == {"after"}


def test_a_refused_row_that_names_her_is_left_out(home):
    erase(home.tables, Ids.of([HER]), "r", ErasureSettings())
    at = now_us()
    ambiguous = [Shown("", user, "v1", at - 50, 1) for user in (HER, OTHERS[0]) for _ in range(2)]
    twice = [*ambiguous, *(Shown("", e.user, "v1", e.us, 1, e.us + 9) for e in ambiguous)]
    home.deliver(twice)
    details = home.tables.read(rejected(IMPRESSIONS))["detail"].to_pylist()
    details += home.tables.read(rejected(CLICKS))["detail"].to_pylist()
    assert not any(HER in detail for detail in details)


def test_a_receipt_names_nobody_and_its_salt_is_needed(home):
    erase(home.tables, Ids.of([HER]), "r", ErasureSettings())
    folder = home.tables.home / "erasures"
    assert sorted(p.name for p in folder.iterdir()) == ["r.json", "salt"]
    assert HER not in (folder / "r.json").read_text()
    assert (folder / "salt").stat().st_mode & 0o777 == 0o600
    with pytest.raises(InputError, match="expected the 1 ids that it was made for"):
        erase(home.tables, Ids.of([OTHERS[0]]), "r", ErasureSettings())
    (folder / "salt").unlink()
    with pytest.raises(TableError, match="expected the 32 bytes"):
        home.deliver(world.log(now_us(), "b-"))


def test_the_first_request_s_time_stays_when_it_is_run_again(home):
    first = erase(home.tables, Ids.of([HER]), "r", ErasureSettings())
    again = erase(home.tables, Ids.of([HER]), "r", ErasureSettings())
    assert again.requested_us == first.requested_us
    assert again.erased == first.erased
    assert Receipts(home.tables.home).read("r") == again
