"""The result of a benchmark: our figure, the peer's of the same run, and what must be reached.

>>> targets = [Target("most", 1), Target("faster", 20)]
>>> read = figure("read", "p50", "ms", [0.9, 0.8], [18.0, 16.0], "Feast", targets)
>>> read.ours, read.peer, read.ratio, read.target, read.met
(0.8, 16.0, 20.0, '≤ 1 ms, ≥ 20x as fast', True)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, TypeVar

from vidtopics.errors import StoreError, explain

Scale = Literal["full", "smoke"]
Compare = Literal["faster", "share"]
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

    `ours`, `peer`: the best of `ours_rounds` and `peer_rounds`, which were measured in turns.
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
    """The figure of rounds; the highest rate (`.../s`) is the best, of anything else the lowest."""
    rate = unit.endswith("/s")
    best = max if rate else min
    our_best, peer_best = best(ours), best(peer) if peer else None
    ratio = (
        None
        if peer_best is None
        else our_best / peer_best
        if rate or compare == "share"
        else peer_best / our_best
    )
    text = ", ".join(t.text(unit) for t in targets)
    met = all(t.met(our_best, ratio) for t in targets) if targets else None
    return Figure(
        benchmark,
        name,
        unit,
        our_best,
        peer_best,
        peer_name,
        compare,
        ratio,
        text,
        met,
        note,
        tuple(ours),
        tuple(peer),
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
