"""A home in a bucket, read through a folder of this machine.

The folder holds the home's small files: settings, the logs of its tables, manifests of models, and
the tables that name versions of the others. Data files of tables stay in the bucket, where delta-rs
and Arrow read the columns that they need. Whoever opens the folder finds the bucket's address in
it, so that a worker process needs nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
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

if TYPE_CHECKING:
    from vidtopics.storage.objects import Listed, Objects

MARK = "bucket.json"
"""In a mirror: the bucket's address, and the size and tag of each file when it was fetched."""
FETCHERS = 8
LARGEST = 2 << 30
"""Bytes of a file that is fetched: each is held in memory on its way."""
REFRESH_S = 60.0
"""Between two looks at the bucket."""
_folders: dict[str, Path] = {}


def origin(folder: Path) -> str | None:
    """The address of the bucket that a folder mirrors; None for a home of its own."""
    try:
        url = str(json.loads((folder / MARK).read_bytes())["url"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    _folders[url] = folder
    return url


def open_mirror(address: Address, *, models: bool) -> Path:
    """The folder of a home in a bucket, as the bucket is now.

    Args:
        address: of the home.
        models: whether the weights and arrays of models are wanted, beside their manifests.

    Raises:
        SettingsError: there is no home, or the first copy into it isn't done.
        TableError: the store is out of reach.
    """
    from vidtopics.storage.claims import opened_home
    from vidtopics.storage.home_files import HOME_ID, survey

    source = opened_home(address, may_grow=True)
    folder = cache_folder() / blake2b(str(address).encode(), digest_size=8).hexdigest()
    files, _ = survey(source)
    known = _known(folder)
    if HOME_ID in known and HOME_ID in files and known[HOME_ID] != _state(files[HOME_ID]):
        shutil.rmtree(folder)  # another home lies there now
        known = {}
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {key: item for key, item in files.items() if _is_mirrored(key, models)}
    _fetch(source, folder, wanted, known)
    for key in known.keys() - files.keys():
        (folder / key).unlink(missing_ok=True)
    kept = {key: state for key, state in known.items() if key in files}
    _note(folder, address, kept | {key: _state(item) for key, item in wanted.items()})
    _folders[str(address)] = folder
    return folder


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
    from vidtopics.storage.objects import Objects

    root, _, name = table_uri.rstrip("/").rpartition("/tables/")
    folder = _folders[root]
    log = f"tables/{name}/_delta_log"
    if not (folder / log / f"{version:020}.json").is_file():
        source, known = Objects(Address.parse(root)), _known(folder)
        files = source.list(log)
        _fetch(source, folder, files, known)
        _note(folder, Address(root), known | {key: _state(f) for key, f in files.items()})
    return folder / log


def cache_folder() -> Path:
    """Where mirrors lie: `vidtopics/homes` in the user's folder for caches."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vidtopics" / "homes"


def _is_mirrored(key: str, models: bool) -> bool:
    from vidtopics.storage.home_files import LOGBOOKS, log_of

    if key == MARK:  # ours alone says which bucket a folder mirrors
        return False
    if key.startswith("tables/"):
        return log_of(key) is not None or key.split("/")[1] in LOGBOOKS
    if key.startswith("models/"):
        return models or key.endswith(".json")
    return not key.startswith(("logs/", "reports/"))


def _fetch(
    source: Objects,
    folder: Path,
    files: Mapping[str, Listed],
    known: Mapping[str, list[object]],
) -> None:
    """Bring the files that are new or changed, in the order in which a copy writes them."""
    from vidtopics.storage.home_files import stage_of

    changed = [
        key
        for key, item in files.items()
        if known.get(key) != _state(item) or not (folder / key).is_file()
    ]
    for key in changed:
        if files[key].size > LARGEST:
            raise TableError(
                explain(
                    f"{source.address}/{key}",
                    expected=f"{LARGEST:,} bytes at most, of a file that isn't of a table",
                    found=f"{files[key].size:,}",
                    mend="see who put it there, and remove it",
                )
            )
    ordered = sorted(changed, key=lambda key: (stage_of(key), key))
    with ThreadPoolExecutor(FETCHERS) as pool:
        for _, keys in groupby(ordered, key=stage_of):
            _all(pool.map(lambda key: _fetch_one(source, folder, key), keys))


def _fetch_one(source: Objects, folder: Path, key: str) -> None:
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
    (folder / key).parent.mkdir(parents=True, exist_ok=True)
    write_whole(folder / key, content)


def _all(results: Iterable[None]) -> None:
    for _ in results:
        pass


def _known(folder: Path) -> dict[str, list[object]]:
    try:
        files: dict[str, list[object]] = json.loads((folder / MARK).read_bytes())["files"]
    except FileNotFoundError:
        return {}
    return files


def _state(item: Listed) -> list[object]:
    return [item.size, item.tag]


def _note(folder: Path, address: Address, files: Mapping[str, list[object]]) -> None:
    write_whole(folder / MARK, json.dumps({"url": str(address), "files": files}))


def is_remote(table_uri: str) -> bool:
    """Whether a table's URI leads to an object store.

    >>> is_remote("s3://bucket/home/tables/topics"), is_remote("file:///srv/a%20b")
    (True, False)
    """
    return is_url(table_uri) and not table_uri.startswith("file:")
