"""Which files of a home are copied, and in which order a reader may come upon them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from enum import IntEnum

from vidtopics.storage.objects import Listed, Objects

HOME_ID = "home-id"
COPYING = "copying.json"
"""In a home that is being filled: by whose copy."""
LOGBOOKS = ("releases", "loads")
"""Tables that name versions of the others."""
# What belongs to a machine or can be made again: the embedded server, locks, what waits or runs
# here, Feast's registry with this folder's path in it, pages, and covers, whose paths are absolute.
LEFT_OUT = (
    "redis",
    "live",
    "inbox",
    "simulated",
    "experiment",
    "run.lock",
    "run.clock",
    "inbox.lock",
    "bucket.json",
    "online.json",
    "feature_store.yaml",
    "registry.db",
    "registry.applied",
    "registry.release",
    "explore.html",
    "explore",
    "logs/spark.log",
    "models/training",
    COPYING,
)
_TEMPORARY = re.compile(
    r"(landing|staging)-[^/]+/|(.*/)?[.][^/]*(/|$)|models/[^/]+/[^/]+[.]checkpoint$"
)
_LOG = re.compile(r"tables/([^/]+)/_delta_log/(.+)")
_ENTRY = re.compile(r"tables/([^/]+)/_delta_log/(\d{20})\.json")
_MANIFEST = re.compile(r"models/topics/\d+/manifest\.json")
_CHECKPOINT = re.compile(r"tables/[^/]+/_delta_log/(\d{20})\.checkpoint\.(?:.+\.)?parquet")


class Stage(IntEnum):
    """When a file is copied: each stage is there as a whole before the next begins.

    A log entry never names a file that isn't there, nor a release a version or a model.
    """

    DATA = 0
    MODELS = 1
    LOGS = 2
    RELEASES = 3
    REST = 4


def is_left_out(key: str) -> bool:
    """Whether a file stays where it is.

    >>> is_left_out("redis/lock"), is_left_out("redis.txt"), is_left_out("tables/a/.x.part")
    (True, False, True)
    >>> is_left_out("models/ranking/final.checkpoint"), is_left_out("models/ranking/model.json")
    (True, False)
    """
    inside = any(key == name or key.startswith(f"{name}/") for name in LEFT_OUT)
    return inside or _TEMPORARY.match(key) is not None


def is_sent(key: str) -> bool:
    """Whether a file that a verb writes in a mirror goes to the bucket.

    Tables are written there anyway. Logs and deliveries with their covers stay on the machine that
    has them: others of the same name lie on others.

    >>> is_sent("models/topics/1/manifest.json"), is_sent("settings.yaml"), is_sent("run.lock")
    (True, True, False)
    """
    on_machine = ("tables/", "logs/", "deliveries/")
    return not (is_left_out(key) or key.startswith(on_machine))


def stage_of(key: str) -> Stage:
    """When a file is copied.

    >>> stage_of("tables/topics/part-1.parquet") < stage_of("tables/topics/_delta_log/1.json")
    True
    >>> stage_of("tables/topics/_delta_log/9.json") < stage_of("tables/loads/_delta_log/1.json")
    True
    """
    if log := _LOG.fullmatch(key):
        return Stage.RELEASES if log[1] in LOGBOOKS else Stage.LOGS
    if key.startswith(("tables/", "logs/", "reports/")):
        return Stage.DATA
    if key.startswith("models/"):
        return Stage.MODELS if key.endswith(".json") else Stage.DATA
    return Stage.REST


def log_of(key: str) -> str | None:
    """The table whose log a file belongs to; None for any other.

    >>> log_of("tables/topics/_delta_log/00000000000000000001.json"), log_of("settings.yaml")
    ('topics', None)
    """
    log = _LOG.fullmatch(key)
    return log[1] if log else None


def is_final(key: str) -> bool:
    """Whether a file never changes once it has its name: a log's entry, a model's manifest.

    >>> is_final("models/topics/3/manifest.json"), is_final("models/ranking/model.json")
    (True, False)
    """
    return bool(_ENTRY.fullmatch(key) or _MANIFEST.fullmatch(key))


def latest_entries(keys: Iterable[str]) -> dict[str, int]:
    """The last version of each table that has an entry among the keys.

    >>> log = "tables/topics/_delta_log/"
    >>> latest_entries([f"{log}{version:020}.json" for version in (0, 11)])
    {'topics': 11}
    """
    latest: dict[str, int] = {}
    for entry in filter(None, map(_ENTRY.fullmatch, keys)):
        latest[entry[1]] = max(int(entry[2]), latest.get(entry[1], -1))
    return latest


def checkpoints(keys: Iterable[str]) -> set[int]:
    """The versions of the checkpoints among the keys."""
    return {int(match[1]) for match in map(_CHECKPOINT.fullmatch, keys) if match}


def survey(source: Objects) -> tuple[dict[str, Listed], dict[str, int]]:
    """The files to copy, and how many stay behind, by the first part of their names.

    The log of releases is listed first and the data last, so that what is copied of a home at work
    has all that its releases and its log entries name.
    """
    releases = {
        key: item
        for name in LOGBOOKS
        for key, item in source.list(f"tables/{name}/_delta_log").items()
    }
    logs = {key: item for key, item in source.list().items() if stage_of(key) == Stage.LOGS}
    rest = source.list()
    left_out = Counter(key.partition("/")[0] for key in rest if is_left_out(key))
    others = {
        key: item for key, item in rest.items() if stage_of(key) not in (Stage.LOGS, Stage.RELEASES)
    }
    files = {key: item for key, item in (releases | logs | others).items() if not is_left_out(key)}
    return _without_newer_checkpoints(source, files), dict(left_out)


def _without_newer_checkpoints(source: Objects, files: dict[str, Listed]) -> dict[str, Listed]:
    """Leave out a `_last_checkpoint` that names a checkpoint which isn't among the files.

    A reader finds the checkpoints without it, by listing.
    """
    for key in [key for key in files if key.endswith("/_delta_log/_last_checkpoint")]:
        log = key.rpartition("/")[0]
        version = json.loads(source.read(key)).get("version")
        if version not in checkpoints(name for name in files if name.startswith(f"{log}/")):
            del files[key]
    return files
