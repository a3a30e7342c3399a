"""Covers of a catalogue: found within the folder, hashed with the title, decoded where new."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path, PureWindowsPath

from vidtopics.images import Problem
from vidtopics.ingest.cover_contents import Cover, Delivered, content_hash, largest, problem_of
from vidtopics.ingest.cover_objects import examine_object, is_address
from vidtopics.storage import Address

Names = Callable[[str], dict[str, list[str]]]


def examine(
    root: Path, covers: Iterable[Delivered], max_pixels: int, buckets: Sequence[str] = ()
) -> list[Cover]:
    """Looks at covers as they are delivered; each that isn't known yet is decoded.

    A cover lies below the folder, or is an address within `buckets`. Pillow decodes outside the
    interpreter's lock, so threads help.
    """
    real_root = Path(os.path.realpath(root))
    names = cache(_names)
    places = [Address.parse(place, "ingest.cover_buckets") for place in buckets]

    def look(cover: Delivered) -> Cover:
        if is_address(cover.path):
            return examine_object(cover, max_pixels, places)
        return _examine(real_root, cover, max_pixels, names)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(look, covers))


def _examine(root: Path, delivered: Delivered, max_pixels: int, names: Names) -> Cover:
    cover, title, known = delivered
    without = content_hash(b"", title)
    if not cover.strip():
        return Cover("", without, "no_cover", "expected a cover, found none")
    spelling = _spelling_on_disk(root, cover, names)
    if outside := _outside_reason(root, cover, spelling):
        detail = f"expected a cover below the folder, found {cover[:80]!r}, {outside}"
        return Cover("", "", "cover_outside_folder", detail)
    if spelling is None:
        detail = f"expected a file below {str(root)!r}, found none at {cover[:80]!r}"
        return Cover("", without, "missing_cover", detail)
    path = os.path.realpath(root / spelling)
    data = _read(Path(path), largest(max_pixels))
    with_cover = content_hash(data, title) if isinstance(data, bytes) else ""
    problem = problem_of(data, max_pixels, is_known=with_cover in known)
    if problem:
        kind = "a link that leads nowhere" if problem == "missing" else problem
        detail = f"expected a cover below {str(root)!r}, found {cover[:80]!r}, {kind}"
        return Cover("", without, f"{problem}_cover", detail)
    if spelling == cover:
        return Cover(path, with_cover, None, None)
    detail = f"expected {cover[:80]!r}, found {spelling[:80]!r}"
    return Cover(path, with_cover, "respelt_cover", detail)


def _spelling_on_disk(root: Path, cover: str, names: Names) -> str | None:
    """The path of a cover as the folder spells it; None if the folder has no such file.

    Where the path as written isn't there, backslashes are read as slashes and space around it is
    left out; then case and Unicode form of its names are ignored if exactly one file matches.
    """
    slashes = _slashes(cover)
    for spelling in (cover, slashes):
        if os.path.lexists(root / spelling):
            return spelling
    path = ""
    for part in Path(os.path.normpath(slashes)).parts:
        candidates = names(str(root / path)).get(_folded(part), [])
        candidates = [part] if part in candidates else candidates
        if len(candidates) != 1 or _link_reason(root, os.path.join(path, candidates[0])):
            return None
        path = os.path.join(path, candidates[0])
    return path


def _slashes(cover: str) -> str:
    return cover.strip().replace("\\", "/")


def _outside_reason(root: Path, cover: str, spelling: str | None) -> str | None:
    """Why a cover doesn't lie below `root`, with the mend; None if it does."""
    path = _slashes(cover) if spelling is None else spelling
    if os.path.isabs(path) or (spelling is None and PureWindowsPath(cover).drive):
        return "an absolute path (write it as it is below the folder)"
    if not Path(os.path.normpath(root / path)).is_relative_to(root):
        return "a path that leads out of it through '..' (copy the file into the folder)"
    return _link_reason(root, path)


def _link_reason(root: Path, path: str) -> str | None:
    target = os.path.realpath(root / path)
    if Path(target).is_relative_to(root):
        return None
    return f"a link that leads out of it, to {target!r} (copy the file into the folder)"


def _names(directory: str) -> dict[str, list[str]]:
    """The names in a directory by their folded form; none if it can't be listed."""
    names: dict[str, list[str]] = {}
    try:
        for name in os.listdir(directory):
            names.setdefault(_folded(name), []).append(name)
    except OSError:
        pass
    return names


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _read(path: Path, max_bytes: int) -> bytes | Problem:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "unreadable"
        return path.read_bytes() if status.st_size <= max_bytes else "bomb"
    except PermissionError:
        return "unreadable"
    except OSError:
        return "missing"
