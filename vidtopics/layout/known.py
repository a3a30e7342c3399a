"""Reading JSON that a later version may have written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def known_fields(kind: type, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Of a mapping, the keys that a dataclass has; those that a later version added are left out.

    >>> from vidtopics.layout import ViewEntry
    >>> known_fields(ViewEntry, {"number": 1, "colour": "red"})
    {'number': 1}
    """
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in mapping.items() if name in names}


def read_known(kind: type[T], text: str | bytes) -> T:
    """A dataclass from JSON, without the keys that a later version added.

    >>> from vidtopics.layout import ViewEntry
    >>> read_known(ViewEntry, '{"number":4,"generation":2,"ttl_us":0,"schema":7,"colour":1}').schema
    7
    """
    return kind(**known_fields(kind, json.loads(text)))
