"""A home whose tables are written row by row, and what materialisation made of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis
from deltalake import CommitProperties, write_deltalake

from benchmarks.homes import release_tables
from vidtopics.contracts import (
    TOPIC_QUEUES,
    USER_RECENT_CLICKS,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
    Table,
)
from vidtopics.failpoints import Crash
from vidtopics.layout import HEADER, place
from vidtopics.layout.chain import visible, with_load
from vidtopics.materialization import Moved, materialize
from vidtopics.settings import OnlineSettings
from vidtopics.tables import FOREVER, Commit, Tables
from vidtopics.tables.commits import METADATA
from vidtopics.tables.deltalake_engine import append, counted
from vidtopics.tables.schemas import arrow_schema

SETTINGS = OnlineSettings(buckets=4, keep=timedelta(0))
KEEP = OnlineSettings(buckets=4, keep=timedelta(hours=1))
Row = tuple[str, int, int, int | None]


def queue_of(name: str) -> dict[str, Any]:
    """Level, topic and freshness that a queue's name stands for, as `p8:fresh`."""
    queue, _, fresh = name.partition(":")
    level = {"a": "catalogue", "p": "parent"}.get(queue[0], "topic")
    number = 0 if level == "catalogue" else int(queue.removeprefix("p"))
    return {"queue_level": level, "topic_id": number, "fresh": bool(fresh)}


@dataclass
class OnlineHome:
    """Rows are (video, event, created, n); all features of a row follow from n, None ends it."""

    root: Path
    releases: int = 0
    snapshots: int = 0
    tables: Tables = field(init=False)

    def __post_init__(self) -> None:
        self.tables = Tables(self.root)

    def statistics(self, *rows: Row) -> None:
        self._append(VIDEO_STATISTICS, rows, lambda n: {"video_exposures": n, "video_clicks": 1})

    def topics(self, *rows: Row) -> None:
        self._append(
            VIDEO_TOPICS,
            rows,
            lambda n: {
                "topic_ids": [n] + [-1] * 7,
                "topic_weights": [n / 8] + [0.0] * 7,
                "parent_topic_ids": [n % 3] + [-1] * 7,
                "topic_count": 1,
                "below_threshold": n % 2 == 1,
                "topic_epoch": 1,
            },
        )

    def joint(self, *rows: Row, width: int = 3) -> None:
        self._append(
            VIDEO_JOINT_REPRESENTATION,
            rows,
            lambda n: {
                "joint_embedding": [float(n)] * width,
                "content_blocks": 3,
                "encoder_version": f"é{n}",
            },
        )

    def clicks(self, **users: list[str]) -> None:
        """All users' recent clicks; rows of those that changed, or have none any more."""
        self.snapshots += 1
        rows = self.tables.as_of(
            USER_RECENT_CLICKS, FOREVER, columns=["user_id", "recent_video_ids"]
        )
        before = {row["user_id"]: row["recent_video_ids"] for row in rows.to_pylist()}
        now = {user: videos for user, videos in users.items() if videos}
        plain = [
            {
                "user_id": user,
                "recent_video_ids": now.get(user),
                "recent_times": [1] * len(now[user]) if user in now else None,
                "recent_watch_seconds": [-1.0] * len(now[user]) if user in now else None,
                "value_hash": hash(tuple(now[user])) | 1 if user in now else 0,
                "event_timestamp": self.snapshots,
                "created_timestamp": self.snapshots,
            }
            for user in sorted({*before, *now})
            if before.get(user) != now.get(user)
        ]
        self._commit(USER_RECENT_CLICKS, plain)

    def queues(
        self, queues: Mapping[int | str, list[str]], *, epoch: int = 1, ctr: float = 0.5
    ) -> None:
        """All queues by name, 10 exposures a video; rows lie in the table last position first."""
        rows = [
            {
                **queue_of(str(name)),
                "video_id": video,
                "queue_position": i + 1,
                "queue_ctr": ctr,
                "queue_exposures": 10,
                "queue_clicks": 10 * ctr,
                "topic_epoch": epoch,
            }
            for name, videos in queues.items()
            for i, video in enumerate(videos)
        ]
        self._replace(TOPIC_QUEUES, rows[::-1])

    def release(self) -> None:
        self.releases += 1
        assert (
            release_tables(
                self.tables, as_of_us=self.releases, created_us=self.releases, settings="s"
            )
            == self.releases
        )

    def run(
        self, store: redis.Redis, settings: OnlineSettings = SETTINGS, **options: Any
    ) -> dict[str, Moved]:
        return {moved.name: moved for moved in materialize(self.tables, store, settings, **options)}

    def _append(self, table: Table, rows: tuple[Row, ...], features: Any) -> None:
        nothing = {c.name: None for c in table.values}
        plain = [
            {
                "video_id": video,
                **(nothing if n is None else features(n)),
                "event_timestamp": event,
                "created_timestamp": created,
                "value_hash": n or 0,
            }
            for video, event, created, n in rows
        ]
        self._commit(table, plain)

    def _commit(self, table: Table, plain: list[dict[str, Any]]) -> None:
        data = pa.Table.from_pylist(plain, arrow_schema(table))
        commit = counted(
            Commit("by hand", 1, 1), data.num_rows, data["created_timestamp"].cast(pa.int64())
        )
        append(table, self.tables.delta(table, create=True), iter(data.to_batches()), commit)

    def _replace(self, table: Table, rows: list[dict[str, Any]]) -> None:
        self.snapshots += 1
        plain = [{**row, "event_timestamp": 1, "created_timestamp": 1} for row in rows]
        commit = Commit(
            "by hand", self.snapshots, self.snapshots, rows=len(rows), content=str(self.snapshots)
        )
        write_deltalake(
            self.tables.delta(table, create=True),
            pa.Table.from_pylist(plain, arrow_schema(table)),
            mode="overwrite",
            commit_properties=CommitProperties(custom_metadata={METADATA: commit.to_json()}),
        )


