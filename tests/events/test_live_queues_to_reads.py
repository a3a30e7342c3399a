"""Queues from an applied event to a read: through the next release, back, and to their end."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from events_home import MODULES, SETTINGS, VIDEOS, SmallHome, now_us
from live_worlds import Shown, sent
from queue_worlds import Member, stored_lists, world_of

from spark_jobs import topic_queues
from vidtopics.cli import homes
from vidtopics.cli.common import run as run_command
from vidtopics.events.applying import Applier
from vidtopics.events.queue_sets import QueueSet, known_sets
from vidtopics.jobs.live_queues import load_ordering
from vidtopics.layout import place
from vidtopics.materialization import live
from vidtopics.materialization.live_queues import QueueRefresher
from vidtopics.materialization.reconcile import reconcile
from vidtopics.materialization.rollback import switch_back
from vidtopics.online import OnlineClient
from vidtopics.online.events import EventClient
from vidtopics.online.lists import QueueState
from vidtopics.settings import Settings
from vidtopics.tables.releases import read_log
from vidtopics.times import moment

RULES = SETTINGS.queues.model_copy(update={"min_exposures": 3, "min_ctr": 0.4, "length": 4})
OWN: Settings = SETTINGS.model_copy(update={"queues": RULES})
TOPICS = {
    "v1": ([7, 9], [2]),
    "v2": ([7], [2]),
    "v3": ([7], [2]),
    "v4": ([9], [2, 3]),
    "v5": ([], []),
}
NAMES = ["7", "9", "8", "p2", "p3", "all"]
NAMES += [f"{name}:fresh" for name in NAMES]
LOAD = partial(load_ordering, settings=OWN)


def make_home(root: Path) -> SmallHome:
    home = SmallHome(root, settings=OWN, modules=(*MODULES, topic_queues))
    home.published["v4"] = moment(now_us() - 86_400_000_000)
    return home


def shown(number: int, video: str, us: int, *, clicked: bool) -> Shown:
    return Shown(
        f"{us}-{number}", "u1", video, us + number, 1, us + number + 1 if clicked else None
    )


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Shown]]:
    """A home with a release: v1 and v2 are in order, v3 and v5 weren't shown, v4 is fresh."""
    home, us = make_home(tmp_path_factory.mktemp("queued")), now_us() - 3_600_000_000
    log = [shown(n, "v1", us, clicked=n < 3) for n in range(4)]
    log += [shown(10 + n, "v2", us, clicked=n < 2) for n in range(4)]
    log += [shown(20, "v4", us, clicked=False)]
    home.deliver(log)
    home.assign(TOPICS)
    home.release()
    return home.root, log


class Online:
    """A home, its store, and who keeps its queues."""

    def __init__(self, home: SmallHome, store: redis.Redis, log: list[Shown]) -> None:
        self.home, self.store, self.log = home, store, log
        home.load(store)
        self.applier: Applier = live.begin(store, OWN)
        self.refresher = QueueRefresher(store, "vt", home.tables, LOAD)
        self.client = OnlineClient(store)

    def happens(self, *events: Shown) -> None:
        """Events are sent and applied; queues stay."""
        self.log += events
        EventClient(self.store).send(sent(events))
        for generation in live.synchronise(self.home.tables, self.applier):
            self.applier.apply(generation)

    def read(self) -> dict[str, list[str]]:
        lists = self.client.queues(NAMES, epoch=1, limit=99)
        return {name: videos for name, videos in zip(NAMES, lists, strict=True) if videos}

    def due(self) -> dict[str, list[str]]:
        """What the rule says of the log; members and prior are of the release that is live."""
        last = json.loads(max(self.store.hgetall(place("vt", "releases")).items())[1])
        [release] = [r for r in read_log(self.home.tables) if r.release_id == last["release"]]
        members = [Member(v, *map(tuple, TOPICS[v]), v == "v4") for v in VIDEOS]  # type: ignore[call-arg, arg-type]
        world = world_of(
            members,
            self.log,
            release.as_of_us,
            RULES,
            half_life=OWN.statistics.half_life,
            seed=OWN.seed,
        )
        return world.lists()


@pytest.fixture
def online(released: tuple[Path, list[Shown]], tmp_path: Path, store: redis.Redis) -> Online:
    shutil.copytree(released[0], tmp_path / "copy")
    return Online(make_home(tmp_path / "copy"), store, list(released[1]))


