"""Where a delivery lies, and which format it has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vidtopics.errors import InputError, explain

Kind = Literal["folder", "movielens"]
SUFFIXES = (".csv", ".parquet")
MAIN_FILES = {"folder": ("videos", "impressions"), "movielens": ("movies", "ratings")}


@dataclass(frozen=True)
class Source:
    """A delivery: a directory and its format."""

    kind: Kind
    path: Path


def recognise(path: str | Path) -> Kind:
    """The format of the delivery in directory `path`, by its files; InputError if it has none, or both."""
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(
            explain(str(path), expected="a directory", found="none", mend="check the path")
        )
    if _holds(folder, "folder") and _holds(folder, "movielens"):
        raise InputError(
            explain(
                str(path),
                expected="one delivery",
                found="videos and impressions as well as movies and ratings",
                mend="move one of the two into a directory of its own",
            )
        )
    if _holds(folder, "folder"):
        return "folder"
    if _holds(folder, "movielens"):
        return "movielens"
    names = sorted(p.name for p in folder.iterdir())
    raise InputError(
        explain(
            str(path),
            expected="videos and impressions (.csv or .parquet), or movies.csv and ratings.csv",
            found=f"{', '.join(names[:10]) or 'an empty directory'}{' and more' if len(names) > 10 else ''}",
            mend="name the files as the folder format does",
        )
    )


def find(folder: Path, name: str) -> Path:
    """The file `name`.csv or `name`.parquet in `folder`; InputError if there is none, or both."""
    found = _candidates(folder, name)
    if len(found) != 1:
        raise InputError(
            explain(
                str(folder),
                expected=f"one file {name}.csv or {name}.parquet",
                found="both" if found else "neither",
                mend="leave the one that is meant" if found else "add the file",
            )
        )
    return found[0]


def find_optional(folder: Path, name: str) -> Path | None:
    """As :func:`find`, but None if there is none."""
    return find(folder, name) if _candidates(folder, name) else None


def _candidates(folder: Path, name: str) -> list[Path]:
    return [p for suffix in SUFFIXES if (p := folder / f"{name}{suffix}").is_file()]


def _holds(folder: Path, kind: Kind) -> bool:
    return all(_candidates(folder, name) for name in MAIN_FILES[kind])
