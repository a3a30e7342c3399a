"""One run at a time, a dead holder succeeded, and one that was paused past its lease refused."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from online_home import OnlineHome, dump, lease_ends, stages

from benchmarks.redis_nodes import wait
from vidtopics.errors import StoreError
from vidtopics.layout import Layout, ViewEntry, place
from vidtopics.materialization import LockError, StoreWriter, lock
from vidtopics.materialization.generations import unlink
from vidtopics.materialization.lock import Lease, hold
from vidtopics.materialization.structures import _Lists
from vidtopics.online import OnlineClient

PAUSED = 77  # the socket timeout of connections that a test pauses


@pytest.fixture(autouse=True)
def times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease is renewed every second; who waits has time enough on any machine."""
    monkeypatch.setattr(lock, "LEASE_S", 3.0)
    monkeypatch.setattr(lock, "WAIT_S", 60.0)


def at_each_wait(patch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Something happens whenever a run finds the lock held, before it tries again."""

    def sleep(seconds: float) -> None:
        action()
        time.sleep(seconds)

    patch.setattr(lock, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))


def await_renewal(store: redis.Redis) -> None:
    """Wait until the holder has renewed its lease, which ran out."""
    lease_ends(store)
    wait(lambda: store.exists(place("vt", "lock")), "a renewed lease")


def test_a_second_run_is_told_who_has_the_lock(
    store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WAIT_S", 0.1)
    with (
        hold(store, "vt"),
        pytest.raises(
            LockError,
            match=rf"expected no other run, found process {os.getpid()} on .*which began at 20",
        ),
        hold(store, "vt"),
    ):
        pass
    with hold(store, "vt"):
        pass  # given up at the end, not by time


def test_prefixes_have_locks_of_their_own(store: redis.Redis) -> None:
    with hold(store, "vt"), hold(store, "other"):
        pass


def test_a_lease_is_renewed_while_the_run_goes_on(
    store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WAIT_S", 0.1)
    with hold(store, "vt"):
        store.pexpire(place("vt", "lock"), 100_000)
        wait(lambda: store.pttl(place("vt", "lock")) <= 3_000, "a renewed lease")
        with pytest.raises(LockError), hold(store, "vt"):
            pass


def test_a_second_run_waits_for_the_first(
    store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, locked, waits = [], Event(), Event()
    at_each_wait(monkeypatch, waits.set)

    def first() -> None:
        with hold(store, "vt"):
            locked.set()
            assert waits.wait(60)
            order.append("first")

    thread = Thread(target=first)
    thread.start()
    assert locked.wait(60)
    with hold(store, "vt"):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def dead_holder(store: redis.Redis) -> Lease:
    """The lease of a process that died right after it got it."""
    return Lease(
        store, "vt", lock._acquire(store, "vt", '{"host": "h", "pid": 1, "since": "then"}')
    )


def test_a_dead_holder_is_succeeded_after_its_lease(
    store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis ends the lease, after three seconds; here it ends once the next run waits for it."""
    waits = []
    at_each_wait(monkeypatch, lambda: (waits.append(1), lease_ends(store)))
    dead = dead_holder(store)
    assert 0 < store.pttl(place("vt", "lock")) <= 3_000
    with hold(store, "vt") as lease:
        assert len(waits) == 1
        assert int(lease.number) > int(dead.number)
        with pytest.raises(
            LockError, match="expected the lock to be this run's still, found a later run"
        ):
            dead.transaction(lambda pipe: pipe.multi())


def test_numbers_rise_where_redis_lost_the_last_one(store: redis.Redis) -> None:
    before = dead_holder(store)
    before.claim(Layout(3))
    store.delete(
        place("vt", "lock"), place("vt", "fence")
    )  # the buckets' fences lie on other nodes of a cluster
    with hold(store, "vt") as lease:
        lease.claim(Layout(3))


def test_a_holder_rises_above_the_buckets_numbers(
    store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory's node lost the last number, and its clock is behind that of the one before."""
    for bucket, tag in enumerate(Layout(3).tags):
        store.set(f"vt:fence:{{{tag}}}", 8 * 10**15 + bucket)
    with hold(store, "vt") as lease:
        lease.claim(Layout(3))
        assert lease.number == "8000000000000003"
        lease.transaction(lambda pipe: pipe.multi())
        await_renewal(store)  # under the new number
    fences = [store.get(f"vt:fence:{{{tag}}}") for tag in Layout(3).tags]
    assert fences == [b"8000000000000003"] * 3
    assert not store.exists(place("vt", "lock"))


@pytest.mark.parametrize("fence", [None, b"1000"])
def test_a_number_that_redis_lost_is_not_taken_for_a_later_run(
    store: redis.Redis, fence: bytes | None
) -> None:
    with hold(store, "vt") as lease:
        if fence:
            store.set(place("vt", "fence"), fence)
        else:
            store.flushall()
        with pytest.raises(StoreError, match="lost writes of this run") as caught:
            lease.transaction(lambda pipe: pipe.multi())
        assert not isinstance(caught.value, LockError)


def test_a_lease_that_ran_out_and_that_nobody_took_is_the_holders_still(
    store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold(store, "vt") as lease:
        lease_ends(store)
        lease.transaction(lambda pipe: pipe.multi())
        await_renewal(store)


def test_one_who_gives_up_late_leaves_the_next_ones_lock_alone(store: redis.Redis) -> None:
    with hold(store, "vt"):
        lease_ends(store)
        dead_holder(store)
    assert store.exists(place("vt", "lock"))


def test_every_script_refuses_a_holder_that_was_overtaken(store: redis.Redis) -> None:
    dead = dead_holder(store)
    lease_ends(store)
    with hold(store, "vt") as lease:
        lease.claim(Layout(4))
        store.set("vt:1:1:{7}x", b"x")
        writer = StoreWriter(store, buckets=4, lease=dead)
        space = writer.keys(ViewEntry(1, 1, 0, 0))
        for change in (
            lambda: writer.write(space, 0, [(b"vt:1:1:{7}y", bytes(30))]),
            lambda: unlink(dead, [b"vt:1:1:{7}x"]),
            lambda: _Lists(dead, Layout(4)).swap({b"vt:queue:9:{7}u": ["v"]}),
            lambda: dead.claim(Layout(4)),
        ):
            with pytest.raises(redis.ResponseError, match=lock.FENCED):
                change()
        assert sorted(k for k in store.scan_iter(match="vt:[1q]*")) == [b"vt:1:1:{7}x"]
        StoreWriter(store, buckets=4).write(
            space, 0, [(b"vt:1:1:{7}y", bytes(30))]
        )  # without a lease: any order is right
        assert store.exists("vt:1:1:{7}y")


def release(home: OnlineHome, *, number: int) -> None:
    home.statistics(*[(f"v{i}", number, number, number * 100 + i) for i in range(1, 9, number)])
    home.clicks(**{f"u{i}": [f"v{i + number}"] for i in range(number, 6)})
    home.queues({t: [f"v{t + number}", f"v{t}"] for t in range(number, 5)}, epoch=number)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[OnlineHome]:
    return stages(
        tmp_path_factory.mktemp("stages"), [partial(release, number=number) for number in (1, 2)]
    )


@contextmanager
def paused_at(
    command: bytes, time_: int, patch: pytest.MonkeyPatch
) -> Iterator[tuple[Event, Event]]:
    """Connections with the timeout PAUSED stand still at the `time_`-th sending with `command`.

    The first event says that they do; they go on at the second.
    """
    reached, go, sent, real = Event(), Event(), [0], redis.Connection.send_packed_command

    def send(self: redis.Connection, *arguments: Any, **named: Any) -> None:
        if self.socket_timeout == PAUSED:
            sent[0] += command in b"".join(arguments[0])
            if sent[0] >= time_:
                reached.set()
                go.wait()
        real(self, *arguments, **named)

    with patch.context() as inner:
        inner.setattr(redis.Connection, "send_packed_command", send)
        try:
            yield reached, go
        finally:
            go.set()


@pytest.mark.parametrize(
    ("command", "time_", "full"),
    [
        (b"'RPUSH'", 1, False),
        (b"'RPUSH'", 1, True),
        (b"EVALSHA", 1, False),
        (b"EVALSHA", 3, True),
        (b"'UNLINK'", 1, True),
        (b"MULTI", 1, False),
        (b"MULTI", 2, True),
        (b"MULTI", 3, False),
        (b"MULTI", 3, True),
        (b"MULTI", 5, False),
    ],
)
def test_a_run_that_was_paused_past_its_lease_changes_nothing_any_more(
    homes: list[OnlineHome],
    store: redis.Redis,
    valkey: str,
    monkeypatch: pytest.MonkeyPatch,
    command: bytes,
    time_: int,
    full: bool,
) -> None:
    """While it stands still, another run brings the second release, which it must not touch."""
    if full:  # the paused run fills or has filled a new generation
        homes[0].run(store)
    slow, errors = redis.Redis.from_url(valkey, socket_timeout=PAUSED), []

    def old() -> None:
        try:
            homes[0].run(slow, full=full)
        except LockError as error:
            errors.append(error)

    with paused_at(command, time_, monkeypatch) as (reached, go):
        thread = Thread(target=old)
        thread.start()
        assert reached.wait(60)
        lease_ends(store)
        homes[1].run(store)
        after = dump(store)
        go.set()
        thread.join()
    assert len(errors) == 1
    assert dump(store) == after
    assert OnlineClient(store).recent_clicks("u1") == []
    assert OnlineClient(store).recent_clicks("u2") == ["v4"]


def test_a_run_that_waited_brings_the_release_of_its_turn(
    store: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked when the first release was the latest; the second comes while it waits."""
    waits = Event()
    at_each_wait(monkeypatch, waits.set)
    home = OnlineHome(tmp_path)
    release(home, number=1)
    home.release()
    with hold(store, "vt"):
        thread = Thread(target=home.run, args=(store,))
        thread.start()
        assert waits.wait(60)
        release(home, number=2)
        home.release()
    thread.join()
    assert OnlineClient(store).recent_clicks("u5") == ["v7"]
