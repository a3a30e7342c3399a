"""A hash of source code: what was made by other code is made again."""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from importlib.machinery import ModuleSpec, PathFinder
from typing import Protocol, cast

from vidtopics.errors import SettingsError, explain


@cache
def source_hash(*modules: str) -> str:
    """A hash of the source of modules and packages, read without running it, from folders or zips.

    Raises:
        SettingsError: there is no module of that name.

    >>> source_hash("json.decoder") == source_hash("json"), len(source_hash("json"))
    (False, 16)
    >>> source_hash("jason")
    Traceback (most recent call last):
    ...
    vidtopics.errors.SettingsError: source of jason: expected a module or package, found none. ...
    """
    total = sha256()
    for name in modules:
        for spec in _specs(name):
            assert spec.origin is not None
            total.update(
                spec.name.encode() + b"\0" + cast("Loader", spec.loader).get_data(spec.origin)
            )
    return total.hexdigest()[:16]


class Loader(Protocol):
    """What import's loaders of files and of zips have in common."""

    def get_data(self, path: str) -> bytes:
        """The bytes of a file."""


def _specs(name: str) -> Iterator[ModuleSpec]:
    spec = _find_spec(name)
    if spec is None or spec.origin is None:
        raise SettingsError(
            explain(
                f"source of {name}",
                expected="a module or package",
                found="none",
                mend="correct the name",
            )
        )
    yield from _specs_below(spec)


def _find_spec(name: str) -> ModuleSpec | None:
    """A module's spec; unlike `importlib.util.find_spec` it runs no package above the module."""
    root, *parts = name.split(".")
    spec = importlib.util.find_spec(root)
    for part in parts:
        if spec is None:
            return None
        spec = PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations or [])
    return spec


def _specs_below(spec: ModuleSpec) -> Iterator[ModuleSpec]:
    yield spec
    path = spec.submodule_search_locations or []
    for module in sorted(pkgutil.iter_modules(path), key=lambda m: m.name):
        below = PathFinder.find_spec(f"{spec.name}.{module.name}", path)
        assert below is not None
        yield from _specs_below(below)
