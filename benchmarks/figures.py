"""The result of a benchmark: our figure, the peer's of the same run, and what must be reached.

>>> targets = [Target("most", 1), Target("faster", 20)]
>>> read = figure("read", "p50", "ms", [0.9, 0.8, 0.7], [18.0, 14.0, 16.0], "Feast", targets)
>>> read.ours, read.peer, read.ratio, read.target, read.met
(0.8, 16.0, 20.0, '≤ 1 ms, ≥ 20x as fast', True)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from vidtopics.errors import StoreError, explain

Scale = Literal["full", "smoke"]
Compare = Literal["faster", "share"]
Milliseconds = NDArray[np.float64]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Target:
    """What must be reached.

    `most` and `least` bound our figure; `faster`: how many times as fast as the peer we are;
    `share`: ours over the peer's.
    """

    kind: Literal["most", "least", "faster", "share"]
    bound: float

    def text(self, unit: str) -> str:
        """As a reader sees it.

        >>> Target("share", 0.8).text("bytes"), Target("least", 50_000).text("keys/s")
        ('≤ 80%', '≥ 50,000 keys/s')
        """
        forms = {
            "most": f"≤ {self.bound:,g} {unit}",
            "least": f"≥ {self.bound:,.0f} {unit}",
            "faster": f"≥ {self.bound:g}x as fast",
            "share": f"≤ {self.bound:.0%}",
        }
        return forms[self.kind]

    def met(self, ours: float, ratio: float | None) -> bool:
        """Whether it is reached; a comparison without a peer is not."""
        value = ours if self.kind in {"most", "least"} else ratio
        if value is None:
            return False
        return value <= self.bound if self.kind in {"most", "share"} else value >= self.bound


@dataclass(frozen=True)
class Figure:
    """One row of the result.

    `ours`, `peer`: the medians of `ours_rounds` and `peer_rounds`, which were measured in turns; of
    latencies the quantile of all rounds' reads together.
    `ratio`: by `compare`, how many times as fast we are (`faster`) or our share of the peer's
    figure (`share`); None without a peer. `met`: None where nothing must be reached.
    """

    benchmark: str
    name: str
    unit: str
    ours: float
    peer: float | None
    peer_name: str
    compare: Compare
    ratio: float | None
    target: str
    met: bool | None
    note: str
    ours_rounds: tuple[float, ...]
    peer_rounds: tuple[float, ...]


def figure(
    benchmark: str,
    name: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float] = (),
    peer_name: str = "",
    targets: Sequence[Target] = (),
    *,
    compare: Compare = "faster",
    note: str = "",
) -> Figure:
    """The figure of rounds: their medians, whatever a neighbour on the machine made of one."""
    return _figure(
        (benchmark, name, unit),
        (median(ours), median(peer) if peer else None, tuple(ours), tuple(peer)),
        (peer_name, compare, note),
        targets,
    )


def quantile_figure(
    benchmark: str,
    name: str,
    quantile: float,
    ours: Sequence[Milliseconds],
    peer: Sequence[Milliseconds] = (),
    peer_name: str = "",
    targets: Sequence[Target] = (),
    *,
    compare: Compare = "faster",
    note: str = "",
) -> Figure:
    """The quantile of the reads of all rounds together; the rounds' own stand beside it.

    >>> rounds = [np.array([1.0, 2.0, 3.0]), np.array([3.0, 9.0])]
    >>> read = quantile_figure("read", "p50", 0.5, rounds)
    >>> read.ours, read.ours_rounds
    (3.0, (2.0, 6.0))
    """
    sides = [
        (
            float(np.quantile(np.concatenate(rounds), quantile)) if rounds else None,
            tuple(float(np.quantile(times, quantile)) for times in rounds),
        )
        for rounds in (ours, peer)
    ]
    (our_value, our_rounds), (peer_value, peer_rounds) = sides
    return _figure(
        (benchmark, name, "ms"),
        (our_value or 0.0, peer_value, our_rounds, peer_rounds),
        (peer_name, compare, note),
        targets,
    )


def _figure(
    what: tuple[str, str, str],
    values: tuple[float, float | None, tuple[float, ...], tuple[float, ...]],
    comparison: tuple[str, Compare, str],
    targets: Sequence[Target],
) -> Figure:
    (benchmark, name, unit), (ours, peer, ours_rounds, peer_rounds) = what, values
    peer_name, compare, note = comparison
    ratio = None
    if peer is not None:
        is_share = unit.endswith("/s") or compare == "share"
        ratio = ours / peer if is_share else peer / ours
    return Figure(
        benchmark,
        name,
        unit,
        ours,
        peer,
        peer_name,
        compare,
        ratio,
        ", ".join(t.text(unit) for t in targets),
        all(t.met(ours, ratio) for t in targets) if targets else None,
        note,
        ours_rounds,
        peer_rounds,
    )


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds of a call, and what it gave."""
    began = perf_counter()
    result = call()
    return perf_counter() - began, result


def check(what: str, ours: object, peer: object) -> None:
    """StoreError where the two sides of a benchmark differ: their times would say nothing."""
    if ours != peer:
        raise StoreError(
            explain(
                f"benchmark, {what}",
                expected=f"the peer's {peer!r:.200}",
                found=f"{ours!r:.200}",
                mend="a side reads or writes wrongly; run the tests",
            )
        )
