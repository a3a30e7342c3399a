"""Where a pair gives something else than the behaviour that the contract suite asks for.

Each entry becomes a strict xfail: a test that passes although it is named here fails, and so does
one that fails without being named.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

from feast_pairs import Pair


@dataclass(frozen=True)
class Difference:
    """What a pair gives instead, and why."""

    gives: str
    reason: str


EXPECTED_DIFFERENCES: dict[tuple[str, str], Difference] = {}
"""By behaviour and pair. A behaviour is a test's name without `test_`, with its parameters but the
pair in brackets if one alone differs; a pair may have a wildcard: `duckdb+*`."""


def difference_of(behaviour: str, pair: Pair) -> Difference | None:
    """The entry for a behaviour on a pair; None where it has to be as the suite asks."""
    plain = behaviour.partition("[")[0]
    for (name, pattern), difference in EXPECTED_DIFFERENCES.items():
        if name in (behaviour, plain) and fnmatch(str(pair), pattern):
            return difference
    return None
