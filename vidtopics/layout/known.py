"""Reading JSON that a later version may have written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def known_fields(kind: type, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Of a mapping, the keys that a dataclass has; those that a later version added are left out.

    >>> from vidtopics.layout import ViewEntry
    >>> known_fields(ViewEntry, {"number": 1, "colour": "red"})
    {'number': 1}
    """
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in mapping.items() if name in names}
