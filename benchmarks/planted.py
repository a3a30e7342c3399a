"""What topics can add to AUC in a simulated world: the ceiling that learned topics are held to.

`python -m benchmarks.planted WORLD ...` takes worlds that `write_world` wrote
(`HOME/simulated/<digest>`); `--seeds 7 8` simulates worlds of the default settings in memory, and
`--eta`, `--topics`, `--taste` and `--users` change these settings. `--sources` compares topics by
where they come from instead (too few, too many, of covers or tags with more and more noise),
`--figure FILE` draws that. Worlds of `--taste content covers tags nothing` compare the topics that
covers and tags show with what taste follows. `--home HOME` prints what `vidtopics evaluate ranking`
says of a simulated home's learned topics, without its rankers.

The regression is :mod:`vidtopics.evaluate.ceiling.gains`. All variants have what `base` has: the
video's click rate, exposures and age, position, the user's impressions, clicks and residuals, and
what this user did with this video. The others add what they know of topics, classes or tastes *as
planted*, over the user's earlier impressions, clicked or not. The interval of a world is a paired
bootstrap over users, that over worlds Student's t.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from scipy import stats

from benchmarks.planted_variants import (
    BASE,
    COMPARED_WITH,
    Variants,
    figure,
    modalities,
    planted,
    sources,
)
from vidtopics.cli import ceiling_report, homes
from vidtopics.evaluate.ceiling.consumer import Consumer
from vidtopics.evaluate.ceiling.gains import bootstrap_aucs, interval
from vidtopics.evaluate.ceiling.log import read_log
from vidtopics.evaluate.ceiling.report import evaluate
from vidtopics.evaluate.ceiling.worlds import written_world
from vidtopics.settings import SimulationSettings
from vidtopics.simulation import World
from vidtopics.simulation.loop import simulate
from vidtopics.tables import Tables

TASTE_KINDS = get_args(SimulationSettings.model_fields["taste_follows"].annotation)


@dataclass(frozen=True)
class Gain:
    """AUC of a variant on the test rows, and its gain over the variant `over`, with 95% bounds."""

    eta: float
    topics: int
    taste: str
    seed: int
    variant: str
    over: str
    auc: float
    gain: float
    low: float
    high: float

    @property
    def setting(self) -> tuple[float, int, str]:
        """What worlds of one table share."""
        return self.eta, self.topics, self.taste


def gains(consumer: Consumer, variants: Callable[[Consumer], Variants] = planted) -> list[Gain]:
    """Every variant's gain; `kernel, permuted topics` is the mean of several permutations."""
    settings, seed = consumer.world.settings, consumer.world.seed
    of_world = (settings.visible_taste, settings.topics, settings.taste_follows, seed)
    aucs, rows = bootstrap_aucs(consumer, variants(consumer)), []
    for name, auc in aucs.items():
        over = COMPARED_WITH.get(name, BASE)
        gain = interval(auc - aucs[over])
        rows.append(Gain(*of_world, name, over, float(auc[0]), *gain.values()))
    return rows


def table(rows: Sequence[Gain]) -> str:
    """Gains of worlds that differ by their seed alone, a column for each seed and their mean.

    ± is half the 95% interval: over users of a world, and of the mean over worlds.
    """
    seeds = sorted({row.seed for row in rows})
    lines = [
        f"| gain in AUC, eta {rows[0].eta:g}, {rows[0].topics} topics,"
        f" taste follows {rows[0].taste} | over |"
        + "".join(f" seed {seed} |" for seed in seeds)
        + " mean |",
        "|---" * (len(seeds) + 3) + "|",
    ]
    for variant in dict.fromkeys(row.variant for row in rows):
        of_seeds = [row for row in rows if row.variant == variant]
        if variant == "base":
            cells, mean = [f"{row.auc:.4f}" for row in of_seeds], _mean([r.auc for r in of_seeds])
            lines.append(f"| AUC of base | | {' | '.join(cells)} | {mean} |")
            continue
        cells = [f"{row.gain:+.4f} ± {(row.high - row.low) / 2:.4f}" for row in of_seeds]
        mean = _mean([row.gain for row in of_seeds], sign="+")
        lines.append(f"| {variant} | {of_seeds[0].over} | {' | '.join(cells)} | {mean} |")
    return "\n".join(lines)


def _mean(values: Sequence[float], sign: str = "") -> str:
    """Mean and half the width of its 95% interval by Student's t; the value where there is one."""
    mean = f"{np.mean(values):{sign}.4f}"
    if len(values) == 1:
        return mean
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{mean} ± {half:.4f}"


def _consumers(options: argparse.Namespace) -> Iterator[Consumer]:
    for folder in options.worlds:
        yield Consumer(*written_world(folder))
    default = SimulationSettings()
    for eta in options.eta or [default.visible_taste]:
        for topics in options.topics or [default.topics]:
            for taste in options.taste or [default.taste_follows]:
                changes: dict[str, Any] = {
                    "visible_taste": eta,
                    "topics": topics,
                    "taste_follows": taste,
                    "users": options.users,
                }
                for seed in options.seeds:
                    world = World.build(SimulationSettings(**changes), seed)
                    yield Consumer(world, read_log(simulate(world)))


def main() -> None:
    """Print a table for the worlds of each setting, or all gains as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planted")
    parser.add_argument("worlds", nargs="*", type=Path, metavar="WORLD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[])
    parser.add_argument("--eta", nargs="+", type=float)
    parser.add_argument("--topics", nargs="+", type=int)
    parser.add_argument("--taste", nargs="+", choices=TASTE_KINDS)
    parser.add_argument("--users", type=int, default=SimulationSettings().users)
    parser.add_argument("--sources", action="store_true")
    parser.add_argument("--figure", type=Path, metavar="FILE")
    parser.add_argument("--home", type=Path, metavar="HOME")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.home:
        tables, settings = Tables(options.home), homes.settings(options.home, None)
        report = evaluate(tables, settings)
        if report is None:
            parser.error(f"{options.home} is no home of a simulated world")
        ceiling_report.show(report)
        return
    if not options.worlds and not options.seeds:
        parser.error("name a WORLD, a HOME that has one, or --seeds")
    variants = modalities if options.taste else planted
    variants = sources if options.sources or options.figure else variants
    rows = [row for consumer in _consumers(options) for row in gains(consumer, variants)]
    if options.figure:
        options.figure.write_text(figure(rows), encoding="utf-8")
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))  # noqa: T201
        return
    for setting in dict.fromkeys(row.setting for row in rows):
        print(table([row for row in rows if row.setting == setting]) + "\n")  # noqa: T201


if __name__ == "__main__":
    main()
