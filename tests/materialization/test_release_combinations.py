"""Table change x crash x topology x reader: one whole release or the next is seen, never a mix."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import pytest
import redis
from online_home import KEEP, OnlineHome, dump, lease_ends, stages
from test_releases_live import VIDEOS, values

from vidtopics.contracts import VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.failpoints import Crash
from vidtopics.materialization import generations
from vidtopics.materialization.rollback import switch_back
from vidtopics.online import OnlineClient, Status

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
COMBINATIONS = 216
VIEWS = {"video_statistics": "video_exposures", "video_topics": "topic_ids"}


def publish(home: OnlineHome, n: int, width: int = 3) -> None:
    """Everything says n."""
    home.statistics(*[(v, n, n, n) for v in VIDEOS])
    home.topics(*[(v, n, n, n) for v in VIDEOS])
    home.joint(*[(v, n, n, n) for v in VIDEOS], width=width)
    home.queues({t: [f"q{n}"] for t in range(4)}, epoch=n)


def compact(home: OnlineHome, n: int) -> None:
    home.tables.delta(VIDEO_TOPICS).optimize.compact()
    publish(home, n)


def delete(home: OnlineHome, n: int) -> None:
    """Rows are taken out of the table: the view goes to a new generation."""
    table = home.tables.delta(VIDEO_STATISTICS)
    table.alter.set_table_properties({"delta.appendOnly": "false"})
    home.tables.delta(VIDEO_STATISTICS).delete(f"video_id = 'v{n}'")
    publish(home, n)


def restore(home: OnlineHome, n: int) -> None:
    table = home.tables.delta(VIDEO_TOPICS)
    table.alter.set_table_properties({"delta.appendOnly": "false"})
    home.tables.delta(VIDEO_TOPICS).restore(1)
    publish(home, n)


def widen(home: OnlineHome, n: int) -> None:
    publish(home, n, width=3 + n)


CHANGES: dict[str, Callable[[OnlineHome, int], None]] = {
    "append": publish,
    "compact": compact,
    "delete": delete,
    "restore": restore,
    "widen": widen,
}


@pytest.fixture(scope="module")
def homes_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[OnlineHome]]:
    """The home after each of three releases, the later two by a change of that kind."""

    def made(change: str) -> list[OnlineHome]:
        def step(n: int) -> Callable[[OnlineHome], None]:
            return lambda home: (publish if n == 1 else CHANGES[change])(home, n)

        return stages(tmp_path_factory.mktemp(change), [step(n) for n in (1, 2, 3)])

    return cache(made)


@contextmanager
def dying(command: int, patch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """From its `command`-th sending to Redis on this thread gets Crash; others go on."""
    sent, real, own = [0], redis.Connection.send_packed_command, threading.get_ident()

    def send(*arguments: Any, **named: Any) -> None:
        if threading.get_ident() == own:
            sent[0] += 1
            if 0 < command <= sent[0] and b"UNWATCH" not in b"".join(arguments[1]):
                raise Crash("at a command")
        real(*arguments, **named)

    with patch.context() as inner:
        inner.setattr(redis.Connection, "send_packed_command", send)
        yield sent


def plain(client: OnlineClient) -> set[int]:
    """One request a view: what each says. Queues by one snapshot with their catalogue."""
    features = client.read_views(list(VIEWS), VIDEOS)
    return _numbers(features)


def snapshot(client: OnlineClient) -> set[int]:
    """Views, catalogue and queues of one directory."""
    held = client.snapshot()
    epoch = held.catalogue().epoch
    (queue,) = held.queues([1], epoch=epoch, limit=9)
    return _numbers(held.read_views(list(VIEWS), VIDEOS)) | {epoch, *(int(v[1:]) for v in queue)}


def feast(client: OnlineClient) -> set[int]:
    """As Feast's store reads: parts of one request."""
    ids = [v.encode() for v in VIDEOS]
    features = client.read_parts([(view, ids) for view in VIEWS], None)
    return _numbers(dict(zip(VIEWS, features, strict=True)))


def _numbers(features: Any) -> set[int]:
    for view in VIEWS:
        assert (features[view].status == Status.PRESENT).all()
    return {
        int(n)
        for view, field in VIEWS.items()
        for n in features[view][field].reshape(len(VIDEOS), -1)[:, 0]
    }


