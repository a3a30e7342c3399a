"""What a run says of each view and structure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Moved:
    """What a run did to one view or structure: rows looked at, values (or lists) written, older ones left, rows not due yet, and seconds.

    `why`: the reason for which a new generation took the place of the live one; empty where the
    live one was written on. `taken_out`: Redis held the view, and the settings don't want it online
    any more.
    """

    name: str
    release: int
    read: int = 0
    written: int = 0
    older: int = 0
    not_due: int = 0
    seconds: float = 0.0
    up_to_date: bool = False
    why: str = ""
    taken_out: bool = False
