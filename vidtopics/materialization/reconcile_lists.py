"""The nightly check of the lists of topic queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import redis

from vidtopics.contracts import TOPIC_QUEUES
from vidtopics.materialization.batches import chunks
from vidtopics.materialization.changes import snapshot
from vidtopics.materialization.generations import Generations
from vidtopics.materialization.reports import Reconciled
from vidtopics.materialization.structures import everything, facts_of, is_from, keys_of
from vidtopics.tables import Tables
from vidtopics.tables.whole import readable


def lists(
    tables: Tables,
    store: Generations,
    sample: int,
    choice: np.random.Generator,
    *,
    due: bool,
) -> Reconciled | None:
    """Compare the queues with their table at the version that was loaded.

    None where nothing is loaded and nothing is `due`: named by the latest release.
    """
    table = TOPIC_QUEUES
    known, whole = facts_of(store)
    stored_keys = set(keys_of(store, known))
    if not whole:
        is_expected = known or stored_keys or due
        return (
            Reconciled(table.name, None, faults={"not loaded to its end": 1})
            if is_expected
            else None
        )
    delta = snapshot(tables, table, known["version"])
    if not is_from(delta, known):
        return Reconciled(table.name, None, faults={"loaded from another table": 1})
    with readable(table, known["version"]):
        rows = tables.read(table, version=known["version"])
    expected, catalogue = everything(store, rows, known)
    keys = sorted(expected)
    chosen = choice.random(len(keys)) < sample / max(1, len(keys))
    compared = [key for key, taken in zip(keys, chosen.tolist(), strict=True) if taken]
    missing, differing = expected.keys() - stored_keys, set(_differing(store, expected, compared))
    faults = {
        "missing": missing,
        "not in the table": stored_keys - expected.keys(),
        "another list": differing - missing,
    }
    named = {
        kind: sorted(_name(known, key) for key in keys_at_fault)
        for kind, keys_at_fault in faults.items()
    }
    named["another catalogue"] = _catalogue(known, catalogue)
    return Reconciled.of(
        table.name, known["version"], len(keys), 0, len(stored_keys), len(compared), named
    )


def _differing(
    store: Generations, expected: Mapping[bytes, Sequence[str]], keys: Sequence[bytes]
) -> list[bytes]:
    """Keys of lists that have other elements, or another order, or are no lists."""
    differing: list[bytes] = []
    for part in chunks(keys, 1_000):
        with store.connection.pipeline(transaction=False) as pipe:
            for key in part:
                pipe.lrange(cast("str", key), 0, -1)
            answers = pipe.execute(raise_on_error=False)
        for key, answer in zip(part, answers, strict=True):
            if isinstance(answer, Exception) and not _no_list(answer):
                raise answer
            if answer != [video.encode() for video in expected[key]]:
                differing.append(key)
    return differing


def _no_list(error: Exception) -> bool:
    return isinstance(error, redis.ResponseError) and "WRONGTYPE" in str(error)


def _name(known: Mapping[str, Any], key: bytes) -> bytes:
    """Whose list a key is: epoch:topic."""
    return b"%d:%b" % (known["epoch"], key.partition(b"{")[2].partition(b"}")[2])


def _catalogue(known: Mapping[str, Any], expected: Mapping[str, Any]) -> list[bytes]:
    """Topics that only catalogue or table has, and the catalogue's epoch where it differs.

    Their order isn't compared.
    """
    topics = set(known.get("topics", ())) ^ set(expected.get("topics", ()))
    epoch = (
        [f"epoch {known['epoch']}"]
        if expected.get("topics") and known["epoch"] != expected["epoch"]
        else []
    )
    return [name.encode() for name in (*epoch, *(f"topic {topic}" for topic in sorted(topics)))]
