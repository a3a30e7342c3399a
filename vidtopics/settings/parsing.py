"""Settings from a YAML file and the environment; errors name every key that is wrong."""

from __future__ import annotations

import difflib
import os
import re
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from pydantic import ValidationError

from vidtopics.errors import SettingsError, explain
from vidtopics.settings.tree import Settings
from vidtopics.yaml_files import parse_value, read_mapping

_SHORT = reprlib.Repr()  # aliases of aliases would print exponentially long
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 80, 120
VARIABLE = "VIDTOPICS_"
"""What a variable of a setting begins with: `VIDTOPICS_ONLINE__PREFIX` is `online.prefix`."""
NO_SETTING = re.compile(r"FAILPOINT|(.*_)?(SERVICE_HOST|SERVICE_PORT.*|PORT(_\d+_.*)?)")
"""Of a test, and those that Kubernetes makes for a service called vidtopics."""
KeyPath = tuple[str, ...]


def parse(
    tree: Mapping[str, Any], *, where: str, environment: Mapping[str, str] = MappingProxyType({})
) -> Settings:
    """The settings that `tree` describes, and variables of `environment`, which win over it.

    Raises:
        SettingsError: it names every key, variable and value that is wrong.

    >>> tree, environment = {"online": {"buckets": 8}}, {"VIDTOPICS_ONLINE__PREFIX": "staging"}
    >>> online = parse(tree, where="mine.yaml", environment=environment).online
    >>> online.buckets, online.prefix
    (8, 'staging')
    """
    variables = {
        tuple(name.removeprefix(VARIABLE).lower().split("__")): name
        for name in environment
        if name.startswith(VARIABLE) and not NO_SETTING.fullmatch(name.removeprefix(VARIABLE))
    }
    for path, name in variables.items():
        tree = _with_value(tree, path, parse_value(environment[name], name))
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        messages = [_message(e, where, variables) for e in error.errors()]
        raise SettingsError("\n".join(messages)) from None


def load(path: str | Path | None) -> Settings:
    """Settings from a YAML file (None: the defaults), and from the environment, which wins.

    Raises:
        SettingsError: the file can't be read, a key stands twice, or a key or value is wrong.
    """
    tree = read_mapping(path) if path else {}
    return parse(tree, where=str(path or "settings"), environment=os.environ)


def _with_value(tree: Any, path: KeyPath, value: Any) -> Any:
    """A copy of a tree with a value at a path."""
    if not path:
        return value
    if not isinstance(tree, Mapping):
        return tree  # no section: the message names it
    return {**tree, path[0]: _with_value(tree.get(path[0], {}), path[1:], value)}


def _message(error: Any, where: str, variables: Mapping[KeyPath, str]) -> str:
    path = tuple(str(part) for part in error["loc"])
    variable = next((v for p, v in variables.items() if p[: len(path)] == path[: len(p)]), None)
    where = variable or f"{where}, {'.'.join(path)}"
    if error["type"] == "trains_nothing":
        return explain(
            where,
            expected=error["msg"],
            found="train_encoders: false, projection_width: 0",
            mend="set one of the two",
        )
    if error["type"] != "extra_forbidden":
        return explain(
            where,
            expected=error["msg"],
            found=_SHORT.repr(error["input"]),
            mend="correct the value",
        )
    known = _keys(Settings, error["loc"][:-1])
    near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.0)[0]
    if variable:
        near = VARIABLE + "__".join([*path[:-1], near]).upper()
    return explain(
        where,
        expected="a known key",
        found=repr(error["loc"][-1]),
        mend=f"did you mean {near!r}?",
    )


def _keys(model: Any, path: Iterable[str | int]) -> list[str]:
    for name in path:
        if isinstance(model, type):
            model = model.model_fields[str(name)].annotation  # type: ignore[attr-defined]
        else:  # dict[str, Section]
            model = get_args(model)[1]
    return list(model.model_fields)