def test_events_move_queues_and_the_next_release_goes_on_from_there(
    online: Online, store: redis.Redis
) -> None:
    batch = {
        **{"7": ["v1", "v2"], "9": ["v1"], "9:fresh": ["v4"]},
        **{"p2": ["v1", "v2", "v3"], "p2:fresh": ["v4"], "p3:fresh": ["v4"]},
        "all": ["v1", "v2", "v3", "v4"],
    }
    assert online.read() == batch == online.due()
    assert online.client.queue_state() == QueueState(0, 1)
    us = now_us()
    # v2 overtakes v1; v4 reaches tau_1 and is judged; v3 is disliked, and leaves.
    online.happens(*(shown(n, "v2", us, clicked=True) for n in range(4)))
    online.happens(*(shown(10 + n, "v4", us, clicked=True) for n in range(2)))
    online.happens(*(shown(20 + n, "v3", us, clicked=False) for n in range(3)))
    assert online.read() == batch
    before = online.client.snapshot()
    assert before.queues(["7"], epoch=1, limit=9) == [["v1", "v2"]]
    done = online.refresher.refresh()
    assert done is not None
    assert (done.queues, done.of_release, done.videos) == (QueueSet(1, 1), 1, 3)
    moved = {
        **{"7": ["v2", "v1"], "9": ["v1", "v4"]},
        **{"p2": ["v2", "v1", "v4"], "p3": ["v4"]},
        "all": ["v2", "v1", "v4", "v5"],
    }
    assert online.read() == moved == online.due()
    assert before.queues(["7"], epoch=1, limit=9) == [["v1", "v2"]]  # its release has both
    state = online.client.queue_state()
    assert state is not None
    assert (state.release, state.load, state.version) == (1, 1, 1)
    assert abs(state.refreshed_us - now_us()) < 600_000_000
    again = online.refresher.refresh()
    assert again is not None
    assert (again.videos, again.ordered, again.written) == (0, 0, 0)

    # A release that has some of it: its lists are there before it is, with all that came since.
    online.home.deliver(online.log)
    time.sleep(0.01)
    online.home.release()
    online.happens(*(shown(30 + n, "v1", now_us(), clicked=True) for n in range(9)))
    online.home.load(store, load_ordering=LOAD)
    assert sorted(map(str, known_sets(store, "vt"))) == ["1:1", "2:2"]
    assert online.read() == online.due()
    assert online.read()["7"] == ["v1", "v2"]
    state = online.client.queue_state()
    assert state is not None
    assert (state.release, state.load, state.version) == (2, 2, 1)

    # The batch's lists are compared with their table as ever, and found right.
    [queues] = [
        r for r in reconcile(online.home.tables, store, OWN.online) if r.name == "topic_queues"
    ]
    assert queues.faults == {}

    # Back to the first release: its queues are as they were left, and then as is due.
    switch_back(store, OWN.online, 1)
    assert online.read() == moved
    online.happens(shown(60, "v4", now_us(), clicked=True))
    online.refresher.refresh()
    assert online.read() == online.due()
    assert online.read()["all"][0] == "v1"


def test_without_a_consumer_queues_stay_and_the_batch_is_read_without_the_hash(
    online: Online, store: redis.Redis
) -> None:
    """A reader of before live queues doesn't look for the hash, which it names none in."""
    online.happens(*(shown(n, "v2", now_us(), clicked=True) for n in range(9)))
    online.refresher.refresh()
    assert online.read()["7"] == ["v2", "v1"]
    store.hdel(place("vt", "live_queues"), "1:1")
    store.incr(place("vt", "directory"))
    assert online.read()["7"] == ["v1", "v2"]


def test_queues_go_with_their_release(online: Online, store: redis.Redis) -> None:
    online.happens(shown(1, "v5", now_us(), clicked=True))
    online.refresher.refresh()
    forgetful = OWN.model_copy(
        update={"online": OWN.online.model_copy(update={"keep": timedelta(0)})}
    )
    online.home.settings = forgetful
    extra = shown(2, "v1", now_us() - 1_000, clicked=True)
    online.home.deliver([extra, replace(extra, event="skip", clicked_us=None)])
    time.sleep(0.01)
    online.home.release()
    online.home.load(store, load_ordering=LOAD)
    live.synchronise(online.home.tables, online.applier)
    [queues] = known_sets(store, "vt")
    assert queues.release == 2
    assert {key.split(b":")[2] for key in store.keys("vt:live:*")} == {b"2"}
    assert store.hkeys(place("vt", "live_queues")) == [str(queues).encode()]
    assert online.client.queues(["all"], epoch=1, limit=1) == [["v1"]]


def test_a_refresher_that_comes_late_leaves_nothing(online: Online, store: redis.Redis) -> None:
    online.happens(shown(1, "v5", now_us(), clicked=True))
    online.refresher.refresh()
    live.drop_set(store, online.applier.keys, QueueSet(1, 1))
    assert stored_lists(store, online.applier.keys, 1, 1) == {}
    online.happens(shown(2, "v5", now_us(), clicked=True))
    assert online.refresher._work is not None
    with pytest.raises(Exception, match="CLOSED"):
        online.refresher._work.refresh()
    assert stored_lists(store, online.applier.keys, 1, 1) == {}
    assert online.refresher.refresh() is None
    assert online.refresher.refresh() is not None
    assert online.read() == online.due()


def test_status_says_how_old_queues_are(
    online: Online, store: redis.Redis, valkey: str, monkeypatch: Any, capsys: Any
) -> None:
    home = online.home.tables.home
    homes.keep(home, OWN)
    monkeypatch.setenv("REDIS_URL", valkey)
    online.happens(*(shown(n, "v2", now_us(), clicked=True) for n in range(4)))
    assert run_command(["events", "apply", "--once", "--home", str(home)]) == 0
    assert online.read()["7"] == ["v2", "v1"]
    capsys.readouterr()
    assert run_command(["events", "status", "--home", str(home)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("queues of release 1, load 1: refreshed ")
    assert line.endswith(" s ago, 1 refreshes, 7 lists written")
    assert run_command(["events", "status", "--json", "--home", str(home)]) == 0
    [queues] = json.loads(capsys.readouterr().out)["queues"]
    assert (queues["release"], queues["version"], queues["read"]) == (1, 1, True)
    assert queues["age_s"] >= 0
