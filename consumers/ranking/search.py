"""The same search for every variant: as many trials, drawn alike, judged on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from consumers.ranking.models import MODELS, Pieces, Sizes
from consumers.ranking.train import train
from vidtopics.settings import RankingSettings

if TYPE_CHECKING:
    from consumers.ranking.inputs import Examples

TREES = "lightgbm"
LEARNERS = (*MODELS, TREES)
"""What can be searched, trained and compared, by name."""
Choice = Mapping[str, Any]
"""What a trial varies: settings of `ranking`, or parameters of LightGBM."""


class Fitted(Protocol):
    """A trained model of whatever kind."""

    @property
    def epochs(self) -> int:
        """How long it was trained, in its own unit."""

    @property
    def auc(self) -> list[float]:
        """On the validation rows."""

    def predict(self, examples: Examples) -> NDArray[np.float32]:
        """float32[N], click probabilities."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Rows to train on and rows to judge by, in the vocabulary of the former."""

    sizes: Sizes
    train: Examples
    judge: Examples


@dataclass(frozen=True)
class Chosen:
    """The best of the trials, the epochs that were best for it, and every trial's AUC."""

    choice: Choice
    epochs: int
    auc: list[float]


def choices(name: str, trials: int, seed: int) -> list[Choice]:
    """What each trial of a learner varies; the first is the settings as they are.

    The draws follow from learner and seed alone, so that every variant of a model is tried at the
    same points. Logarithms are uniform; a weight decay of 0 is tried a quarter of the time.

    >>> [sorted(choice) for choice in choices("dcn", 2, 7)]
    [[], ['embedding_width', 'learning_rate', 'weight_decay']]
    """
    random = np.random.default_rng([seed, LEARNERS.index(name)])
    draw = _draw_trees if name == TREES else _draw_model
    return [{}, *(draw(random) for _ in range(trials - 1))]


def train_model(
    name: str,
    pieces: Pieces,
    parts: Parts,
    settings: RankingSettings,
    choice: Choice,
    *,
    seed: int,
    epochs: int | None = None,
) -> Fitted:
    """A model of `parts.train`: without `epochs`, `parts.judge` chooses how long."""
    judge = parts.judge if epochs is None else None
    if name == TREES:
        from consumers.ranking.boosted import train_trees

        return train_trees(pieces, parts.train, judge, dict(choice), seed=seed, rounds=epochs)
    tuned = settings.model_copy(update=dict(choice))
    return train(name, pieces, parts.sizes, parts.train, judge, tuned, seed=seed, epochs=epochs)


def search(
    name: str,
    pieces: Pieces,
    parts: Parts,
    settings: RankingSettings,
    *,
    trials: int,
    seed: int,
    progress: Callable[[str], None] = lambda text: None,
) -> Chosen:
    """The choice with the highest AUC on `parts.judge`, the first of equal ones."""
    tried = []
    for choice in choices(name, trials, seed):
        fitted = train_model(name, pieces, parts, settings, choice, seed=seed)
        tried.append((max(fitted.auc), fitted.epochs, choice))
        progress(f"{name}: trial {len(tried)} of {trials}")
    best = max(range(trials), key=lambda i: (tried[i][0], -i))
    return Chosen(tried[best][2], tried[best][1], [auc for auc, _, _ in tried])


def _draw_model(random: np.random.Generator) -> Choice:
    decay = 10 ** random.uniform(-6, -3)
    return {
        "learning_rate": float(10 ** random.uniform(-3.3, -2.2)),
        "weight_decay": 0.0 if random.random() < 0.25 else float(decay),
        "embedding_width": int(random.choice([4, 8, 16])),
    }


def _draw_trees(random: np.random.Generator) -> Choice:
    return {
        "learning_rate": float(10 ** random.uniform(-1.5, -0.8)),
        "num_leaves": int(random.choice([7, 15, 31, 63])),
        "min_data_in_leaf": int(random.choice([20, 50, 100, 200])),
        "lambda_l2": float(10 ** random.uniform(-2, 1)),
    }
