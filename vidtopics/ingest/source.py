"""Where a delivery lies, which format it has, and which file of it holds what."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vidtopics.errors import InputError, explain
from vidtopics.ingest.delivery_maps import DeliveryMap

Kind = Literal["folder", "movielens"]
SUFFIXES = (".csv", ".parquet")
MAIN_FILES: dict[Kind, tuple[str, str]] = {
    "folder": ("videos", "impressions"),
    "movielens": ("movies", "ratings"),
}
OTHER_FILES: dict[Kind, tuple[str, ...]] = {"folder": ("tags",), "movielens": ("classes", "tags")}

# Other endings under which the data may have been delivered, and the mend.
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z")
_OTHER_SUFFIXES = {
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".json", ".jsonl"), "save it as {}.csv"),
    **dict.fromkeys((".tsv", ".txt", ".tab", ".csv.txt", ".csv.csv"), "name it {}.csv"),
    **dict.fromkeys((".pq", ".parq"), "name it {}.parquet"),
    **{i + p: "unpack it" for i in ("", ".tar", ".tsv", ".txt", *SUFFIXES) for p in _PACKED},
}


@dataclass(frozen=True)
class Source:
    """A delivery: a directory, its format, and what its files call their columns."""

    kind: Kind
    path: Path
    fields: DeliveryMap = field(default_factory=DeliveryMap)

    @property
    def renamed(self) -> bool:
        """Whether a file has columns of other names or units than the format's."""
        return self.fields != DeliveryMap()


def recognise(path: str | Path) -> Kind:
    """The format of the delivery in directory `path`, by its files.

    InputError if it has none, or two, or if something else has the name of one of its files.
    """
    folder = Path(path)
    names = _listed(folder)
    kinds = [kind for kind, files in MAIN_FILES.items() if all(_named(names, f) for f in files)]
    if len(kinds) > 1:
        raise InputError(
            explain(
                str(path),
                expected="one delivery",
                found="videos and impressions as well as movies and ratings",
                mend="move one of the two into a directory of its own",
            )
        )
    if not kinds:
        more = " and more" if len(names) > 10 else ""
        raise InputError(
            explain(
                str(path),
                expected="videos and impressions (.csv or .parquet), or movies.csv and ratings.csv",
                found=f"{', '.join(names[:10]) or 'an empty directory'}{more}",
                mend="name the files as the folder format does",
            )
        )
    (kind,) = kinds
    for name in (*MAIN_FILES[kind], *OTHER_FILES[kind]):
        find_optional(folder, name)
    return kind


def find(folder: Path, name: str) -> Path:
    """The file `name`.csv or `name`.parquet in `folder`, in upper or lower case.

    InputError if there is none, or several, or something else under that name.
    """
    path = find_optional(folder, name)
    if path is None:
        raise InputError(
            explain(str(folder), expected=_expected(name), found="neither", mend="add the file")
        )
    return path


def find_optional(folder: Path, name: str) -> Path | None:
    """As :func:`find`, but None if nothing has that name."""
    names = _named(_listed(folder), name)
    readable = [n for n in names if _suffix(n, name) in SUFFIXES]
    if len(readable) > 1:
        found = "both" if len(readable) == 2 else "several"
        mend = "leave the one that is meant"
        raise InputError(
            explain(
                str(folder),
                expected=_expected(name),
                found=f"{found}: {', '.join(readable)}",
                mend=mend,
            )
        )
    if readable:
        _check_regular(folder / readable[0])
        return folder / readable[0]
    if names:
        mend = _OTHER_SUFFIXES[_suffix(names[0], name)].format(name)
        raise InputError(explain(str(folder), expected=_expected(name), found=names[0], mend=mend))
    return None


def _expected(name: str) -> str:
    return f"one file {name}.csv or {name}.parquet"


def _listed(folder: Path) -> list[str]:
    """The names in a directory, sorted; InputError if it is none or can't be listed."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        is_link = folder.is_symlink()
        found = f"a link that leads nowhere, to {os.readlink(folder)}" if is_link else "none"
        mend = "check the path"
    except NotADirectoryError:
        found, mend = "a file", "give the directory that it lies in"
    except OSError as error:
        found, mend = str(error.strerror), "allow reading and entering it"
    raise InputError(explain(str(folder), expected="a directory", found=found, mend=mend))


def _named(names: list[str], name: str) -> list[str]:
    """Those of `names` under which the file `name` may have been delivered, in any case."""
    known = {*SUFFIXES, *_OTHER_SUFFIXES}
    return [n for n in names if n.lower().startswith(name) and _suffix(n, name) in known]


def _suffix(file_name: str, name: str) -> str:
    return file_name[len(name) :].lower()


def _check_regular(path: Path) -> None:
    """InputError unless `path` is a regular file, or a link to one."""
    mend = "deliver one file under this name"
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        found, mend = str(error.strerror), "allow entering the directory that it lies in"
    except OSError:
        found = f"a link that leads nowhere, to {os.readlink(path)}"
        mend = "replace the link by the file, or remove it"
    else:
        if stat.S_ISREG(mode):
            return
        found = "a directory" if stat.S_ISDIR(mode) else "a pipe, socket or device"
    raise InputError(explain(str(path), expected="a file", found=found, mend=mend))
