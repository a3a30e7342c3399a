"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Finding:
    """The result of one check; `mend` is empty where all is well."""

    name: str
    state: State
    found: str
    mend: str = ""
