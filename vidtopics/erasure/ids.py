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
SHORT_BYTES = 6
"""Ids shorter than that stand in texts by chance: they have to be quoted there."""
EDGE = rb"[0-9A-Za-z_\x80-\xff]"
QUOTE = rb"['\"]"
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Ids:
    """Ids of users, and the names of columns that hold such ids.

    >>> people = Ids(frozenset({"u7"}))
    >>> people.mentioned(b"user_id 'u7', twice"), people.mentioned(b"position u7")
    (True, False)
    >>> people.named({"users": ["u1", "u7"]}), people.named({"videos": ["u7"]})
    (1, 0)
    """

    values: frozenset[str]
    columns: frozenset[str] = frozenset({USER_ID.name})

    @classmethod
    def of(cls, ids: Iterable[str], columns: Iterable[str] = (USER_ID.name,)) -> Ids:
        """The ids of a request; InputError where one can't be a user's."""
        values = frozenset(ids)
        for value in values:
            size = len(value.encode(errors="replace"))
            if not 0 < size <= MAX_ID_BYTES or CONTROL.search(value):
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
        """Whether an id stands in a text as a word of its own, a short one in quotes."""
        return any(pattern.search(text) for pattern in self._mentions)

    def named(self, tree: Any) -> int:
        """How many ids JSON has where ids of users stand."""
        return sum(value in self.values for value in self._users_in(tree))

    def named_in_line(self, line: bytes) -> bool:
        """The same of a line; of one that isn't JSON whether it mentions an id."""
        if len(self.values) <= ALTERNATIVES and not any(p.search(line) for p in self._words):
            return False
        try:
            return self.named(json.loads(line)) > 0
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
    def _words(self) -> list[re.Pattern[bytes]]:
        return [*_patterns(self.values, rb"(?<!%b)(?:%%b)(?!%b)" % (EDGE, EDGE))]

    @cached_property
    def _mentions(self) -> list[re.Pattern[bytes]]:
        short = {value for value in self.values if len(value.encode()) < SHORT_BYTES}
        words = _patterns(self.values - short, rb"(?<!%b)(?:%%b)(?!%b)" % (EDGE, EDGE))
        return [*words, *_patterns(short, rb"(?<=%b)(?:%%b)(?=%b)" % (QUOTE, QUOTE))]


def _patterns(values: Iterable[str], frame: bytes) -> Iterator[re.Pattern[bytes]]:
    """Each id in all of its forms, the longest first."""
    forms = sorted({form for value in values for form in _forms(value)}, key=len, reverse=True)
    for start in range(0, len(forms), ALTERNATIVES):
        part = b"|".join(map(re.escape, forms[start : start + ALTERNATIVES]))
        yield re.compile(frame % part)


def _forms(value: str) -> set[bytes]:
    """As it is, as JSON has it, and as far as details of refused rows have it."""
    texts = (value, value[:DETAIL_LETTERS])
    escaped = (json.dumps(text, ensure_ascii=plain) for text in texts for plain in (False, True))
    return {value.encode(), *(text[1:-1].encode() for text in escaped)}
