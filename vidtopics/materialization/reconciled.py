"""What the nightly check says of each view and structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

EXAMPLES = 5


@dataclass(frozen=True)
class Reconciled:
    """What was found of one view or structure.

    `version`: of the table, by what Redis says; None where it is not whole (`faults` says why).
    `live` and `ended`: entities of the table (of a structure its lists: none of them ends); each
    has a key, unless its TTL has passed. `keys`: in Redis. `compared`: values or lists of the
    sample. `newer`: of the keys and the sample, values that came after what the table has at that
    version (a push; a run whose watermark waits for rows that are not due): no fault. `faults`:
    kind to the number of them; `examples`: kind to some ids.
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

        >>> found = Reconciled.of("v", 1, 2, 0, 1, 1, {"missing": [b"b"], "another value": []})
        >>> found.faults, found.examples
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
