"""What lies beside the tables: saved training sets, serving logs, models, reports."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from vidtopics.erasure import history
from vidtopics.erasure.ids import SHORT_BYTES, Ids
from vidtopics.erasure.rows import count_rows, place, write_without
from vidtopics.errors import BusyError, TableError, explain

LINES = (".jsonl", ".ndjson", ".log", ".txt")
OTHERS = ("redis", "erasures", "simulated")
"""Folders of a home that are not gone through: the embedded server's files, which it writes anew
itself; receipts; simulated worlds, whose people are nobody."""
Note = Callable[[Path, str, int], None]


def erase_files(root: Path, ids: Ids, note: Note, *, without: frozenset[Path]) -> None:
    """Erase people from the files below a folder.

    Delta tables and Parquet files lose their rows, JSON lines and CSV their lines, other JSON has
    an empty text in place of each id. Lines are blanked where they stand: a process that appends to
    the file goes on.

    Args:
        root: the folder.
        ids: who.
        note: called with a path, what went (rows, lines, ids), and how many.
        without: folders that aren't gone through.

    Raises:
        BusyError: a file is being written.
        TableError: one is damaged.
    """
    edits = {
        ".parquet": ("rows", _parquet),
        ".csv": ("rows", _csv),
        ".json": ("ids", _json),
        **dict.fromkeys(LINES, ("lines", _blank_lines)),
    }
    for path in walk(root, without):
        with suppress(FileNotFoundError):  # of a delivery under way, gone with it
            if path.is_dir():
                note(path, "rows", _table(path, ids))
            elif path.suffix in edits:
                what, edit = edits[path.suffix]
                note(path, what, edit(path, ids))


def _table(folder: Path, ids: Ids) -> int:
    found = history.find(folder, ids)
    if found.rows or history.has_people(folder, ids):
        history.erase(folder, ids, found)
    return sum(found.rows.values())


def mentions(root: Path, ids: Ids, *, without: frozenset[Path]) -> list[Path]:
    """Files below a folder in which an id still stands, as plain bytes, or in whose name it does.

    Of Parquet the rows were judged; compressed, another's id may end early and look like one. Ids
    of fewer than :data:`SHORT_BYTES` stand in many a file by chance, and aren't looked for.
    """
    long = frozenset(value for value in ids.values if len(value.encode()) >= SHORT_BYTES)
    if not long:
        return []
    people = Ids(long, ids.columns)
    return [
        path
        for path in walk(root, without, tables=False)
        if people.mentioned(str(path.relative_to(root)).encode())
        or (path.suffix != ".parquet" and _mentions(path, people))
    ]


def _mentions(path: Path, ids: Ids) -> bool:
    with suppress(FileNotFoundError):
        return any(ids.mentioned(part) for part in _parts(path))
    return False


def walk(root: Path, without: frozenset[Path], *, tables: bool = True) -> Iterator[Path]:
    """Files below a folder, and each Delta table as its folder; with `tables` false its files."""
    for name, folders, files in os.walk(root):
        folder = Path(name)
        if tables and history.is_table(folder):
            yield folder
            folders.clear()
            continue
        folders[:] = sorted(f for f in folders if folder / f not in without)
        yield from (folder / file for file in sorted(files) if not (folder / file).is_symlink())


def _parts(path: Path) -> Iterator[bytes]:
    """The file in parts of 16 MiB that overlap by more than an id."""
    with path.open("rb") as file:
        before = b""
        while part := file.read(2**24):
            yield before + part
            before = part[-1024:]


def _parquet(path: Path, ids: Ids) -> int:
    try:
        rows = count_rows(path, ids)
    except pa.ArrowInvalid as error:
        kind = BusyError if history.is_young(path) else TableError
        raise kind(
            explain(
                str(path),
                expected="a Parquet file",
                found=str(error).splitlines()[0],
                mend="if it is being written, run the command again; else restore or remove it",
            )
        ) from error
    return write_without(path, path, ids).removed if rows else 0


def _blank_lines(path: Path, ids: Ids) -> int:
    """Put spaces in place of each line that names a person; its end stays."""
    blanked = 0
    with path.open("r+b") as file:
        at = 0
        for line in iter(file.readline, b""):
            if ids.named_in_line(line):
                text = line.rstrip(b"\r\n")
                os.pwrite(file.fileno(), b" " * len(text), at)
                blanked += 1
            at += len(line)
        if blanked:
            os.fsync(file.fileno())
    return blanked


def _csv(path: Path, ids: Ids) -> int:
    """Leave out the records that have an id in a column of users; the others' bytes stay."""
    data = path.read_bytes()
    encoding = "utf-8-sig" if data.startswith(codecs.BOM_UTF8) else "utf-8"
    try:
        lines = [*io.StringIO(data.decode(encoding), newline="")]
    except UnicodeDecodeError:
        return 0  # what stands in it is looked for as bytes in the end
    reader = csv.reader(lines)
    header = next(reader, [])
    places = [n for n, name in enumerate(header) if name.strip() in ids.columns]
    if not places:
        return 0
    kept, removed, start = [*lines[: reader.line_num]], 0, reader.line_num
    for record in reader:
        if any(n < len(record) and record[n] in ids.values for n in places):
            removed += 1
        else:
            kept += lines[start : reader.line_num]
        start = reader.line_num
    if removed:
        _replace(path, "".join(kept).encode(encoding))
    return removed


def _json(path: Path, ids: Ids) -> int:
    data = path.read_bytes()
    try:
        tree = json.loads(data)
    except ValueError:
        return 0
    if number := ids.named(tree):
        _replace(path, json.dumps(ids.blanked(tree)).encode())
    return number


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(content)
    place(partial, path, like=path)


__all__ = ["OTHERS", "erase_files", "mentions", "walk"]
