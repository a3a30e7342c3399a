"""YAML files of plain keys and values, in which no key stands twice and no alias multiplies."""

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


MOST_VALUES = 100_000
"""Of a document once its aliases are written out: ten lines of aliases can stand for 10^9 values,
which whoever walks or prints the tree would meet one by one."""
MOST_SIGNS = 4 << 20
"""Characters of a file: a map, an experiment or a file of settings has some thousands."""


class TooLarge(yaml.YAMLError):
    """A document stands for too many values, or contains itself."""


class UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses repeated keys, of which PyYAML takes the last.

    YAML 1.2 allows none. Nor does it take a document of more than :data:`MOST_VALUES` values, or
    one that contains itself.

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
        _refuse_multiplied(root)
        for mapping in _mappings(root):
            _refuse_repeated_keys(mapping)
        return root


def read_mapping(path: str | Path) -> Mapping[Any, Any]:
    """The keys and values of a YAML file, none where it is empty.

    Raises:
        SettingsError: the file can't be read, is no YAML of known tags, is no mapping, has a key
            twice, or stands for too many values.
    """
    try:
        text = _text(Path(path))
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


def _text(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        text = file.read(MOST_SIGNS + 1)
    if len(text) > MOST_SIGNS:
        raise TooLarge(f"more than {MOST_SIGNS:,} characters")
    return text


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _refuse_multiplied(root: Node | None) -> None:
    """TooLarge for aliases that multiply, or lead to a value that they stand in."""
    values: dict[int, int] = {}
    waiting = [] if root is None else [(root, False)]
    open_nodes: set[int] = set()
    while waiting:
        node, is_counted_below = waiting.pop()
        if is_counted_below:
            open_nodes.discard(id(node))
            values[id(node)] = 1 + sum(values[id(child)] for child in _children(node))
            if values[id(node)] > MOST_VALUES:
                raise TooLarge(f"more than {MOST_VALUES:,} values, aliases written out")
        elif id(node) in open_nodes:
            raise TooLarge("a value that contains itself")
        elif id(node) not in values:
            open_nodes.add(id(node))
            waiting.append((node, True))
            waiting += [(child, False) for child in _children(node)]


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
        waiting += _children(node)


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
