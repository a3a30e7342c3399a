"""Reports on a view or structure: what a run did to it, and what the nightly check found of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

EXAMPLES = 5


@dataclass(frozen=True)
class Moved:
    """What a run did to one view or structure.

    Attributes:
        name: of the view or structure.
        release: the release that the run brought.
        read: rows looked at.
        written: values (or lists) written.
        older: rows that were left, as Redis had a later one.
        not_due: rows that are not due yet.
        seconds: duration.
        up_to_date: nothing had to be done.
        why: why a new generation took the live one's place; empty where the live one was written.
        taken_out: Redis held the view, and the settings don't want it online any more.
        needs_bytes: of a preview, the memory that the new generation needs beside the live one.
        error: why it was left behind at the release before; empty where it wasn't.
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
    needs_bytes: int = 0
    error: str = ""


@dataclass(frozen=True)
class Reconciled:
    """What the nightly check found of one view or structure.

    Attributes:
        name: of the view or structure.
        version: of the table, by what Redis says; None where it is not whole (`faults` says why).
        live: entities of the table, or lists of a structure. Each has a key unless its TTL passed.
        ended: entities whose value ended; of a structure none.
        keys: in Redis.
        compared: values or lists of the sample.
        faults: kind to the number of them.
        examples: kind to some ids.
        newer: of the keys and the sample, values later than what the table has at that version (a
            push; a run whose watermark waits for rows that are not due): no fault.
    """

    name: str
    version: int | None
    live: int = 0
    ended: int = 0
    keys: int = 0
    compared: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    newer: int = 0

    @classmethod
    def of(
        cls,
        name: str,
        version: int,
        live: int,
        ended: int,
        keys: int,
        compared: int,
        faults: Mapping[str, Sequence[bytes]],
        *,
        newer: int = 0,
    ) -> Reconciled:
        """With the ids at fault, by kind.

        >>> report = Reconciled.of("v", 1, 2, 0, 1, 1, {"missing": [b"b"], "another value": []})
        >>> report.faults, report.examples
        ({'missing': 1}, {'missing': ['b']})
        """
        named = {
            kind: [i.decode(errors="replace") for i in ids[:EXAMPLES]]
            for kind, ids in faults.items()
            if ids
        }
        return cls(
            name,
            version,
            live,
            ended,
            keys,
            compared,
            {kind: len(faults[kind]) for kind in named},
            named,
            newer,
        )
