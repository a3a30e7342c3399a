"""A Delta table whose every version is without some people: files and log are rewritten in place.

A file that has rows of theirs is written anew under a name of its own (`X.e1.parquet` for
`X.parquet`), and each entry and checkpoint of the log that names the one names the other from then
on. Versions, commits and their times stay. In this order every version reads whole at any moment,
and after a death::

    new files | entries that remove an old file remove both | entries and checkpoints that add an
    old file add the new one | old files go
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from vidtopics.contracts import PERSONAL
from vidtopics.erasure.ids import Ids
from vidtopics.erasure.rows import Rewritten, count_rows, persons_rows, place, write_without
from vidtopics.errors import BusyError, TableError, explain
from vidtopics.failpoints import failpoint
from vidtopics.tables import tail
from vidtopics.tables.data_files import canonical_name, next_name
from vidtopics.tables.tail import LOG, log_files

YOUNG_S = 600.0
"""A file that no entry names may be of a commit under way for this long."""
Action = dict[str, Any]


@dataclass
class Found:
    """What a table has of the people.

    `rows`: by name of each file that has rows of theirs how many; `named`: files that an entry or
    checkpoint adds.
    """

    rows: dict[str, int] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)


def find(folder: Path, ids: Ids) -> Found:
    """The files of a table that have rows of the people; only columns that tell are read."""
    found = Found(named=_added(folder / LOG))
    for path in _data_files(folder):
        if _is_leftover(path.relative_to(folder).as_posix(), found.named):
            continue
        try:
            rows = count_rows(path, ids)
        except FileNotFoundError:  # a writer's, given up meanwhile
            continue
        except pa.ArrowInvalid as error:
            if is_young(path):
                continue  # it is being written
            raise TableError(
                explain(
                    str(path),
                    expected="a Parquet file",
                    found=str(error).splitlines()[0],
                    mend="restore it from a backup, or remove it if no version names it",
                )
            ) from error
        if rows:
            found.rows[path.relative_to(folder).as_posix()] = rows
    return found


def erase(folder: Path, ids: Ids, found: Found) -> int:
    """Erase the people's rows from all versions; how many files were written anew.

    Raises:
        BusyError: another writer is about to commit such rows.
        TableError: the log has parts that this version doesn't know.
    """
    log = folder / LOG
    _refuse_other_parts(folder, log)
    _remove_leftovers(folder, found.named)
    originals = {*map(canonical_name, found.named)}
    replaced: dict[str, tuple[str, Rewritten]] = {}
    for name in found.rows:
        if name in found.named:
            new = next_name(name)
            replaced[name] = new, write_without(folder / name, folder / new, ids)
            failpoint("erase.file")
        elif canonical_name(name) not in originals and is_young(folder / name):
            raise BusyError(
                explain(
                    str(folder / name),
                    expected="no commit under way",
                    found="a file that no version names yet",
                    mend="run the command again once the delivery is through (ten minutes at most)",
                )
            )
        else:
            _unlink(folder / name)
    _edit_entries(log, lambda action: _removing_both(action, replaced))
    failpoint("erase.removes")
    _edit_entries(log, lambda action: [_adding_new(action, replaced, folder, ids)])
    _edit_checkpoints(log, lambda action: _adding_new(action, replaced, folder, ids))
    _mark(log)
    failpoint("erase.log")
    for name in replaced:
        _unlink(folder / name)
    return len(replaced)


def _mark(log: Path) -> None:
    """Tell readers that keep versions open that an older entry is another now."""
    path = log / tail.ERASED
    with suppress(FileNotFoundError):
        path.unlink()
    path.touch()


def is_table(folder: Path) -> bool:
    """Whether a Delta table lies in a folder."""
    return (folder / LOG).is_dir()


def has_people(folder: Path, ids: Ids) -> bool:
    """Whether the table's rows can be a person's, by the schema of one of its files."""
    for path in _data_files(folder):
        with suppress(FileNotFoundError, pa.ArrowInvalid), pq.ParquetFile(path) as file:
            return persons_rows(ids, file.schema_arrow) is not None
    return False


def _data_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.parquet")):
        if LOG not in path.relative_to(folder).parts and not path.name.startswith("."):
            yield path


def is_young(path: Path) -> bool:
    """Whether a file may still be written, or be gone since it was listed."""
    try:
        return time.time() - path.stat().st_mtime < YOUNG_S
    except FileNotFoundError:
        return True


def _added(log: Path) -> set[str]:
    """The files that any version adds."""
    named = {
        unquote(action["add"]["path"])
        for _, path in log_files(log, "json")
        for action in _actions(Path(path))
        if "add" in action
    }
    for _, path in log_files(log, "parquet"):
        adds = pq.read_table(path, columns=["add"])["add"].to_pylist()
        named |= {unquote(add["path"]) for add in adds if add}
    return named


def _remove_leftovers(folder: Path, named: set[str]) -> None:
    """Files of an earlier try that no version names: written by us, under names of ours."""
    for path in folder.rglob("*.parquet"):
        name = path.relative_to(folder).as_posix()
        if LOG not in path.parts and _is_leftover(name, named):
            _unlink(path)
    for path in folder.rglob(".*.part"):
        _unlink(path)


def _is_leftover(name: str, named: set[str]) -> bool:
    return name not in named and canonical_name(name) != name


def _refuse_other_parts(folder: Path, log: Path) -> None:
    """TableError where the log has files that could name a data file and aren't rewritten here."""
    others = [p.name for p in log.iterdir() if p.name == "_sidecars" or ".compacted." in p.name]
    if others:
        raise TableError(
            explain(
                str(folder),
                expected="a log of entries and classic checkpoints",
                found=", ".join(sorted(others)),
                mend="write the table anew without v2 checkpoints and log compaction",
            )
        )