def stages(root: Path, steps: Iterable[Callable[[OnlineHome], None]]) -> list[OnlineHome]:
    """One home released after each step, as it was then. Not to be written to."""
    home, homes = OnlineHome(root / "now"), []
    for i, step in enumerate(steps):
        step(home)
        home.release()
        shutil.copytree(home.root, root / str(i))
        homes.append(OnlineHome(root / str(i)))
    return homes


RUNS = {
    *("lock", "directory", "servers", "loads", "loading", "logged", "releases", "queues"),
    *("owner", "last", "written", "attempts"),
}
"""Names of the directory that differ between runs that leave the same."""


def dump(store: Any, prefix: str = "vt") -> dict[bytes, Any]:
    """Every key with what readers see of it, but for what differs between runs.

    That is lock and fences (they count runs), servers, the directory's version (a clock), and the
    numbers of loads: those of topic queues are 0 here, and so is each value's.
    """
    read = {
        b"string": store.get,
        b"list": lambda key: store.lrange(key, 0, -1),
        b"hash": lambda key: {name: plain(text) for name, text in store.hgetall(key).items()},
    }
    clock = {place(prefix, name).encode() for name in RUNS}
    keys = [key for key in store.scan_iter(count=1000) if b":fence" not in key and key not in clock]
    stored = {key: read[store.type(key)](key) for key in keys}
    return _without_loads(stored, prefix)


def _without_loads(stored: dict[bytes, Any], prefix: str) -> dict[bytes, Any]:
    entries = stored.get(place(prefix, "views").encode(), {}).values()
    live = {b"%d:%d" % (e["generation"], e["number"]): e["live"] for e in entries}
    for entry in entries:
        entry["live"] = 0
    facts = stored.get(place(prefix, "structures").encode(), {}).get(b"topic_queues", {})
    queues = f"{prefix}:queue:{facts.get('load')}:".encode()
    facts |= {"load": 0}
    return {
        key.replace(queues, f"{prefix}:queue:0:".encode()): _without_load(key, value, live)
        for key, value in stored.items()
    }


def _without_load(key: bytes, value: Any, live: dict[bytes, int]) -> Any:
    parts = key.split(b":")
    if parts[1] == b"lists":
        return {name.partition(b":")[0]: text for name, text in value.items()}
    if b":".join(parts[1:3]) in live and len(value) >= HEADER.itemsize:
        seen = visible(value, live[b":".join(parts[1:3])])
        return seen and with_load(seen, 0)
    return value


def plain(text: bytes) -> Any:
    return json.loads(text) if text.startswith((b"{", b"[")) else text


def lease_ends(store: Any, prefix: str = "vt") -> None:
    """What time does to the lock of a holder that died."""
    store.delete(place(prefix, "lock"))


@contextmanager
def dying_at(command: int, patch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """From its `command`-th sending to Redis on the process gets Crash.

    The list counts what was sent.
    """
    sent, real = [0], redis.Connection.send_packed_command

    def send(*arguments: Any, **named: Any) -> None:
        sent[0] += 1
        if 0 < command <= sent[0] and b"UNWATCH" not in b"".join(
            arguments[1]
        ):  # what a pipeline sends when it is thrown away
            raise Crash("at a command")
        real(*arguments, **named)

    with patch.context() as inner:
        inner.setattr(redis.Connection, "send_packed_command", send)
        yield sent
