"""A home in a bucket, read through a folder of this machine.

The folder holds the home's small files: settings, the logs of its tables, models or their
manifests, and the tables that name versions of the others. Data files of tables stay in the bucket,
where delta-rs and Arrow read the columns that they need. Whoever opens the folder finds the
bucket's address in it, so that a worker process needs nothing else. What a verb writes there is
sent by :mod:`vidtopics.storage.sending`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from vidtopics.errors import TableError, VidtopicsError, explain
from vidtopics.files import write_whole
from vidtopics.paths import is_url
from vidtopics.storage.addresses import Address
from vidtopics.storage.notes import Note, edited, read_note

if TYPE_CHECKING:
    from vidtopics.storage.objects import Listed, Objects

FETCHERS = 8
REFRESH_S = 60.0
"""Between two looks at the bucket."""
_folders: dict[str, Path] = {}


def origin(folder: Path) -> str | None:
    """The address of the bucket that a folder mirrors; None for a home of its own."""
    note = read_note(folder)
    if note is None:
        return None
    _folders[note.url] = folder
    return note.url


def open_mirror(
    address: Address, *, models: bool, is_written: bool = False, may_be_new: bool = False
) -> Path:
    """The folder of a home in a bucket, as the bucket is now.

    Args:
        address: of the home.
        models: whether the weights and arrays of models are wanted, beside their manifests.
        is_written: for a verb that writes: no copy may be under way into the home.
        may_be_new: for a verb that may make it.

    Raises:
        SettingsError: there is no home, or the first copy into it isn't done.
        TableError: the store is out of reach.
    """
    from vidtopics.storage.claims import opened_home

    source = opened_home(address, may_grow=not is_written, may_be_new=may_be_new)
    folder = cache_folder() / blake2b(str(address).encode(), digest_size=8).hexdigest()
    with edited(folder, address) as note:
        follow_bucket(source, folder, note, models=models)
    _folders[str(address)] = folder
    return folder


def follow_bucket(source: Objects, folder: Path, note: Note, *, models: bool) -> None:
    """Fetch what is new in the bucket and remove what is gone; who calls holds the note."""
    from vidtopics.storage.home_files import HOME_ID, survey

    files, _ = survey(source)
    if HOME_ID in note.files and not note.files[HOME_ID].is_object(files.get(HOME_ID)):
        shutil.rmtree(folder)  # another home lies there now, or none
        note.files.clear()
    folder.mkdir(parents=True, exist_ok=True)
    _fetch(source, folder, note, {k: item for k, item in files.items() if _is_mirrored(k, models)})
    _forget(folder, note, note.files.keys() - files.keys())


def refresh(folder: Path, *, models: bool = False) -> None:
    """Bring a mirror to what the bucket has now; a home of its own is left alone.

    Raises:
        SettingsError, TableError: as of :func:`open_mirror`.
    """
    if url := origin(folder):
        open_mirror(Address.parse(url), models=models)


@contextmanager
def followed(
    folder: Path, warn: Callable[[str], None], *, every_s: float = REFRESH_S
) -> Iterator[None]:
    """While the block runs, a mirror and its models follow the bucket; others are left alone.

    Where the store is out of reach, `warn` gets a line, and it is tried again.
    """
    ended = Event()

    def follow() -> None:
        while not ended.wait(every_s):
            try:
                refresh(folder, models=True)
            except (VidtopicsError, OSError) as error:
                warn(f"The mirror of the bucket stays as it is: {error}")

    if origin(folder) is None:
        yield
        return
    thread = Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def log_folder(table_uri: str, version: int) -> Path:
    """The folder with the log of a bucket's table, as far as a version at least."""
    root, name = _parts(table_uri)
    log = _folders[root] / "tables" / name / "_delta_log"
    if not (log / f"{version:020}.json").is_file():
        follow_table(table_uri)
    return log


def follow_table(table_uri: str) -> None:
    """Bring the log of a bucket's table to what is there; of a logbook its data files too.

    A table of a folder is left alone.
    """
    if not is_remote(table_uri):
        return
    from vidtopics.storage.home_files import LOGBOOKS
    from vidtopics.storage.objects import Objects

    root, name = _parts(table_uri)
    folder, address = _folders[root], Address.parse(root)
    prefix = f"tables/{name}" if name in LOGBOOKS else f"tables/{name}/_delta_log"
    with edited(folder, address) as note:
        source = Objects(address)
        files = source.list(prefix)
        _fetch(source, folder, note, files)
        gone = {key for key in note.files if key.startswith(f"{prefix}/")} - files.keys()
        _forget(folder, note, gone)


def _parts(table_uri: str) -> tuple[str, str]:
    """The home's address, and the table's name."""
    root, _, name = table_uri.rstrip("/").rpartition("/tables/")
    return root, name


def cache_folder() -> Path:
    """Where mirrors lie: `vidtopics/homes` in the user's folder for caches."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vidtopics" / "homes"


def is_remote(table_uri: str) -> bool:
    """Whether a table's URI leads to an object store.

    >>> is_remote("s3://bucket/home/tables/topics"), is_remote("file:///srv/a%20b")
    (True, False)
    """
    return is_url(table_uri) and not table_uri.startswith("file:")


def _is_mirrored(key: str, models: bool) -> bool:
    from vidtopics.storage.home_files import LOGBOOKS, is_sent, log_of

    if key.startswith("tables/"):
        return log_of(key) is not None or key.split("/")[1] in LOGBOOKS
    if key.startswith(("models/", "reports/")):
        return models or (key.endswith(".json") and not key.startswith("reports/"))
    return is_sent(key)


def _fetch(source: Objects, folder: Path, note: Note, files: Mapping[str, Listed]) -> None:
    """Bring the files that are new or changed, in the order in which a copy writes them."""
    from vidtopics.storage.home_files import stage_of

    changed = [
        key
        for key, item in files.items()
        if key not in note.files
        or not note.files[key].is_object(item)
        or not (folder / key).is_file()
    ]

    def fetch(key: str) -> None:
        _fetch_one(source, folder, key, files[key])
        note.record(folder, key, files[key])

    ordered = sorted(changed, key=lambda key: (stage_of(key), key))
    with ThreadPoolExecutor(FETCHERS) as pool:
        for _, keys in groupby(ordered, key=stage_of):
            for _done in pool.map(fetch, keys):
                pass


def _fetch_one(source: Objects, folder: Path, key: str, item: Listed) -> None:
    try:
        content = source.read(key)
    except FileNotFoundError:
        raise TableError(
            explain(
                f"{source.address}/{key}",
                expected="the file that was listed just now",
                found="none",
                mend="run it again: maintenance removed it meanwhile",
            )
        ) from None
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
    # Ages of log entries are told by their times, as delta-rs does in the bucket.
    os.utime(path, ns=(item.modified_ns, item.modified_ns))


def _forget(folder: Path, note: Note, keys: set[str]) -> None:
    """Remove files that are gone from the bucket."""
    for key in keys:
        (folder / key).unlink(missing_ok=True)
        del note.files[key]
