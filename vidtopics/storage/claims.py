"""Whether a home may be copied to a place, and who is at it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from vidtopics.errors import ConflictError, SettingsError, explain
from vidtopics.paths import to_uri
from vidtopics.storage.addresses import Address
from vidtopics.storage.comparing import SENDERS, same_bytes
from vidtopics.storage.home_files import COPYING, HOME_ID, is_final, latest_entries
from vidtopics.storage.objects import Listed, Objects


def opened_home(address: Address, *, may_grow: bool = False, may_be_new: bool = False) -> Objects:
    """The objects of a home; SettingsError where there are no tables, or a copy isn't done.

    With `may_grow`, a copy may be under way into what was a whole home before: for readers it is
    one at every moment. With `may_be_new`, there may be nothing yet.
    """
    folder = address.folder
    if folder is None or folder.is_dir():
        objects = Objects(address)
        note = _note(objects)
        if note and not (may_grow and note.get("was_whole")):
            raise SettingsError(
                explain(
                    str(address),
                    expected="a whole home",
                    found=f"a copy from {note.get('source')} that isn't done",
                    mend="run that copy again, then this one",
                )
            )
        if objects.list("tables"):
            return objects
        if may_be_new and not _is_foreign(objects):
            return objects
    raise SettingsError(
        explain(
            str(address),
            expected="a home with tables",
            found="none",
            mend="correct the address: the home to copy comes first",
        )
    )


def _is_foreign(objects: Objects) -> bool:
    """Whether a place without tables holds what is no home."""
    return objects.head(HOME_ID) is None and bool(objects.list())


def give_id(objects: Objects) -> bytes:
    """The content of a home's `home-id`, which it gets where it has none yet."""
    objects.create(HOME_ID, f"{uuid4()}\n".encode())
    return objects.read(HOME_ID)


def refuse_overlap(source: Address, target: Address) -> None:
    """SettingsError where one lies within the other."""
    if source.is_within(target) or target.is_within(source):
        raise SettingsError(
            explain(
                str(target),
                expected=f"a place beside {source}",
                found="one within the other",
                mend="choose another place for the copy",
            )
        )


def claim(source: Objects, target: Objects) -> str:
    """The id of the home, which the target has from now on.

    Raises:
        SettingsError: the target is another home, or holds something else.
    """
    own = _read_text(source, HOME_ID) or _new_id(source)
    other = _read_text(target, HOME_ID)
    if other is None and target.list():
        other = "files, and no home-id"
    elif other is None and not target.create(HOME_ID, f"{own}\n".encode()):
        other = _read_text(target, HOME_ID)
    if other in (None, own):
        return own
    raise SettingsError(
        explain(
            str(target.address),
            expected=f"nothing yet, or a copy of the home {own}",
            found=other,
            mend="choose another place for the copy",
        )
    )


def _new_id(source: Objects) -> str:
    """As materialising gives it: the id of the table of releases; any where there is none yet."""
    folder = source.address.folder
    root = str(source.address) if folder is None else to_uri(folder)
    try:
        own = str(DeltaTable(f"{root}/tables/releases").metadata().id)
    except TableNotFoundError:
        own = str(uuid4())
    source.create(HOME_ID, f"{own}\n".encode())
    return _read_text(source, HOME_ID) or own


def _note(objects: Objects) -> dict[str, Any]:
    """What says whose copy is under way; empty where none is."""
    note: dict[str, Any] = json.loads(_read_text(objects, COPYING) or "{}")
    return note


def _read_text(objects: Objects, key: str) -> str | None:
    try:
        return objects.read(key).decode().strip() or None
    except FileNotFoundError:
        return None


def refuse_apart(
    source: Objects,
    target: Objects,
    files: Mapping[str, Listed],
    existing: Mapping[str, Listed],
) -> None:
    """ConflictError where the target has commits or models that the source lacks."""
    ours = latest_entries(files)
    for table, version in latest_entries(existing).items():
        if version > ours.get(table, -1):
            raise ConflictError(
                explain(
                    f"{target.address}, table {table}",
                    expected=f"at most version {ours.get(table, 'none')}, as {source.address} has",
                    found=f"version {version}",
                    mend="copy the other way, or to a new place",
                )
            )
    both = [key for key in files if key in existing and is_final(key)]

    def differs(key: str) -> bool:
        return same_bytes(source, target, key, files[key], existing[key]) is None

    with ThreadPoolExecutor(SENDERS) as pool:
        for key, is_other in zip(both, pool.map(differs, both), strict=True):
            if is_other:
                raise apart(target, key)


def apart(target: Objects, key: str) -> ConflictError:
    """The error for a commit or model of the target that is another one than the source's."""
    return ConflictError(
        explain(
            f"{target.address}/{key}",
            expected="what the source has under this name",
            found="another commit or model: the two homes went apart",
            mend="copy to a new place",
        )
    )


def _refuse_without_conditions(target: Objects) -> None:
    """SettingsError where the store overwrites what a conditional request may only create."""
    if not target.create(COPYING, b"{}"):
        return
    target.delete(COPYING)
    raise SettingsError(
        explain(
            str(target.address),
            expected="a store that refuses to create what is there (If-None-Match)",
            found="one that overwrote it",
            mend="use a store with conditional writes: without them two copies could mix",
        )
    )


def begin(source: Objects, target: Objects, take_over: bool, *, was_whole: bool) -> None:
    """Note in the target whose copy fills it; ConflictError where another's does."""
    origin = str(source.address)
    if source.address.folder is not None:
        origin = f"{socket.gethostname()}:{os.path.realpath(origin)}"
    since = datetime.now(UTC).isoformat(timespec="seconds")
    note = {"source": origin, "since": since, "was_whole": was_whole}
    if target.create(COPYING, json.dumps(note).encode()):
        _refuse_without_conditions(target)
        return
    other = _note(target)
    if take_over or other.get("source") in (None, origin):
        note["was_whole"] = other.get("was_whole", False)
        target.write(COPYING, json.dumps(note).encode())
        return
    raise ConflictError(
        explain(
            str(target.address),
            expected="no other copy under way",
            found=f"one from {other['source']}, begun {other['since']}",
            mend="wait for it; where it is dead, go on in its place with --take-over",
        )
    )
