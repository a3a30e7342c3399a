"""What lies in Redis beside the values: which views there are and how they are written.

A reader needs no contract, Feast or table.

Six keys in one slot (:func:`place`): `layout` (JSON: version of the layout, buckets, hash tags),
`views` (hash: view to JSON), `schemas` (hash: schema hash to fields), `structures` (hash: lists of
a kind to JSON), `live_queues` (hash: the sets of queues that events have moved, RELEASE:LOAD to
since when; :mod:`vidtopics.layout.live`), `directory` (a number that every change of the others
raises: a reader reads it with its values and notices). Where `live_queues` names no set, or a
reader of before it doesn't look, the queues are the batch's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from vidtopics.errors import ContractError, StoreError, explain
from vidtopics.layout.keys import KeySpace
from vidtopics.layout.known import known_fields
from vidtopics.layout.layouts import Layout
from vidtopics.layout.schema import Schema

LIVE_QUEUES = "live_queues"
NOT_OURS = (ValueError, TypeError, KeyError, AttributeError, RecursionError, ContractError)
"""What parsing raises for a text that something else wrote."""


@dataclass(frozen=True)
class ViewEntry:
    """One view: number in keys, live generation, TTL (0: none), schema hash, join keys.

    Keys end with the ids alone, so the entry says whose they are; entries from before it did have
    no join keys. `live`: the greatest load that readers see (0: only Feast wrote). `source`: what
    is live, as the text of a :class:`Watermark`; empty where only Feast wrote.

    >>> ViewEntry.from_json(ViewEntry(4, 2, 0, 7, ("user_id",)).to_json()).keys
    ('user_id',)
    >>> ViewEntry.from_json('{"number":4,"generation":2,"ttl_us":0,"schema":7}').keys
    ()
    """

    number: int
    generation: int
    ttl_us: int
    schema: int
    keys: tuple[str, ...] = ()
    live: int = 0
    source: str = ""

    @classmethod
    def from_json(cls, text: str | bytes) -> ViewEntry:
        """From :meth:`to_json`; ValueError, TypeError, AttributeError for another text."""
        plain = known_fields(cls, json.loads(text))
        entry = cls(**plain | {"keys": tuple(plain.get("keys", ()))})
        numbers = (entry.number, entry.generation, entry.ttl_us, entry.schema, entry.live)
        if any(type(number) is not int or abs(number) >= 2**63 for number in numbers):
            raise ValueError("a view's entry whose numbers are none")
        return entry

    def to_json(self) -> str:
        """The text in Redis."""
        return json.dumps(asdict(self), separators=(",", ":"))


def place(prefix: str, name: str) -> str:
    """The key of `layout`, `views`, `schemas`, `directory` or `structures`; all in one slot.

    >>> place("vt", "views")
    'vt:{directory}:views'
    """
    return f"{prefix}:{{directory}}:{name}"


@dataclass(frozen=True)
class Directory:
    """The parsed directory of one prefix.

    >>> Directory.parse("vt", b"1", b'{"layout":1,"buckets":4}', {}, {}, {}).view("video_topics")
    Traceback (most recent call last):
    ...
    vidtopics.errors.StoreError: Redis, prefix 'vt': expected the view video_topics, found no views.
    Mend: load it (`vidtopics materialize` or `feast materialize`), or name its prefix, in Feast the
    project's name.
    """

    prefix: str
    version: int
    layout: Layout
    views: Mapping[str, ViewEntry]
    schemas: Mapping[int, Schema]
    structures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    live_queues: frozenset[str] = frozenset()

    @classmethod
    def parse(
        cls,
        prefix: str,
        version: bytes | None,
        layout: bytes | None,
        views: Mapping[bytes, bytes],
        schemas: Mapping[bytes, bytes],
        structures: Mapping[bytes, bytes],
        live_queues: Mapping[bytes, bytes] = MappingProxyType({}),
    ) -> Directory:
        """From what Redis holds.

        Raises:
            StoreError: there is nothing, another layout, or what no version of vidtopics wrote.
        """
        if version is None or layout is None:
            raise _nothing(prefix, "a store", "nothing")
        try:
            directory = cls._parsed(
                prefix, version, layout, views, schemas, structures, live_queues
            )
            _ = directory.load  # a number in each kind of lists
            return directory
        except NOT_OURS as error:
            reason = str(error).partition("\n")[0][:200]
            raise StoreError(
                explain(
                    f"Redis, prefix {prefix!r}, its directory",
                    expected="what vidtopics wrote",
                    found=f"{type(error).__name__} {reason}",
                    mend="see who else may write there, then empty the prefix and load it again",
                )
            ) from None

    @classmethod
    def _parsed(
        cls,
        prefix: str,
        version: bytes,
        layout: bytes,
        views: Mapping[bytes, bytes],
        schemas: Mapping[bytes, bytes],
        structures: Mapping[bytes, bytes],
        live_queues: Mapping[bytes, bytes],
    ) -> Directory:
        entries = {name.decode(): ViewEntry.from_json(text) for name, text in views.items()}
        readable: dict[int, Schema] = {}
        for key, text in schemas.items():
            with suppress(*NOT_OURS):  # a later version's, whose views this one can't read
                readable[int(key)] = Schema.from_json(text)
        trees = {name.decode(): json.loads(text) for name, text in structures.items()}
        lists = {name: tree for name, tree in trees.items() if isinstance(tree, dict)}
        stored_layout = Layout.from_json(prefix, layout)
        live = frozenset(name.decode() for name in live_queues)
        return cls(prefix, int(version), stored_layout, entries, readable, lists, live)

    def view(self, name: str) -> ViewEntry:
        """The entry of a view; StoreError names those that are there, or says it can't be read."""
        if name not in self.views:
            raise _nothing(self.prefix, f"the view {name}", ", ".join(self.views) or "no views")
        entry = self.views[name]
        if entry.schema not in self.schemas:
            found = "none that this version of vidtopics reads"
            raise _nothing(self.prefix, f"the schema of the view {name}", found)
        return entry

    @property
    def load(self) -> int:
        """The live load: the greatest that a view or a kind of lists is at."""
        lists = (int(tree.get("load", 0)) for tree in self.structures.values())
        return max([0, *(entry.live for entry in self.views.values()), *lists])

    def reads_alike(self, other: Directory, names: Iterable[str]) -> bool:
        """Whether readers of these views and kinds of lists get the same from both directories."""
        return self.layout == other.layout and all(
            _what_readers_get(self, name) == _what_readers_get(other, name) for name in names
        )

    def keys(self, name: str) -> KeySpace:
        """The keys of a view's live generation."""
        self.view(name)
        return self._spaces[name]

    @cached_property
    def _spaces(self) -> dict[str, KeySpace]:
        return {
            n: KeySpace(self.prefix, v.generation, v.number, self.layout)
            for n, v in self.views.items()
        }


def _what_readers_get(directory: Directory, name: str) -> object:
    entry = directory.views.get(name)
    if entry is None:
        return directory.structures.get(name)
    return entry.number, entry.generation, entry.live


def _nothing(prefix: str, expected: str, stored: str) -> StoreError:
    return StoreError(
        explain(
            f"Redis, prefix {prefix!r}",
            expected=expected,
            found=stored,
            mend="load it (`vidtopics materialize` or `feast materialize`), or name its prefix, "
            "in Feast the project's name",
        )
    )
