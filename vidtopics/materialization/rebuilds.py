"""Whether a new generation may be begun: memory for it, and what became of the attempts before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import redis
from deltalake import DeltaTable

from vidtopics.contracts import Table
from vidtopics.errors import ContractError, StoreError, TableError, explain
from vidtopics.layout import ViewEntry, place
from vidtopics.layout.known import read_known
from vidtopics.materialization.generations import Generations
from vidtopics.online.connections import Connection
from vidtopics.tables.scans import scan
from vidtopics.tables.whole import readable

if TYPE_CHECKING:
    from vidtopics.materialization.views import Round

MOST_DEATHS = 3
SAMPLE = 200


@dataclass(frozen=True)
class Attempt:
    """The rebuilds of a view for one cause: how many were begun, and the error of one that failed.

    A process that dies leaves no error: it may have been killed for its memory, so that rebuilds
    for a cause that nothing else stops are begun :data:`MOST_DEATHS` times.

    >>> Attempt("fields changed", begun=2).is_over, Attempt("fields changed", 1, "OOM").is_over
    (False, True)
    """

    cause: str
    begun: int = 0
    error: str = ""

    @property
    def is_over(self) -> bool:
        """Whether another round doesn't begin it again."""
        return bool(self.error) or self.begun >= MOST_DEATHS


@contextmanager
def attempt(
    run: Round, table: Table, rows: DeltaTable, why: str, live: ViewEntry | None
) -> Iterator[None]:
    """Within the block a view goes to a new generation, filled with `rows`.

    Raises:
        StoreError: an earlier attempt for the same cause failed and nobody asked for another, or
            Redis has no memory for it.
    """
    cause = f"{why} (version {rows.version()})"
    note = _noted(run.store, table.name)
    if note is None or note.cause != cause:
        note = Attempt(cause)
    if note.is_over and not run.full:
        raise StoreError(
            explain(
                f"{table.name}, a new generation, as {cause}",
                expected="a cause that was not tried yet",
                found=note.error or f"{note.begun} rebuilds that died before their end",
                mend="mend that, then `vidtopics materialize --full`; a new release is tried too",
            )
        )
    try:
        _check_memory(run.store, table, rows, why, live)
        note = replace(note, begun=note.begun + 1, error="")
        _note(run.store, table.name, note)
        yield
    except (TableError, ContractError, redis.exceptions.OutOfMemoryError) as error:
        _note(run.store, table.name, replace(note, error=str(error)))
        raise


def needed_bytes(
    store: Generations, entry: ViewEntry | None, rows: DeltaTable, table: Table
) -> int:
    """What a new generation takes, by the memory of some of the live one's values."""
    if entry is None:
        return 0
    with readable(table, rows.version()):
        ids = scan(rows).to_table(columns=[table.key[0]])[table.key[0]].unique()
    chosen = set(np.linspace(0, len(ids) - 1, SAMPLE).astype(int).tolist()) if len(ids) else set()
    keys = store.keys(entry).of([ids[i].as_py().encode() for i in sorted(chosen)])
    sizes: list[Any] = [store.connection.memory_usage(key.decode()) for key in keys]
    values = [int(size) for size in sizes if size]
    return round(float(np.mean(values)) * len(ids)) if values else 0


@dataclass(frozen=True)
class Memory:
    """What a server holds and may hold; all primaries of a cluster together."""

    used: int
    limit: int

    @classmethod
    def of(cls, connection: Connection) -> Memory:
        """Where a server has no `maxmemory`, its machine's memory is the limit."""
        nodes: list[Any] = (
            [connection.info("memory", target_nodes=n) for n in _primaries(connection)]
            if isinstance(connection, redis.RedisCluster)
            else [connection.info("memory")]
        )
        limits = [int(n["maxmemory"]) or int(n.get("total_system_memory", 0)) for n in nodes]
        return cls(sum(int(n["used_memory"]) for n in nodes), sum(limits))


def _primaries(cluster: Any) -> list[Any]:
    return list(cluster.get_primaries())


def _check_memory(
    store: Generations, table: Table, rows: DeltaTable, why: str, live: ViewEntry | None
) -> None:
    memory = Memory.of(store.connection)
    needed = needed_bytes(store, live, rows, table)
    if memory.limit and memory.used + needed > memory.limit:
        raise StoreError(
            explain(
                f"{table.name}, a new generation, as {why}",
                expected=f"room for about {megabytes(needed)} in Redis, beside the live one",
                found=f"{megabytes(memory.used)} used of {megabytes(memory.limit)}",
                mend="raise `maxmemory`, shorten `online.keep`, or load into a larger server",
            )
        )


def megabytes(count: float) -> str:
    """Bytes as people read them.

    >>> megabytes(12_345_678)
    '12.3 MB'
    """
    return f"{count / 1e6:,.1f} MB"


def _noted(store: Generations, view: str) -> Attempt | None:
    text: Any = store.connection.hget(place(store.prefix, "attempts"), view)
    return read_known(Attempt, text) if text else None


def _note(store: Generations, view: str, note: Attempt) -> None:
    def change(pipe: Any) -> None:
        pipe.multi()
        pipe.hset(place(store.prefix, "attempts"), view, json.dumps(asdict(note)))

    store.change(change)
