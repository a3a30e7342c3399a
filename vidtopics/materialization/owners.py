"""Whose keys a prefix has: the home that loaded it first, until another is told to take it over."""

from __future__ import annotations

import json
import logging
import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from vidtopics.contracts import RELEASES
from vidtopics.errors import StoreError, explain
from vidtopics.layout import place
from vidtopics.layout.known import read_known
from vidtopics.materialization.lock import Lease
from vidtopics.online.connections import Connection
from vidtopics.tables import Tables

FILE = "home-id"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """A home: its id, which a copy or a backup of it shares, and where it lies."""

    home: str
    where: str
    since: str = ""

    def __str__(self) -> str:
        return f"the home {self.where} ({self.home[:8]})"


def home_id(tables: Tables) -> str:
    """The home's id: that of its table of releases when it was first asked for.

    It is kept in a file, as the table may be made anew; a home that can't be written to does
    without. Backups and copies have the id of what they are copies of.
    """
    file = tables.home / FILE
    with suppress(OSError):
        if text := file.read_text().strip():
            return text
    name = str(tables.delta(RELEASES).metadata().id)
    with suppress(OSError):
        file.write_text(f"{name}\n")
    return name


class OwnerError(StoreError):
    """The prefix has another home's keys."""


def check(connection: Connection, prefix: str, tables: Tables) -> None:
    """OwnerError where the prefix is another home's; it may be nobody's."""
    text: Any = connection.get(place(prefix, "owner"))
    if text:
        _refuse_another(prefix, _own(tables), read_known(Owner, text))


def claim(lease: Lease, tables: Tables, *, take_over: bool = False) -> None:
    """Enter the home as the prefix's owner where there is none, or with `take_over`.

    Raises:
        OwnerError: the prefix is another home's. Nothing was changed.
    """
    key = place(lease.prefix, "owner")
    own = _own(tables)

    def change(pipe: Any) -> Owner | None:
        text = pipe.get(key)
        stored = read_known(Owner, text) if text else None
        pipe.multi()
        if stored is None or (take_over and stored.home != own.home):
            pipe.set(key, json.dumps(asdict(own)))
        return stored

    owner = lease.transaction(change, "owner")
    if owner is None or owner.home == own.home:
        return
    if not take_over:
        _refuse_another(lease.prefix, own, owner)
    _logger.warning("Redis, prefix %r: %s took over from %s", lease.prefix, own, owner)


def _own(tables: Tables) -> Owner:
    where = tables.bucket or f"{socket.gethostname()}:{os.fspath(tables.home)}"
    return Owner(home_id(tables), where, datetime.now(UTC).isoformat(timespec="seconds"))


def _refuse_another(prefix: str, own: Owner, owner: Owner) -> None:
    if owner.home == own.home:
        return
    raise OwnerError(
        explain(
            f"Redis, prefix {prefix!r}",
            expected=f"the keys of {own}",
            found=f"those of {owner}, since {owner.since}",
            mend="give this home a prefix of its own (`online.prefix`), or load it with "
            "`vidtopics materialize --take-over`, which replaces what the other has loaded",
        )
    )
