"""Replay equals batch, of queues: whoever refreshed, died or failed over, lists are as is due."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

import redis
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from live_worlds import NOW_US, CrashError, Shown, dying, new_store, sent
from queue_worlds import Member, ordering_of, stored_lists, world_of

from vidtopics.events import applying, changed_counts
from vidtopics.events.applying import Applier
from vidtopics.events.generations import Generation, drop, open_generation
from vidtopics.events.queue_sets import QueueSet, known_sets
from vidtopics.jobs.live_queues import LiveOrdering
from vidtopics.layout.live import VideoState
from vidtopics.materialization.live_queues import QueueWork
from vidtopics.online.events import EventClient, NotAcknowledgedError
from vidtopics.settings import Settings

BEGIN_US = NOW_US // 1_000_000 * 1_000_000 - 1_000_000_000
HALF_LIFE = timedelta(seconds=1)  # times are whole seconds: all sums are exact
SETTINGS = Settings.model_validate(
    {
        "queues": {"min_exposures": 2, "min_ctr": 0.4, "length": 3, "fresh_pool": 1},
        "statistics": {"half_life": HALF_LIFE},
        "seed": 5,
    }
)
TIMES = st.integers(0, 12).map(lambda step: BEGIN_US + step * 1_000_000)
NEVER = 10**6
VIDEOS = ["v1", "v2", "v3", "v4", "v5", "é"]


@st.composite
def all_members(draw: st.DrawFn) -> list[Member]:
    """Few topics and parents, so that queues are longer than they may be; some have none."""
    numbers = st.lists(st.integers(1, 3), max_size=2, unique=True).map(tuple)
    parents = st.lists(st.integers(1, 2), max_size=1).map(tuple)
    return [Member(v, draw(numbers), draw(parents), draw(st.booleans())) for v in VIDEOS]


@st.composite
def logs(draw: st.DrawFn) -> list[Shown]:
    """Of members and of a video that no table knows."""
    log = []
    for number in range(draw(st.integers(1, 30))):
        us = draw(TIMES)
        clicked_us = draw(st.none() | TIMES.filter(lambda at, us=us: at >= us))
        video = draw(st.sampled_from([*VIDEOS, "nobody's"]))
        log.append(Shown(f"e{number}", "u1", video, us, 1, clicked_us))
    return log


class Interrupted:
    """An ordering between whose look at counts and writing of lists others do something."""

    def __init__(self, ordering: LiveOrdering, between: Callable[[], object]) -> None:
        self.ordering, self.between = ordering, between

    def update(self, changed: Mapping[bytes, VideoState]) -> set[str]:
        return self.ordering.update(changed)

    def queues(self) -> set[str]:
        return self.ordering.queues()

    def lists(self, queues: Collection[str]) -> dict[str, list[bytes]]:
        lists = self.ordering.lists(queues)
        self.between()
        return lists


class Run:
    """Consumers, refreshers and a client over one store, which end and begin anew."""

    def __init__(self, store: Any, members: list[Member], log: list[Shown], seed: int) -> None:
        self.store, self.members, self.log = store, members, log
        self.rng, self.keys = random.Random(seed), new_store(store)
        self.applier = Applier(
            store, self.keys, recent=3, max_ahead=timedelta(days=1), half_life=HALF_LIFE
        )
        self.client = EventClient(store, patience_s=0)
        self.waiting = self.rng.sample(sent(log), k=len(sent(log)))
        self.known = list(self.waiting)
        times = [BEGIN_US + self.rng.randint(0, 13) * 1_000_000 for _ in range(2)]
        self.releases = [Generation(n + 1, us) for n, us in enumerate(times)]
        self.opened: list[Generation] = []
        self.works: dict[tuple[Generation, int], QueueWork] = {}
        self.saved: dict[bytes, Any] = {}

    def step(self) -> None:
        """Something happens; it may die at any call of Redis."""
        kinds = ["apply", "send", "refresh"] * 3 + ["both", "open", "save", "fail over"]
        kind = self.rng.choice(kinds)
        with suppress(CrashError, NotAcknowledgedError):
            if kind in ("save", "fail over"):
                getattr(self, kind.replace(" ", "_"))()
                return
            with dying(self.rng.choice([NEVER, self.rng.randint(0, 20)]), self.rng.random()):
                getattr(self, kind)()

    def apply(self) -> None:
        if self.opened:
            self.applier.apply(self.rng.choice(self.opened))

    def send(self) -> None:
        size = self.rng.randint(1, 8)
        self.client.send(self.waiting[:size])
        self.waiting = self.waiting[size:]

    def open(self) -> None:
        if len(self.opened) < len(self.releases):
            self.opened.append(self.releases[len(self.opened)])
            open_generation(self.store, self.keys, self.opened[-1])

    def refresh(self) -> None:
        for generation in self.opened[-1:]:
            self.refresh_one(generation, self.rng.randint(0, 1))

    def both(self) -> None:
        """Another one refreshes, of more events, while this one has its lists in hand."""
        for generation in self.opened[-1:]:
            self.works.pop((generation, 0), None)
            self.refresh_one(generation, 0, partial(self._overtake, generation))

    def _overtake(self, generation: Generation) -> None:
        self.apply()
        self.refresh_one(generation, 1)

    def refresh_one(
        self, generation: Generation, number: int, between: Callable[[], object] | None = None
    ) -> bool:
        """One that dies is gone, as its process is; its successor knows nothing."""
        work = self.works.pop((generation, number), None)
        with suppress(changed_counts.ClosedError):  # its opening has died, or it went back
            if work is None:
                ordering: Any = ordering_of(self.members, self.log, generation.as_of_us, SETTINGS)
                ordering = Interrupted(ordering, between) if between else ordering
                queues = QueueSet(generation.release, 10)
                release = generation.release
                work = QueueWork(self.store, self.keys, generation, queues, release, ordering)
            work.refresh()
            if between is None:
                self.works[generation, number] = work
            return True
        return False

    def save(self) -> None:
        """What a replica has, a while behind."""
        self.saved = {key: self.store.dump(key) for key in self.store.scan_iter()}

    def fail_over(self) -> None:
        """The replica takes over; what was acknowledged since is lost, and sent once more."""
        if self.saved and self.rng.random() < 0.5:
            self.store.flushall()
            for key, value in self.saved.items():
                self.store.restore(key, 0, value)
            self.waiting = list(self.known)


@given(
    members=all_members(), log=logs(), seed=st.integers(0, 2**32), page=st.sampled_from([1, 400])
)
@settings(max_examples=20, phases=[Phase.generate])
def test_any_order_of_events_refreshes_deaths_and_failovers_ends_at_the_rule(
    valkey: str, members: list[Member], log: list[Shown], seed: int, page: int
) -> None:
    with (
        redis.Redis.from_url(valkey) as store,
        patch.object(applying, "ENTRIES", 3),
        patch.object(changed_counts, "PAGE", page),
    ):
        store.flushall()
        run = Run(store, members, log, seed)
        while run.waiting or len(run.opened) < 2:
            run.step()
        for generation in run.opened:
            assert open_generation(store, run.keys, generation)
            run.applier.apply(generation)
            # One that has been there for long, if any is.
            number = next((n for g, n in run.works if g == generation), 0)
            assert run.refresh_one(generation, number) or run.refresh_one(generation, number)
            stored = stored_lists(store, run.keys, generation.release, 10)
            assert stored == due(run, generation)
        last = run.opened[-1]
        state = known_sets(store, "vt")[QueueSet(last.release, 10)]
        assert state.is_read
        run.refresh_one(last, 0)
        run.refresh_one(last, 0)
        assert known_sets(store, "vt")[QueueSet(last.release, 10)].version == state.version
        for generation in run.opened:
            drop(store, run.keys, generation.release)
        assert store.keys("vt:live:*") == []
        assert known_sets(store, "vt") == {}


def due(run: Run, generation: Generation) -> dict[str, list[str]]:
    """What the rule says of the whole log."""
    world = world_of(
        run.members,
        run.log,
        generation.as_of_us,
        SETTINGS.queues,
        half_life=HALF_LIFE,
        seed=SETTINGS.seed,
    )
    return world.lists()


def test_one_that_stood_still_writes_older_lists_and_the_other_puts_them_right(
    store: redis.Redis,
) -> None:
    """No event comes after that: the other one sees that its lists aren't those that it wrote."""
    members = [Member(v, (1,), (1,), False) for v in VIDEOS]
    earlier = [Shown(f"a{n}", "u1", "v2", BEGIN_US + n, 1, BEGIN_US + n) for n in range(4)]
    later = [Shown(f"b{n}", "u1", "v3", BEGIN_US + n, 1, BEGIN_US + n) for n in range(5)]
    run = Run(store, members, [*earlier, *later], 1)
    run.releases[0] = generation = Generation(1, BEGIN_US)
    run.open()
    run.refresh_one(generation, 1)
    run.client.send(sent(earlier))
    run.apply()

    def overtake() -> None:
        run.client.send(sent(later))
        run.apply()
        run.refresh_one(generation, 1)
        assert stored_lists(store, run.keys, 1, 10) == due(run, generation)

    run.refresh_one(generation, 0, overtake)
    assert stored_lists(store, run.keys, 1, 10) != due(run, generation)
    run.refresh_one(generation, 1)
    assert stored_lists(store, run.keys, 1, 10) == due(run, generation)


def test_a_cluster_has_the_same_lists(cluster_store: redis.RedisCluster) -> None:
    """All keys of a list, and of a bucket's counts, lie in one slot."""
    members = [Member(v, (1, 2), (1,), v == "v1") for v in VIDEOS]
    log = [Shown(f"e{n}", "u1", f"v{n % 3 + 2}", BEGIN_US + n, 1, BEGIN_US + n) for n in range(9)]
    run = Run(cluster_store, members, log, 1)
    run.open()
    run.client.send(sent(log))
    run.applier.apply(run.opened[0])
    assert run.refresh_one(run.opened[0], 0)
    assert stored_lists(cluster_store, run.keys, 1, 10) == due(run, run.opened[0])
    assert {name: len(videos) for name, videos in due(run, run.opened[0]).items()} == {
        **dict.fromkeys(("1", "2", "p1", "all"), 3),
        **dict.fromkeys(("1:fresh", "2:fresh", "p1:fresh"), 1),
    }
    assert known_sets(cluster_store, "vt")[QueueSet(1, 10)].is_read
    drop(cluster_store, run.keys, 1)
    assert known_sets(cluster_store, "vt") == {}
    assert stored_lists(cluster_store, run.keys, 1, 10) == {}
