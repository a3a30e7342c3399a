"""A request from its beginning to its receipt; run again, it goes on where it died."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
from deltalake.exceptions import CommitFailedError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from vidtopics.contracts import CLICKS, DEAD_EVENTS, IMPRESSIONS, TABLES, USER_ID, Table, rejected
from vidtopics.erasure import history
from vidtopics.erasure.derived import derived
from vidtopics.erasure.files import OTHERS, erase_files, mentions
from vidtopics.erasure.ids import Ids
from vidtopics.erasure.online import erase_online, rewrite_files
from vidtopics.erasure.receipts import Receipt, Receipts
from vidtopics.failpoints import failpoint
from vidtopics.online.connections import Connection
from vidtopics.settings import ErasureSettings
from vidtopics.tables import Tables
from vidtopics.tables.releases import read_log
from vidtopics.tables.schemas import COUNTED_ANEW, STATS_COLUMNS, configuration
from vidtopics.tables.stamps import now_us

HOLDERS = tuple(
    table
    for table in TABLES.values()
    if USER_ID in table.columns or table in (rejected(IMPRESSIONS), rejected(CLICKS), DEAD_EVENTS)
)
"""Tables whose rows are of a person, or may tell of one."""
EVENTS = (IMPRESSIONS, CLICKS, DEAD_EVENTS)
Hold = Callable[[], AbstractContextManager[object]]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Server:
    """A Redis that the home was loaded into.

    Attributes:
        name: its address, without user and password.
        connection: to it.
        prefix: how the home's keys begin.
        hold: keeps others from loading meanwhile.
    """

    name: str
    connection: Connection
    prefix: str
    hold: Hold


def erase(
    tables: Tables,
    ids: Ids,
    request: str,
    settings: ErasureSettings,
    *,
    servers: Sequence[Server] = (),
    also: Sequence[Path] = (),
    hold: Hold = nullcontext,
    progress: Progress = lambda text: None,
) -> Receipt:
    """Erase people from a home, from its Redis, and from more folders; the receipt.

    Redis comes first, and once more when the tables are done, as a load may have read them before.

    Args:
        tables: the home's.
        ids: who.
        request: the name of the receipt.
        settings: what becomes of statistics.
        servers: where values of the home lie.
        also: folders outside the home, of saved training sets or serving logs.
        hold: keeps runs from the home once Redis is done; none has it, or BusyError.
        progress: called with what is being done.

    Raises:
        InputError: the request was made for other ids.
        BusyError: a run has the home, or a delivery is being written; run again.
    """
    receipts = Receipts(tables.home)
    receipt = receipts.begin(request, ids.values, now_us(), settings.counts)
    receipts.write(receipt)
    events = _events(tables, ids)
    for server in servers:
        progress(server.name)
        went = erase_online(server.connection, server.prefix, ids, events)
        receipt.note(f"Redis {server.name}", **went)
        receipts.write(receipt)
    failpoint("erase.redis")
    with hold():
        _erase_home(tables, ids, receipts, receipt, servers, also, events, progress)
    return receipt


def _erase_home(
    tables: Tables,
    ids: Ids,
    receipts: Receipts,
    receipt: Receipt,
    servers: Sequence[Server],
    also: Sequence[Path],
    events: set[str],
    progress: Progress,
) -> None:
    def erase_tables(which: Sequence[Table]) -> None:
        for table in filter(tables.exists, which):
            progress(table.name)
            _erase_table(tables, table, ids, receipts, receipt)

    erase_tables(HOLDERS)
    if receipt.counts == "remove":
        for log in (IMPRESSIONS, CLICKS):
            _count_anew(tables, log, receipt.requested_us)
    progress("files")
    without = frozenset(tables.home / name for name in (*OTHERS, "tables"))
    for root in (tables.home, *also):
        erase_files(root, ids, _noting(receipt, tables.home), without=without)
    failpoint("erase.files")
    erase_tables(EVENTS)  # a delivery that was judged before the receipt was there
    receipt.remaining = []
    for server in servers:
        progress(server.name)
        with server.hold():
            went = erase_online(server.connection, server.prefix, ids, events)
            receipt.note(f"Redis {server.name}", **went)
        receipt.remaining += [
            f"files of Redis {server.name}: {reason}" for reason in rewrite_files(server.connection)
        ]
    for root in (tables.home, *also):
        receipt.remaining += [
            _name(path, tables.home) for path in mentions(root, ids, without=without)
        ]
    receipt.remaining += [
        _name(path, tables.home)
        for path in mentions(tables.home / "tables", ids, without=frozenset())
    ]
    receipt.releases = sorted({release.release_id for release in read_log(tables)})
    receipt.derived = derived(tables, receipt.counts)
    if not receipt.remaining:
        receipt.state, receipt.done_us = "done", now_us()
    receipts.write(receipt)


def _events(tables: Tables, ids: Ids) -> set[str]:
    """Ids of the people's events in the log."""
    where = pc.field("user_id").isin(ids.array)
    return {
        event
        for log in (IMPRESSIONS, CLICKS)
        for event in tables.read(log, columns=["event_id"], where=where)["event_id"].to_pylist()
    }


def _erase_table(
    tables: Tables, table: Table, ids: Ids, receipts: Receipts, receipt: Receipt
) -> None:
    folder = tables.path(table)
    found = history.find(folder, ids)
    receipt.note(f"table {table.name}", rows=sum(found.rows.values()), files=len(found.rows))
    receipts.write(receipt)
    history.erase(folder, ids, found)
    _leave_out_of_statistics(tables, table)
    failpoint("erase.table")


_again = retry(
    retry=retry_if_exception_type(CommitFailedError),
    stop=stop_after_attempt(8),
    wait=wait_random(0, 0.5),
    reraise=True,
)


@_again
def _leave_out_of_statistics(tables: Tables, table: Table) -> None:
    """What is appended from now on to a table of an earlier version has no ids in its log."""
    wanted = configuration(table).get(STATS_COLUMNS)
    delta = tables.delta(table)
    if wanted and delta.metadata().configuration.get(STATS_COLUMNS) != wanted:
        delta.alter.set_table_properties({STATS_COLUMNS: wanted})


@_again
def _count_anew(tables: Tables, log: Table, requested_us: int) -> None:
    """Let the next run count the whole log, once for a request."""
    if not tables.exists(log):
        return
    delta = tables.delta(log)
    version, _, request = (delta.metadata().configuration.get(COUNTED_ANEW) or "").partition(" ")
    if not version or int(request) < requested_us:
        text = f"{delta.version()} {requested_us}"
        delta.alter.set_table_properties({COUNTED_ANEW: text}, raise_if_not_exists=False)


def _noting(receipt: Receipt, home: Path) -> Callable[[Path, str, int], None]:
    return lambda path, what, number: receipt.note(_name(path, home), **{what: number})


def _name(path: Path, home: Path) -> str:
    """Below the home as it is called there; else the whole path."""
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path)
