"""A home of which a person has a part everywhere, and a scan that finds her wherever she stands."""

from __future__ import annotations

import gzip
import json
import os
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import redis
from deltalake import DeltaTable, write_deltalake
from events_home import SETTINGS, VIDEOS, SmallHome, now_us
from live_worlds import DAY, Shown

from vidtopics.events.generations import keys_of
from vidtopics.ingest.landing import land
from vidtopics.materialization import live
from vidtopics.online import OnlineClient
from vidtopics.online.events import EventClient
from vidtopics.online.serving_log import ServingLog

HER = "person-änne-0815"
OTHERS = ["friend-1", "friend-2", "friend-3"]
USERS = [HER, *OTHERS]


def log(begin_us: int, name: str, *, number: int = 16, users: Iterable[str] = USERS) -> list[Shown]:
    """Impressions of all users in turn, two thirds of them clicked; ids name their users."""
    users = [*users]
    return [
        Shown(
            f"{name}{i}-{users[i % len(users)]}",
            users[i % len(users)],
            VIDEOS[i % 5],
            begin_us + i,
            i + 1,
            begin_us + 100 + i if i % 3 else None,
        )
        for i in range(number)
    ]


def build(root: Path, store: redis.Redis, *, releases: int = 3) -> SmallHome:
    """A home with releases, events, dead letters, a serving log, sets and a model."""
    home = SmallHome(root)
    for number in range(releases):
        home.deliver(log(now_us() - 3_600_000_000 * (releases - number), f"d{number}-"))
        home.release()
        home.load(store)
    send(home, store)
    serve(home, store)
    save_sets(home)
    return home


def send(home: SmallHome, store: redis.Redis) -> None:
    """Events in live state; some have landed, one waits for its time, one is a dead letter."""
    client = EventClient(store)
    before = log(now_us() - 20_000_000, "landed-")
    client.send([e.impression() for e in before] + [e.click() for e in before if e.clicked_us])
    bad = {**before[0].impression(), "event_id": "bad", "event_timestamp": "yesterday"}
    client.send([bad, {**bad, "user_id": OTHERS[0]}])
    applier = live.begin(store, home.settings)

    def apply() -> None:
        for generation in live.synchronise(home.tables, applier):
            applier.apply(generation)

    apply()
    land(home.tables, store, keys_of(store, "vt"), home.settings.ingest, DAY)
    later = log(now_us() - 10_000_000, "live-")
    client.send([e.impression() for e in later] + [e.click() for e in later if e.clicked_us])
    client.send([{**bad, "event_id": "bad2"}])
    ahead = log(now_us() + 3_600_000_000, "ahead-", number=4)
    client.send([e.impression() for e in ahead])
    apply()
    land(home.tables, store, keys_of(store, "vt"), home.settings.ingest, timedelta(days=2))
    client.send([e.impression() for e in log(now_us() - 5_000_000, "unlanded-")])
    apply()


def serve(home: SmallHome, store: redis.Redis) -> None:
    """A serving log of each user's values, and a log of requests."""
    serving = ServingLog(home.tables.home / "logs" / "served", store, share=1.0)
    client = OnlineClient(store, log=serving)
    for user in USERS:
        client.read("user_recent_clicks", [user])
        client.read("video_statistics", VIDEOS)
    client.read("user_statistics", USERS)
    serving.close()
    lines = [json.dumps({"user_id": user, "candidates": VIDEOS}) for user in USERS]
    (home.tables.home / "logs" / "requests.jsonl").write_text("\n".join(lines) + "\n")


def save_sets(home: SmallHome) -> None:
    """Training sets as a file and as a table, a CSV, and what a ranking model knows."""
    root = home.tables.home
    sets = root / "sets"
    sets.mkdir()
    rows = pa.table({"user_id": USERS * 3, "video_id": VIDEOS[:4] * 3})
    pq.write_table(rows, sets / "one.parquet", compression="zstd")
    for _ in range(2):
        write_deltalake(sets / "two", rows, mode="append")
    DeltaTable(sets / "two").optimize.compact()
    DeltaTable(sets / "two").create_checkpoint()
    (sets / "spine.csv").write_text("user_id,n\n" + "".join(f'"{u}",1\n' for u in USERS))
    model = root / "models" / "ranking"
    model.mkdir(parents=True)
    plain = {"users": USERS, "videos": VIDEOS, "weights": "w.safetensors"}
    (model / "model.json").write_text(json.dumps(plain))


def needles(person: str) -> list[bytes]:
    """The id as it may stand in a file; base64 of it at each of three offsets."""
    raw = person.encode()
    escaped = json.dumps(person)[1:-1].encode()
    base64 = [b64encode(b"x" * n + raw)[4:-4] for n in range(3)]
    return [raw, escaped, person.encode("utf-16-le"), person.encode("utf-16-be"), *base64]


def traces(root: Path, person: str) -> list[str]:
    """Files below a folder that have the id, as bytes or in what they decode to."""
    wanted = needles(person)
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            for what, data in decoded(path):
                if person.encode() in (path.name.encode(), *path.as_posix().encode().split(b"/")):
                    found.append(f"{path}: its name")
                found += [f"{path}: {what}" for needle in wanted if needle in data]
    return sorted(set(found))


def decoded(path: Path) -> Iterator[tuple[str, bytes]]:
    data = path.read_bytes()
    yield "bytes", data
    if data[:2] == b"\x1f\x8b":
        yield "gzip", gzip.decompress(data)
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            yield "rows", repr(file.read().to_pylist()).encode()
            yield "metadata", repr(file.metadata.to_dict()).encode()
            yield "schema", repr(file.schema_arrow.metadata).encode()


def redis_traces(store: redis.Redis, person: str) -> list[str]:
    """Keys of a server that have the id, in their names, values or dumps."""
    wanted = needles(person)
    found = []
    for key in store.scan_iter():
        value = repr(content(store, key)).encode().decode("unicode_escape").encode("latin-1")
        for data in (key, value, store.dump(key) or b""):
            found += [repr(key) for needle in wanted if needle in data]
    return sorted(set(found))


def content(store: redis.Redis, key: bytes) -> Any:
    kind = store.type(key)
    readers: dict[bytes, Any] = {
        b"string": store.get,
        b"hash": store.hgetall,
        b"set": store.smembers,
        b"list": lambda k: store.lrange(k, 0, -1),
        b"zset": lambda k: store.zrange(k, 0, -1),
        b"stream": store.xrange,
    }
    return readers[kind](key)


__all__ = ["HER", "OTHERS", "SETTINGS", "USERS", "replace"]
