"""The same search for every variant: as many trials, drawn alike, judged on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from consumers.ranking.models import MODELS, Pieces, Sizes
from consumers.ranking.train import Epochs, Trained, train
from vidtopics.settings import RankingSettings

if TYPE_CHECKING:
    from consumers.ranking.examples import Examples

TREES = "lightgbm"
LEARNERS = (*MODELS, TREES)
"""What can be searched, trained and compared, by name."""
Choice = Mapping[str, Any]
"""What a trial varies: settings of `ranking`, or parameters of LightGBM."""


Progress = Callable[[str], None]


class Fitted(Protocol):
    """A trained model of whatever kind."""

    @property
    def epochs(self) -> Epochs:
        """How long each part of it was trained, in its own unit."""

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
    """The best of the trials with its epochs and model, and every trial's best AUC."""

    choice: Choice
    epochs: Epochs
    auc: list[float]
    fitted: Fitted


def choices(name: str, trials: int, seed: int, *, of_head: bool = False) -> list[Choice]:
    """What each trial of a learner, or of its head, varies; the first is the settings as they are.

    The draws follow from learner and seed alone, so that every variant of a model is tried at the
    same points. Logarithms are uniform; a weight decay of 0 is tried a quarter of the time.

    >>> [sorted(choice) for choice in choices("dcn", 2, 7)]
    [[], ['embedding_width', 'learning_rate', 'weight_decay']]
    >>> [sorted(choice) for choice in choices("dcn", 2, 7, of_head=True)]
    [[], ['topic_learning_rate', 'topic_weight_decay']]
    """
    random = np.random.default_rng([seed, LEARNERS.index(name), of_head])
    draw = _draw_head if of_head else _draw_trees if name == TREES else _draw_model
    return [{}, *(draw(random) for _ in range(trials - 1))]


def train_model(
    name: str,
    pieces: Pieces,
    parts: Parts,
    settings: RankingSettings,
    choice: Choice,
    *,
    seed: int,
    epochs: Epochs | None = None,
    base: Fitted | None = None,
) -> Fitted:
    """A model of `parts.train`: without `epochs`, `parts.judge` chooses how long.

    `base`: the model without topics of the same rows, to which a head is added; trained here where
    it isn't given. Trees have none.
    """
    judge = parts.judge if epochs is None else None
    if name == TREES:
        from consumers.ranking.boosted import train_trees

        return train_trees(pieces, parts.train, judge, dict(choice), seed=seed, epochs=epochs)
    tuned = settings.model_copy(update=dict(choice))
    trained = base if isinstance(base, Trained) else None
    return train(
        name, pieces, parts.sizes, parts.train, judge, tuned, seed=seed, epochs=epochs, base=trained
    )


def search(
    name: str,
    pieces: Pieces,
    parts: Parts,
    settings: RankingSettings,
    *,
    trials: int,
    seed: int,
    progress: Progress = lambda text: None,
    base: Chosen | None = None,
) -> Chosen:
    """The choice with the highest AUC on `parts.judge`, the first of equal ones.

    As many trials for the model without topics (unless `base` has been chosen already) as for the
    head that the pieces ask for.
    """

    def try_all(drawn: list[Choice], pieces: Pieces, before: Chosen | None) -> Chosen:
        tried: list[tuple[Choice, Fitted]] = []
        fixed: Choice = before.choice if before else {}
        base = before.fitted if before else None
        for own in drawn:
            choice: Choice = {**fixed, **own}
            fitted = train_model(name, pieces, parts, settings, choice, seed=seed, base=base)
            tried.append((choice, fitted))
            progress(f"{name}: trial {len(tried)} of {trials}")
        auc = [max(fitted.auc) for _, fitted in tried]
        best, fitted = tried[int(np.argmax(auc))]
        return Chosen(best, fitted.epochs, auc, fitted)

    drawn = choices(name, trials, seed)
    if name == TREES:
        return try_all(drawn, pieces, None)
    chosen = base or try_all(drawn, Pieces(), None)
    if not pieces.has_head:
        return chosen
    return try_all(choices(name, trials, seed, of_head=True), pieces, chosen)


def _draw_model(random: np.random.Generator) -> Choice:
    decay = 10 ** random.uniform(-6, -3)
    return {
        "learning_rate": float(10 ** random.uniform(-3.3, -2.2)),
        "weight_decay": 0.0 if random.random() < 0.25 else float(decay),
        "embedding_width": int(random.choice([4, 8, 16])),
    }


def _draw_head(random: np.random.Generator) -> Choice:
    return {
        "topic_learning_rate": float(10 ** random.uniform(-3.7, -2.5)),
        "topic_weight_decay": float(10 ** random.uniform(-4, -1)),
    }


def _draw_trees(random: np.random.Generator) -> Choice:
    return {
        "learning_rate": float(10 ** random.uniform(-1.5, -0.8)),
        "num_leaves": int(random.choice([7, 15, 31, 63])),
        "min_data_in_leaf": int(random.choice([20, 50, 100, 200])),
        "lambda_l2": float(10 ** random.uniform(-2, 1)),
    }
