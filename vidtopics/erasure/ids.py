"""Which rows, lines and texts are those of the people to be erased."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from vidtopics.contracts import MAX_ID_BYTES, USER_ID, VIEWS
from vidtopics.errors import InputError, explain

USER_KEYS = frozenset({USER_ID.name, "user", "users", "user_ids", "u"})
"""Names under which JSON of this project has ids of users; `u` is that of a stream's entry."""
DETAIL_LETTERS = 80
ALTERNATIVES = 500
"""Ids in one regular expression."""
EDGE = rb"[0-9A-Za-z_\x80-\xff]"


@dataclass(frozen=True)
class Ids:
    """Ids of users, and the names of columns that hold such ids.

    >>> people = Ids(frozenset({"u7"}))
    >>> people.mentioned(b"user_id u7, twice"), people.mentioned(b"u71 and xu7")
    (True, False)
    >>> people.named({"users": ["u1", "u7"]}), people.named({"videos": ["u7"]})
    (True, False)
    """

    values: frozenset[str]
    columns: frozenset[str] = frozenset({USER_ID.name})

    @classmethod
    def of(cls, ids: Iterable[str], columns: Iterable[str] = (USER_ID.name,)) -> Ids:
        """The ids of a request; InputError where one can't be a user's."""
        values = frozenset(ids)
        for value in values:
            size = len(value.encode(errors="replace"))
            if not 0 < size <= MAX_ID_BYTES or not value.isprintable():
                raise InputError(
                    explain(
                        "erase user",
                        expected=f"ids of 1 to {MAX_ID_BYTES} UTF-8 bytes without control signs",
                        found=f"one of {size} bytes: {value[:40]!r}",
                        mend="correct the id",
                    )
                )
        if not values:
            raise InputError(
                explain("erase user", expected="an id", found="none", mend="name one, or --file")
            )
        return cls(values, frozenset(columns))

    @cached_property
    def array(self) -> pa.Array:
        """The ids, ascending."""
        return pa.array(sorted(self.values), pa.string())

    @cached_property
    def encoded(self) -> frozenset[bytes]:
        """The ids in UTF-8."""
        return frozenset(value.encode() for value in self.values)

    @property
    def keys(self) -> frozenset[str]:
        """Names under which JSON may have an id."""
        return self.columns | USER_KEYS

    def mentioned(self, text: bytes) -> bool:
        """Whether an id stands in a text, as it is or as JSON escapes it, as a word of its own."""
        return any(pattern.search(text) for pattern in self._patterns)

    def named(self, tree: Any) -> bool:
        """Whether JSON has an id where ids of users stand."""
        return any(value in self.values for value in self._users_in(tree))

    def named_in_line(self, line: bytes) -> bool:
        """The same of a line; of one that isn't JSON whether it mentions an id."""
        if len(self.values) <= ALTERNATIVES and not self.mentioned(line):
            return False
        try:
            return self.named(json.loads(line))
        except ValueError:
            return self.mentioned(line)

    def blanked(self, tree: Any, key: str = "") -> Any:
        """JSON with an empty text in place of each id, so that other ids keep their places.

        >>> Ids(frozenset({"u7"})).blanked({"users": ["u1", "u7"], "videos": ["u7"]})
        {'users': ['u1', ''], 'videos': ['u7']}
        """
        if isinstance(tree, dict):
            return {name: self.blanked(value, name) for name, value in tree.items()}
        if isinstance(tree, list):
            return [self.blanked(value, key) for value in tree]
        return "" if key in self.keys and tree in self.values else tree

    def _users_in(self, tree: Any, key: str = "") -> Iterator[str]:
        if isinstance(tree, dict):
            view = VIEWS.get(str(tree.get("view")))
            if view is not None and view.view is not None and view.view.entity == "user":
                yield from map(str, tree.get("ids") or ())
            for name, value in tree.items():
                yield from self._users_in(value, name)
        elif isinstance(tree, list):
            for value in tree:
                yield from self._users_in(value, key)
        elif key in self.keys:
            yield str(tree)

    @cached_property
    def _patterns(self) -> list[re.Pattern[bytes]]:
        """Each id as UTF-8 and as ASCII JSON has it; no letter or digit on either side."""
        forms = {form for value in self.values for form in _forms(value)}
        ordered = sorted(forms, key=len, reverse=True)
        return [
            re.compile(
                rb"(?<!%b)(?:%b)(?!%b)"
                % (EDGE, b"|".join(map(re.escape, ordered[start : start + ALTERNATIVES])), EDGE)
            )
            for start in range(0, len(ordered), ALTERNATIVES)
        ]


def _forms(value: str) -> set[bytes]:
    """As it is, as JSON has it, and as far as details of refused rows have it."""
    texts = (value, value[:DETAIL_LETTERS])
    escaped = (json.dumps(text, ensure_ascii=plain) for text in texts for plain in (False, True))
    return {value.encode(), *(text[1:-1].encode() for text in escaped)}