def _actions(path: Path) -> list[Action]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def _edit_entries(log: Path, edit: Callable[[Action], Iterable[Action]]) -> None:
    """Replace each entry of which a line changes, in one step."""
    for version, name in log_files(log, "json"):
        path = Path(name)
        before = _actions(path)
        after = [changed for action in before for changed in edit(action)]
        if after != before:
            lines = [json.dumps(action, separators=(",", ":")) for action in after]
            _write(path, ("\n".join(lines) + "\n").encode())
            (log / f"{version:020}.crc").unlink(missing_ok=True)  # Spark's: it repeats the files


def _edit_checkpoints(log: Path, edit: Callable[[Action], Action]) -> None:
    """Likewise the rows of each checkpoint; where their bytes are told, the new number."""
    for version, name in log_files(log, "parquet"):
        path = Path(name)
        rows = pq.read_table(path)
        changed = False
        for kind in ("add", "remove"):
            column = rows[kind].to_pylist()
            edited = [edit({kind: _mapped(a)})[kind] if a else None for a in column]
            if edited != [_mapped(a) if a else None for a in column]:
                number = rows.schema.get_field_index(kind)
                array = pa.array(edited, rows.schema.field(kind).type)
                rows = rows.set_column(number, rows.schema.field(kind), array)
                changed = True
        if changed:
            partial = path.with_name(f".{path.name}.part")
            pq.write_table(rows, partial)
            place(partial, path, like=path)
            _forget_hadoop_checksum(path)
            _note_size(log / "_last_checkpoint", version, path.stat().st_size)


def _mapped(action: Action) -> Action:
    """Arrow gives maps as lists of pairs; empty statistics of a struct are left out."""
    return {k: dict(v) if k in {"partitionValues", "tags"} and v else v for k, v in action.items()}


def _note_size(last: Path, version: int, size: int) -> None:
    try:
        plain = json.loads(last.read_bytes())
    except (FileNotFoundError, ValueError):
        return
    if plain.get("version") == version and ("sizeInBytes" in plain or "checksum" in plain):
        plain.pop("checksum", None)
        _write(last, json.dumps({**plain, "sizeInBytes": size}).encode())


def _removing_both(
    action: Action, replaced: Mapping[str, tuple[str, Rewritten]]
) -> Iterator[Action]:
    yield action
    removed = action.get("remove")
    if removed and (entry := replaced.get(unquote(removed["path"]))):
        yield {"remove": _without_stats({**removed, "path": _renamed(removed["path"], entry)})}


def _adding_new(
    action: Action, replaced: Mapping[str, tuple[str, Rewritten]], folder: Path, ids: Ids
) -> Action:
    """The action with the new file in place of the old; without ids in any statistics."""
    if added := action.get("add"):
        entry = replaced.get(unquote(added["path"]))
        changes: Action = {"stats": _stats(added.get("stats"), entry[1] if entry else None, ids)}
        if entry:
            changes["path"] = _renamed(added["path"], entry)
            changes["size"] = (folder / entry[0]).stat().st_size
        if changes["stats"] != added.get("stats") and added.get("stats_parsed"):
            changes["stats_parsed"] = None
        return {"add": {**added, **changes}}
    if removed := action.get("remove"):
        return {"remove": {**removed, **({"stats": None} if removed.get("stats") else {})}}
    if info := action.get("commitInfo"):
        parameters = info.get("operationParameters") or {}
        if "predicate" in parameters and ids.mentioned(str(parameters["predicate"]).encode()):
            return {"commitInfo": {**info, "operationParameters": {**parameters, "predicate": ""}}}
    return action


def _renamed(path: str, entry: tuple[str, Rewritten]) -> str:
    """The path as the log escapes it: only the end of the name differs."""
    return path.rpartition("/")[0] + "/" * ("/" in path) + next_name(path.rpartition("/")[2])


def _without_stats(removed: Action) -> Action:
    return {name: value for name, value in removed.items() if name not in {"stats", "size"}}


def _stats(text: str | None, rewritten: Rewritten | None, ids: Ids) -> str | None:
    """Statistics without ids; of a file without some rows with its own counts, and wide bounds.

    >>> _stats('{"numRecords":2,"minValues":{"user_id":"u1","n":3}}', None, Ids(frozenset("u")))
    '{"numRecords":2,"minValues":{"n":3}}'
    """
    if not text:
        return text
    stats: dict[str, Any] = json.loads(text)
    unindexed = {*PERSONAL, *ids.columns}
    for kind in ("minValues", "maxValues", "nullCount"):
        if kind in stats:
            stats[kind] = {k: v for k, v in stats[kind].items() if k not in unindexed}
    if rewritten is not None:
        nulls = {k: n for k, n in rewritten.nulls.items() if k in stats.get("nullCount", {})}
        stats |= {"numRecords": rewritten.rows, "nullCount": nulls, "tightBounds": False}
        for kind in ("minValues", "maxValues"):
            bounds = stats.get(kind, {})
            stats[kind] = {
                k: v for k, v in bounds.items() if rewritten.nulls.get(k, 0) < rewritten.rows
            }
    return json.dumps(stats, separators=(",", ":"))


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(content)
    place(partial, path, like=path)
    _forget_hadoop_checksum(path)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
    _forget_hadoop_checksum(path)


def _forget_hadoop_checksum(path: Path) -> None:
    """Of what Hadoop wrote to a local disk there is a checksum beside it, which would not fit."""
    with suppress(FileNotFoundError):
        os.unlink(path.with_name(f".{path.name}.crc"))
