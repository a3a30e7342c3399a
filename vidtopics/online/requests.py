"""A read without its transport: which keys to ask for, and what the answers mean. The sync and the async client share it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtopics.errors import StoreError, explain
from vidtopics.layout import Directory, place
from vidtopics.online.features import Features, gather


def ask(pipe: Any, prefix: str) -> None:
    """Queue the commands whose answers :meth:`Directory.parse` takes, on a sync or async pipeline."""
    for name in ("directory", "layout"):
        pipe.get(place(prefix, name))
    for name in ("views", "schemas"):
        pipe.hgetall(place(prefix, name))


def encoded(ids: Sequence[str]) -> list[bytes]:
    """Ids as the bytes that keys end with; TypeError names one that is no text.

    >>> encoded(["v1", 7])
    Traceback (most recent call last):
    ...
    TypeError: ids: expected a list of strings, found 7 (int). Mend: pass [str(id), ...].
    """
    if not isinstance(ids, str):
        try:
            return [i.encode() for i in ids]
        except AttributeError:  # no test of each id where all is well
            pass
    wrong = ids if isinstance(ids, str) else next(i for i in ids if not isinstance(i, str))
    found = f"{wrong!r} ({type(wrong).__name__})"
    raise TypeError(explain("ids", expected="a list of strings", found=found, mend="pass [str(id), ...]"))


@dataclass(frozen=True)
class Request:
    """Keys of one MGET (the directory's version first), and whose they are: for each view the fingerprints of its ids."""

    directory: Directory
    keys: list[bytes]
    views: tuple[tuple[str, NDArray[np.uint32]], ...]

    @classmethod
    def of(cls, directory: Directory, parts: Iterable[tuple[str, Sequence[bytes]]]) -> Request:
        """The request for (view, ids) pairs; StoreError names a view that isn't there."""
        keys = [place(directory.prefix, "directory").encode()]
        views = []
        for view, ids in parts:
            space = directory.keys(view)
            own, fingerprints = space.addresses(ids)
            keys += own
            views.append((view, fingerprints))
        return cls(directory, keys, tuple(views))

    def stale(self, answers: Sequence[bytes | None]) -> bool:
        """Whether the directory has changed since it was read."""
        return answers[0] is None or int(answers[0]) != self.directory.version

    def features(self, answers: Sequence[bytes | None], names: Sequence[str] | None = None) -> list[Features]:
        """What the answers say, for each (view, ids) pair."""
        now_us, start = time.time_ns() // 1000, 1
        found = []
        for view, fingerprints in self.views:
            entry = self.directory.view(view)
            values = answers[start : start + len(fingerprints)]
            start += len(fingerprints)
            schemas = self.directory.schemas
            ttl_us = entry.ttl_us
            found.append(
                gather(schemas[entry.schema], schemas, values, fingerprints, now_us=now_us, ttl_us=ttl_us, names=names)
            )
        return found


@dataclass(frozen=True)
class Catalogue:
    """What `structures` says: the epoch of the topic queues and the topics by falling number of clicks."""

    epoch: int
    topics: tuple[int, ...]

    @classmethod
    def parse(cls, prefix: str, text: bytes | None) -> Catalogue:
        """From the field `topic_queues`; StoreError where no queue was ever written."""
        if text is None:
            raise StoreError(
                explain(f"Redis, prefix {prefix!r}", expected="topic queues", found="none",
                        mend="run `vidtopics run` and `vidtopics materialize`")
            )  # fmt: skip
        found = json.loads(text)
        return cls(found["epoch"], tuple(found["topics"]))
