"""What a stored model says of itself, read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = "model.json"


def described(folder: Path) -> dict[str, Any] | None:
    """The JSON of the model in a folder; None where there is none that can be read."""
    try:
        facts: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None
