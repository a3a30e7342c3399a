"""Table II: models with and without topics, on rows that they did not learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from consumers.ranking.bootstrap import Draws, Interval, bootstrap
from consumers.ranking.metrics import METRICS, Groups, calibration
from consumers.ranking.models import VARIANTS, Pieces
from consumers.ranking.search import Chosen, Fitted, Parts, search, train_model
from vidtopics.settings import Settings

if TYPE_CHECKING:
    from consumers.ranking.examples import Examples

Progress = Callable[[str], None]
LONG_HISTORY = 20
"""Earlier impressions of the user from which a history counts as long."""
HEAD_SHARE = 0.1
"""Share of the videos, by impressions in training, that are the head; all others are the tail."""
BASE = "none"


@dataclass(frozen=True, eq=False)
class Problem:
    """What models of a split are searched, trained and judged on.

    Attributes:
        search: rows to fit trials on, and later ones to judge them by.
        final: all training rows, and the test rows.
        settings: their `ranking` is the first trial of each search.
        users: int64[test rows], a number for each user, unknown ones included.
    """

    search: Parts
    final: Parts
    settings: Settings
    users: NDArray[np.int64]

    @property
    def groups(self) -> Groups:
        """The test rows by user."""
        return Groups.of(self.users, self.final.judge.clicked)


@dataclass(frozen=True, eq=False)
class Cell:
    """A model and variant: what its search chose, a model a seed, and its scores, float32[S, N]."""

    chosen: Chosen
    models: list[Fitted]
    scores: NDArray[np.float32]


def fill_cell(
    problem: Problem,
    name: str,
    pieces: Pieces,
    *,
    seeds: Sequence[int],
    chosen: Chosen | None = None,
    base: Cell | None = None,
) -> Cell:
    """Searches (unless something is `chosen` already), then trains a model a seed on all rows.

    `base`: the cell of the same model without topics; its models are those that heads are added to.
    """
    settings = problem.settings
    if chosen is None:
        chosen = search(
            name,
            pieces,
            problem.search,
            settings.ranking,
            trials=settings.evaluation.ranking_trials,
            seed=settings.seed,
            base=base.chosen if base else None,
        )
    models = [
        train_model(
            name,
            pieces,
            problem.final,
            settings.ranking,
            chosen.choice,
            seed=seed,
            epochs=chosen.epochs,
            base=base.models[place] if base else None,
        )
        for place, seed in enumerate(seeds)
    ]
    scores = [model.predict(problem.final.judge) for model in models]
    return Cell(chosen, models, np.stack(scores))


def table_rows(
    problem: Problem, cells: Mapping[tuple[str, str], Cell], seed: int
) -> list[dict[str, Any]]:
    """A row for each model and variant: metrics, and the gain over the model without topics."""
    names = {f"{model}/{variant}": (model, variant) for model, variant in cells}
    scores = {name: cells[key].scores for name, key in names.items()}
    draws = bootstrap(problem.groups, scores, seed=seed)
    return [
        {
            "model": model,
            "variant": variant,
            **{metric: draws.interval(metric, name) for metric in METRICS},
            "calibration": calibration(
                problem.final.judge.clicked, cells[model, variant].scores.mean(0)
            ),
            "gain": gains(draws, name, f"{model}/{BASE}") if variant != BASE else None,
            "epochs": list(cells[model, variant].chosen.epochs),
            "choice": dict(cells[model, variant].chosen.choice),
            "validation_auc": max(cells[model, variant].chosen.auc, default=None),
        }
        for name, (model, variant) in names.items()
    ]


def gains(draws: Draws, name: str, base: str) -> dict[str, Interval]:
    """Paired differences of every metric."""
    return {metric: draws.interval(metric, name, less=base) for metric in METRICS}


def slice_rows(
    problem: Problem, with_topics: Cell, without: Cell, seed: int
) -> list[dict[str, Any]]:
    """AUC of two cells of one model on parts of the test rows."""
    rows = []
    for name, mask in slices(problem.final).items():
        part = np.flatnonzero(mask)
        clicked = problem.final.judge.clicked[part]
        if not 0 < int(clicked.sum()) < len(part):
            rows.append({"slice": name, "rows": len(part), "none": None, "topics": None})
            continue
        scores = {"none": without.scores[:, part], "topics": with_topics.scores[:, part]}
        draws = bootstrap(Groups.of(problem.users[part], clicked), scores, seed=seed)
        rows.append(
            {
                "slice": name,
                "rows": len(part),
                "none": draws.interval("auc", "none"),
                "topics": draws.interval("auc", "topics"),
                "gain": draws.interval("auc", "topics", less="none"),
            }
        )
    return rows


def slices(parts: Parts) -> dict[str, NDArray[np.bool_]]:
    """Which test rows are of each slice, bool[N].

    New videos and users have no training row; a history's length is what is known of the user's
    earlier impressions; the head are the tenth of the training videos that were shown most.
    """
    train, test = parts.train, parts.judge
    shown = np.bincount(train.video, minlength=parts.sizes.videos)
    shown[0] = 0
    head = np.argsort(-shown, kind="stable")[: max(1, int(HEAD_SHARE * (shown > 0).sum()))]
    is_head, lengths = np.isin(test.video, head), history_lengths(test)
    return {
        "new videos": test.video == 0,
        "new users": test.user == 0,
        "long histories": lengths >= LONG_HISTORY,
        "short histories": lengths < LONG_HISTORY,
        "head": is_head,
        "tail": ~is_head & (test.video > 0),
    }


def history_lengths(examples: Examples) -> NDArray[np.float64]:
    """float64[N], earlier impressions of each row's user that a model sees."""
    column = examples.names.index("history_length")
    return np.round(examples.numbers[:, column].astype(np.float64) * examples.places)


def ablations() -> dict[str, tuple[str, Pieces]]:
    """Which model reads which pieces, by what the row says: one piece less, and one alone.

    Attention exists in DIN alone; all else is taken from Wide&Deep.

    >>> [name for name in ablations() if name.startswith("din")]
    ['din, all', 'din, none', 'din, without attention', 'din, attention alone']
    """
    rows = {}
    for model, names in (
        ("wide_and_deep", ("ids", "parents", "match", "tiers")),
        ("din", ("attention",)),
    ):
        rows[f"{model}, all"] = (model, VARIANTS["topics"])
        rows[f"{model}, none"] = (model, VARIANTS["none"])
        for name in names:
            rows[f"{model}, without {name}"] = (
                model,
                Pieces(**{**vars(VARIANTS["topics"]), name: False}),
            )
            rows[f"{model}, {name} alone"] = (model, Pieces(**{name: True}))
    return rows
