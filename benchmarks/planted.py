"""What topics can add to AUC in a simulated world: the ceiling that learned topics are held to.

`python -m benchmarks.planted WORLD ...` takes worlds that `write_world` wrote
(`HOME/simulated/<digest>`); `--seeds 7 8` simulates worlds of the default settings in memory, and
`--eta`, `--topics` and `--users` change these settings. `--sources` compares topics by where they
come from instead (too few, too many, of covers or tags with more and more noise), `--figure FILE`
draws that, and `--home HOME` says which share of the planted gain the topics recover that a home of
a simulated world has learned.

A logistic regression learns from the first four fifths of the impressions by time and is judged on
the last, once for each variant. All have what `base` has: the video's click rate, exposures and
age, position, the user's impressions, clicks and residuals, and what this user did with this video.
The others add what they know of topics, classes or tastes *as planted*, over the user's earlier
impressions, clicked or not. The interval of a world is a paired bootstrap over users, that over
worlds Student's t.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression

from benchmarks.planted_features import Consumer, Floats, read_log
from benchmarks.planted_variants import Variants, figure, learned, planted, share_line, sources
from vidtopics.errors import InputError, explain
from vidtopics.settings import SimulationSettings
from vidtopics.simulation import World
from vidtopics.simulation.loop import simulate
from vidtopics.simulation.truth import MARK

DRAWS = 200
"""Of the bootstrap."""


@dataclass(frozen=True)
class Gain:
    """AUC of a variant on the test rows, and its gain over the variant `over`, with 95% bounds."""

    eta: float
    topics: int
    seed: int
    variant: str
    over: str
    auc: float
    gain: float
    low: float
    high: float


def gains(world: World, variants: Callable[[Consumer], Variants] | None = None) -> list[Gain]:
    """Every variant's gain; `kernel, permuted topics` is the mean of several permutations."""
    consumer = Consumer(world, read_log(world))
    draws = _bootstrap_weights(consumer)
    aucs: dict[str, Floats] = {}
    rows: list[Gain] = []
    for variant, over, copies in (variants or planted)(consumer):
        aucs[variant] = np.mean([_aucs(consumer, features, draws) for features in copies], axis=0)
        difference = aucs[variant] - aucs[over]
        low, high = np.quantile(difference[1:], [0.025, 0.975])
        settings, auc, gain = world.settings, float(aucs[variant][0]), float(difference[0])
        of_world = (settings.visible_taste, settings.topics, world.seed)
        rows.append(Gain(*of_world, variant, over, auc, gain, float(low), float(high)))
    return rows


def _aucs(consumer: Consumer, features: Floats, draws: Floats) -> Floats:
    """AUC on the test rows with each of the `draws` [1 + D, U] as weights of users: [1 + D]."""
    trains, clicked = consumer.trains, consumer.log.clicked
    x = (features - features[trains].mean(axis=0)) / np.maximum(features[trains].std(axis=0), 1e-9)
    model = LogisticRegression(solver="newton-cholesky").fit(x[trains], clicked[trains])
    scores = model.decision_function(x[~trains])
    user = consumer.log.user[~trains]
    return np.array([weighted_auc(clicked[~trains], scores, draw[user]) for draw in draws])


def weighted_auc(clicked: NDArray[np.bool_], scores: Floats, weights: Floats) -> float:
    """Share of pairs of a clicked and an unclicked row, by weight, that the scores order right.

    >>> clicked = np.array([True, False, True, False])
    >>> weighted_auc(clicked, np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 1.0, 1.0, 1.0]))
    0.75
    """
    values, place = np.unique(scores, return_inverse=True)
    positive = np.bincount(place, weights * clicked, minlength=len(values))
    negative = np.bincount(place, weights * ~clicked, minlength=len(values))
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def _bootstrap_weights(consumer: Consumer) -> Floats:
    """How often each user is drawn, [1 + DRAWS, U]; in the first row each once."""
    users = consumer.world.settings.users
    drawn = np.random.default_rng(0).multinomial(users, np.full(users, 1 / users), size=DRAWS)
    return np.vstack([np.ones(users), drawn])


def table(rows: Sequence[Gain]) -> str:
    """Gains of worlds of one eta and number of topics, a column for each seed and their mean.

    ± is half the 95% interval: over users of a world, and of the mean over worlds.
    """
    seeds = sorted({row.seed for row in rows})
    lines = [
        f"| gain in AUC, eta {rows[0].eta:g}, {rows[0].topics} topics | over |"
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


def written_world(folder: Path) -> World:
    """The world that `write_world` left in `folder`; InputError where this code makes another."""
    truth = json.loads((folder / "truth" / MARK).read_text(encoding="utf-8"))
    world = World.build(SimulationSettings(**truth["settings"]), truth["seed"])
    written = pq.read_table(folder / "impressions.parquet", columns=["clicked"])["clicked"]
    simulated = np.concatenate([b.responses.clicked.ravel() for b in simulate(world)])
    if not np.array_equal(written.to_numpy(), simulated):
        raise InputError(
            explain(
                str(folder),
                expected="a log that this version of the simulation writes",
                found="other clicks",
                mend="simulate the world again: vidtopics ingest simulated --home NEW",
            )
        )
    return world


def _worlds(options: argparse.Namespace) -> Iterator[World]:
    for folder in options.worlds:
        yield written_world(folder)
    default = SimulationSettings()
    for eta in options.eta or [default.visible_taste]:
        for topics in options.topics or [default.topics]:
            changes = {"visible_taste": eta, "topics": topics, "users": options.users}
            for seed in options.seeds:
                yield World.build(SimulationSettings(**changes), seed)


def main() -> None:
    """Print a table for each eta and number of topics, or all gains as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planted")
    parser.add_argument("worlds", nargs="*", type=Path, metavar="WORLD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[])
    parser.add_argument("--eta", nargs="+", type=float)
    parser.add_argument("--topics", nargs="+", type=int)
    parser.add_argument("--users", type=int, default=SimulationSettings().users)
    parser.add_argument("--sources", action="store_true")
    parser.add_argument("--figure", type=Path, metavar="FILE")
    parser.add_argument("--home", type=Path, metavar="HOME")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.home:
        options.worlds = sorted((options.home / "simulated").glob("*/"))
    if not options.worlds and not options.seeds:
        parser.error("name a WORLD, a HOME that has one, or --seeds")
    variants = sources if options.sources or options.figure else None
    if options.home:
        variants = partial(learned, home=options.home)
    rows = [row for world in _worlds(options) for row in gains(world, variants)]
    if options.figure:
        options.figure.write_text(figure(rows), encoding="utf-8")
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))  # noqa: T201
        return
    for setting in dict.fromkeys((row.eta, row.topics) for row in rows):
        print(table([row for row in rows if (row.eta, row.topics) == setting]) + "\n")  # noqa: T201
    if options.home:
        print(share_line(rows))  # noqa: T201


if __name__ == "__main__":
    main()
