"""A short hash of settings, by which a job knows whether its own have changed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel


def digest(*parts: Any) -> str:
    """A short hash of settings sections and plain values, equal where they are equal.

    >>> from vidtopics.settings import TagSettings
    >>> digest(TagSettings()) == digest(TagSettings(walk_length=100))
    True
    >>> digest(TagSettings()) == digest(TagSettings(walk_length=50))
    False
    """
    plain = [p.model_dump(mode="json") if isinstance(p, BaseModel) else p for p in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]
