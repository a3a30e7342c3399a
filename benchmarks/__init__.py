"""Benchmarks, each against its peer in the same run: `vidtopics bench [NAME ...]`.

A module per benchmark with one function, `run(scale) -> list[Figure]`: it makes seeded data, starts
what it needs in a temporary folder, checks that both sides give the same answer, and measures them
in turns. `docs/benchmarks.md` has what came out and how to read it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from benchmarks.figures import Figure, Scale

MODULES = {
    "online": "online",
    "clients": "clients",
    "feast-read": "feast_read",
    "materialize": "materialize",
    "memory": "memory",
    "join": "join",
    "rounds": "rounds",
    "training": "training",
    "wide": "wide",
    "age": "age",
    "encoding": "encoding",
}

__all__ = ["MODULES", "Figure", "Scale", "run"]


def run(
    names: Sequence[str],
    scale: Scale,
    report: Callable[[str], None] = lambda name: None,
    keep: Callable[[list[Figure]], None] = lambda figures: None,
) -> list[Figure]:
    """Run benchmarks one after the other; KeyError for an unknown name.

    `report` hears each name before it starts; `keep` gets all figures so far after each, so that
    one that fails takes none of them along.
    """
    figures: list[Figure] = []
    for name in names:
        report(name)
        figures += importlib.import_module(f"benchmarks.{MODULES[name]}").run(scale)
        keep(figures)
    return figures