READERS = {"plain": plain, "snapshot": snapshot, "feast": feast}


class Watcher:
    """Reads on a thread, as fast as it can; what it saw at once, and its errors."""

    def __init__(self, store: Any, read: Callable[[OnlineClient], set[int]]) -> None:
        self.seen: list[set[int]] = []
        self.errors: list[Exception] = []
        self._client, self._read = OnlineClient(store), read
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                numbers = self._read(self._client)
            except Exception as error:
                if "a snapshot at load" in str(error):  # what it reads is retained no more
                    continue
                self.errors.append(error)
                return
            if not self.seen or self.seen[-1] != numbers:
                self.seen.append(numbers)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Prepared:
    """What loads leave in a store, made once for each of them and copied afterwards.

    So a combination costs its crash and what comes after, not the loads before.
    """

    def __init__(self) -> None:
        self._copies: dict[Any, dict[bytes, bytes]] = {}
        self._cleaned: dict[Any, dict[Any, Any]] = {}

    def put(self, store: Any, name: tuple[str, ...], homes: Sequence[OnlineHome]) -> None:
        """Make the store one that loaded these homes one after the other."""
        key = (*name, len(homes))
        store.flushall()
        if key not in self._copies:
            for home in homes:
                home.run(store, KEEP)
            self._copies[key] = {k: store.dump(k) for k in store.scan_iter(count=1_000)}
            return
        with store.pipeline(transaction=False) as pipe:
            for redis_key, content in self._copies[key].items():
                pipe.restore(redis_key, 0, content)
            pipe.execute()

    def clean(self, store: Any, name: tuple[str, ...], home: OnlineHome) -> dict[Any, Any]:
        """What a load into an empty store leaves, as readers see it; the store is overwritten."""
        if name not in self._cleaned:
            store.flushall()
            home.run(store, KEEP)
            self._cleaned[name] = values(dump(store))
        return self._cleaned[name]


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return Prepared()


@pytest.mark.parametrize("part", range(6))
@pytest.mark.parametrize("topology", ["single", "cluster"])
def test_readers_see_whole_releases_whatever_dies(
    homes_of: Callable[[str], list[OnlineHome]],
    prepared: Prepared,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    topology: str,
    part: int,
) -> None:
    store = request.getfixturevalue("store" if topology == "single" else "cluster_store")
    monkeypatch.setattr(generations, "CLUSTER_GRACE_S", 0.01)
    chance = random.Random(part)
    for _ in range(COMBINATIONS // 12):
        change, reader = chance.choice(list(CHANGES)), chance.choice(list(READERS))
        crash = chance.choice(["run", "full", "back", "expire"])
        what, homes = f"{change}, {crash}, {reader}, {topology}", homes_of(change)
        watcher = Watcher(store, READERS[reader])
        at = chance.randint(1, 150 if crash != "back" else 12)
        loaded = homes[: 2 if crash in ("back", "expire") else 1]
        prepared.put(store, (change, topology), loaded)
        left = play(store, homes, crash, watcher, at, monkeypatch)
        assert not watcher.errors, (what, watcher.errors)
        assert all(len(numbers) == 1 for numbers in watcher.seen), (what, watcher.seen)
        assert left == prepared.clean(store, (change, topology), homes[2]), what


def play(
    store: Any,
    homes: list[OnlineHome],
    crash: str,
    watcher: Watcher,
    at: int,
    patch: pytest.MonkeyPatch,
) -> dict[Any, Any]:
    """Die at a command, go on; what is left."""
    _, second, third = homes
    keep = KEEP.model_copy(update={"keep": KEEP.keep * 0}) if crash == "expire" else KEEP
    action: dict[str, Callable[[], object]] = {
        "run": lambda: second.run(store, KEEP),
        "full": lambda: second.run(store, KEEP, full=True),
        "back": lambda: switch_back(store, KEEP, 1),
        "expire": lambda: third.run(store, keep),
    }
    with watcher:
        with dying(at, patch), suppress(Crash):
            action[crash]()
        lease_ends(store)
        action[crash]()
        third.run(store, keep)
    assert plain(OnlineClient(store)) == {3}
    left = values(dump(store))
    assert all(moved.up_to_date for moved in third.run(store, keep).values())
    return left
