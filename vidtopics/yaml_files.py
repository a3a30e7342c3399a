"""YAML files of plain keys and values, in which no key stands twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from vidtopics.errors import SettingsError, explain


class RepeatedKey(yaml.YAMLError):
    """A mapping has the same key twice; lines count from 1."""

    def __init__(self, key: str, first: int, second: int) -> None:
        super().__init__(f"the key {key!r} twice, on lines {first} and {second}")


class UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses repeated keys, of which PyYAML takes the last.

    YAML 1.2 allows none.

    A key beside a merge (`<<: *base`) overrides the merged one, as YAML 1.1 says. Tags that
    SafeLoader doesn't know stay errors.

    >>> yaml.load("a: {b: 1, b: 2}", Loader=UniqueKeyLoader)
    Traceback (most recent call last):
    ...
    vidtopics.yaml_files.RepeatedKey: the key 'b' twice, on lines 1 and 1
    """

    def get_single_node(self) -> Node | None:
        """The document's root node, after every mapping below it was checked."""
        root = super().get_single_node()
        for mapping in _mappings(root):
            _refuse_repeated_keys(mapping)
        return root


def read_mapping(path: str | Path) -> Mapping[Any, Any]:
    """The keys and values of a YAML file, none where it is empty.

    Raises:
        SettingsError: the file can't be read, is no YAML of known tags, is no mapping, or has a
            key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        tree = yaml.load(text, Loader=UniqueKeyLoader)  # noqa: S506  a SafeLoader
    except RepeatedKey as error:
        mend = "put both parts under one key"
        raise _error(path, "each key once", str(error), mend) from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise _error(path, "a YAML file", text, "check the path and its text") from None
    if not isinstance(tree, Mapping | None):
        raise _error(path, "keys and values", type(tree).__name__, "see conf/demo.yaml")
    return tree or {}


def parse_value(text: str, where: str) -> Any:
    """One value as YAML writes it: a number, a text, `[64, 32]`.

    Raises:
        SettingsError: it is none.

    >>> parse_value("[64, 32]", "HIDDEN"), parse_value("staging", "PREFIX")
    ([64, 32], 'staging')
    """
    try:
        return yaml.load(text, Loader=UniqueKeyLoader)  # noqa: S506  a SafeLoader
    except (ValueError, RecursionError, yaml.YAMLError, RepeatedKey) as error:
        raise _error(where, "a YAML value", " ".join(str(error).split()), "quote it") from None


def _mappings(root: Node | None) -> Iterator[MappingNode]:
    """Every mapping below `root`, once each: aliases make the nodes a graph, maybe with cycles."""
    seen: set[int] = set()
    waiting = [] if root is None else [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, MappingNode):
            yield node
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, SequenceNode):
            waiting += node.value


def _refuse_repeated_keys(mapping: MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in mapping.value:
        if not isinstance(key, ScalarNode):
            continue  # the constructor refuses it: it can't be hashed
        name, line = (key.tag, key.value), key.start_mark.line + 1
        if name in lines:
            raise RepeatedKey(key.value, lines[name], line)
        lines[name] = line


def _error(path: str | Path, expected: str, found: str, mend: str) -> SettingsError:
    return SettingsError(explain(str(path), expected=expected, found=found, mend=mend))
