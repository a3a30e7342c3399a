"""What a verb writes in a bucket's mirror, brought to the bucket.

A writer holds the home's lock and begins with what the bucket has: what a run that died left in the
folder and never sent is dropped, as if it had died before. Files are sent before each commit, in
the order of a copy: models before their manifests, all before the log entry that names them. None
replaces what another writer put there: a new name is created, a file with another content replaces
the one that was fetched, both by conditional requests.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import groupby
from pathlib import Path

from vidtopics.errors import ConflictError, VidtopicsError, explain
from vidtopics.failpoints import failpoint
from vidtopics.files import write_whole
from vidtopics.storage.addresses import Address
from vidtopics.storage.claims import give_id
from vidtopics.storage.comparing import SENDERS
from vidtopics.storage.fingerprints import Fingerprint
from vidtopics.storage.home_files import HOME_ID, is_sent, stage_of
from vidtopics.storage.mirrors import follow_bucket, origin
from vidtopics.storage.notes import Note, edited
from vidtopics.storage.objects import Content, Objects

Check = Callable[[], None]
"""Raises BusyError where the lock is another's."""
_writers: dict[Path, Check] = {}


@contextmanager
def writing(folder: Path, check: Check) -> Iterator[None]:
    """For a block that holds the lock of a mirror's home: it begins with what the bucket has.

    At the end, however it comes, what the block wrote is sent.

    Raises:
        BusyError: at the end, where another run has taken the lock; nothing was sent then.
        ConflictError: another writer put another file under a name.
        TableError: the store is out of reach.
    """
    _begin(folder)
    _writers[folder] = check
    try:
        try:
            yield
        except BaseException:
            with suppress(VidtopicsError, OSError):  # what ended the block is what is told
                send(folder)
                remove(folder)
            raise
        send(folder)
        remove(folder)
    finally:
        del _writers[folder]


def send(folder: Path) -> None:
    """Send what this process wrote in a mirror whose lock it holds; any other is left alone."""
    if folder not in _writers:
        return
    _writers[folder]()
    with _opened(folder) as (target, note):
        changed = [key for key in _files(folder) if not _is_synced(folder, note, key)]
        ordered = sorted(changed, key=lambda key: (stage_of(key), key))
        with ThreadPoolExecutor(SENDERS) as pool:
            for _, keys in groupby(ordered, key=stage_of):
                for _done in pool.map(lambda key: _send(target, folder, note, key), keys):
                    failpoint("mirror.sent")


def remove(folder: Path) -> None:
    """Remove from the bucket what this process removed from a mirror whose lock it holds."""
    if folder not in _writers:
        return
    with _opened(folder) as (target, note):
        for key in [key for key in note.files if is_sent(key) and not (folder / key).exists()]:
            target.delete(key)
            del note.files[key]


def send_file(folder: Path, key: str) -> None:
    """Send one file that a verb without the lock wrote in a mirror; the last writer's stands."""
    with _opened(folder) as (target, note):
        item = target.head(key)
        if item is None or not Fingerprint.of([(folder / key).read_bytes()]).has_tag(item.tag):
            target.write(key, (folder / key).read_bytes())
            item = target.head(key)
        if item is not None:
            note.record(folder, key, item)


def claim(folder: Path) -> None:
    """Give the home of a mirror its id, where it is new."""
    if (folder / HOME_ID).exists():
        return
    with _opened(folder) as (target, note):
        write_whole(folder / HOME_ID, give_id(target))
        if item := target.head(HOME_ID):
            note.record(folder, HOME_ID, item)


def _begin(folder: Path) -> None:
    """Bring a mirror to what the bucket has, and drop what was never sent."""
    with _opened(folder) as (source, note):
        for key in _files(folder):
            if not _is_synced(folder, note, key):
                (folder / key).unlink()
                note.files.pop(key, None)
        follow_bucket(source, folder, note, models=True)


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[Objects, Note]]:
    address = Address.parse(origin(folder) or "")
    with edited(folder, address) as note:
        yield Objects(address), note


def _files(folder: Path) -> Iterator[str]:
    """The files of a mirror that belong into the bucket, by key."""
    for path, folders, names in os.walk(folder):
        parent = Path(path).relative_to(folder).as_posix()
        keys = {name: name if parent == "." else f"{parent}/{name}" for name in names + folders}
        folders[:] = [name for name in folders if is_sent(f"{keys[name]}/")]
        yield from (keys[name] for name in names if is_sent(keys[name]))


def _is_synced(folder: Path, note: Note, key: str) -> bool:
    return key in note.files and note.files[key].is_file(folder / key)


def _send(target: Objects, folder: Path, note: Note, key: str) -> None:
    """Create or replace an object; ConflictError where another writer was at it."""
    synced = note.files.get(key)
    with _content(folder / key) as content:
        if synced is None or not Fingerprint.of([bytes(content)]).has_tag(synced.tag):
            is_own = (
                target.create(key, content)
                if synced is None
                else target.replace(key, content, synced.tag)
            )
            if not is_own:
                raise ConflictError(
                    explain(
                        f"{target.address}/{key}",
                        expected="what this run began with",
                        found="a file of another writer",
                        mend="run again; what this run wrote of it isn't kept",
                    )
                )
    if item := target.head(key):
        note.record(folder, key, item)


@contextmanager
def _content(path: Path) -> Iterator[Content]:
    """A file's bytes, mapped: a model's weights needn't be in memory twice."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            yield b""
            return
        with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as content:
            yield content
