"""Parts of the page: JSON that the page asks for when it shows what is in it.

A part is a script that hands its JSON to the page, so that a page opened as a file, which may fetch
nothing, can load it. Small pages hold their parts themselves.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vidtopics.explore.released import Workspace

Members = Callable[[int, int], dict[int, str]]
"""Members of the JSON objects of the parts from a first up to before a last, by part."""
SLAB = 64
"""Parts that one query makes; what is in memory at a time."""


class Parts:
    """A folder of parts that is being written; `total` bytes, named by what is in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.total = 0
        self._digest = hashlib.blake2b(digest_size=8)

    def write(self, name: str, text: str) -> None:
        """Write the part `name` (`videos/12`), whose content is JSON."""
        script = f"part({name!r},{text});\n".encode()
        self._digest.update(script)
        self.total += len(script)
        path = self.folder / f"{name}.js"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(script)

    @property
    def name(self) -> str:
        """A name for the folder: the same parts have the same name."""
        return self._digest.hexdigest()

    def inline(self) -> Iterator[tuple[str, str]]:
        """Names and JSON of all parts, by name."""
        for path in sorted(self.folder.rglob("*.js")):
            text = path.read_text(encoding="utf-8")
            name = path.relative_to(self.folder).with_suffix("").as_posix()
            yield name, text[len(f"part({name!r},") : -len(");\n")]


@contextmanager
def parts_beside(output: Path) -> Iterator[Parts]:
    """A folder of parts beside the page, removed at the end unless it was moved to its place.

    Raises:
        OSError: it can't be written; the error names `output`.
    """
    folder = output.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.parts")
    try:
        folder.mkdir()
        yield Parts(folder)
    except OSError as error:
        if error.filename is None or str(error.filename).startswith(str(folder)):
            error.filename, error.filename2 = str(output), None  # not the private name
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_parts(
    work: Workspace,
    parts: Parts,
    kind: str,
    sql: str,
    count: int,
    further: Sequence[Members] = (),
) -> None:
    """Write the parts `kind`/0 to `kind`/`count - 1`, a slab at a time.

    Args:
        work: the release's tables.
        parts: where to.
        kind: their name.
        sql: gives number and JSON object of the parts from $first up to before $last.
        count: how many there are.
        further: each gives further members of these JSON objects (`"covers":{}`), by part.
    """
    for first in range(0, count, SLAB):
        last = min(first + SLAB, count)
        rows = work.con.execute(f"{sql} ORDER BY 1", {"first": first, "last": last}).fetchall()
        members = [give(first, last) for give in further]
        for number, text in rows:
            more = [f",{by_part[number]}" for by_part in members if number in by_part]
            parts.write(f"{kind}/{number}", f"{text[:-1]}{''.join(more)}}}")


def publish_folder(parts: Parts, place: Path) -> None:
    """Move the parts to their place, where the same parts may lie already."""
    place.parent.mkdir(exist_ok=True)
    with suppress(FileExistsError):
        if not place.exists():
            parts.folder.rename(place)
