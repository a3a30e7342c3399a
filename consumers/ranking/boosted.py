"""Gradient-boosted trees (LightGBM) on the numbers alone: the strong plain baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from consumers.ranking.metrics import area_under_curve
from consumers.ranking.models import Pieces
from consumers.ranking.models.model import TIERS

if TYPE_CHECKING:
    from consumers.ranking.examples import Examples

ROUNDS, PATIENCE = 400, 30
"""Trees at most, and trees without a better AUC on the validation rows after which it ends."""


@dataclass(frozen=True, eq=False)
class Boosted:
    """Trees, how many of them (`epochs`, one number), and the best validation AUC."""

    trees: lightgbm.Booster
    pieces: Pieces
    epochs: tuple[int, ...]
    auc: list[float]

    def predict(self, examples: Examples) -> NDArray[np.float32]:
        """float32[N], click probabilities."""
        scores = np.asarray(self.trees.predict(columns(examples, self.pieces)))
        return scores.astype(np.float32)


def train_trees(
    pieces: Pieces,
    examples: Examples,
    validation: Examples | None,
    parameters: dict[str, Any],
    *,
    seed: int,
    epochs: tuple[int, ...] | None = None,
) -> Boosted:
    """Trees on `examples`; their number is best on `validation`, or that in `epochs`."""
    fixed = {"objective": "binary", "metric": "auc", "verbosity": -1, "num_threads": 1}
    fixed |= {"seed": seed, "deterministic": True, "feature_fraction": 0.8, "bagging_freq": 1}
    data = lightgbm.Dataset(columns(examples, pieces), examples.clicked)
    held_out = (
        []
        if validation is None
        else [lightgbm.Dataset(columns(validation, pieces), validation.clicked, reference=data)]
    )
    stop: list[Any] = [lightgbm.early_stopping(PATIENCE, verbose=False)] if held_out else []
    trees = lightgbm.train(
        {"bagging_fraction": 0.8, **fixed, **parameters},
        data,
        epochs[0] if epochs else ROUNDS,
        valid_sets=held_out,
        callbacks=stop,
    )
    count = trees.best_iteration if held_out else trees.current_iteration()
    fitted = Boosted(trees, pieces, (int(count),), [])
    if validation is not None:
        fitted.auc.append(area_under_curve(validation.clicked, fitted.predict(validation)))
    return fitted


def columns(examples: Examples, pieces: Pieces) -> NDArray[np.float32]:
    """float32[N, columns]: the numbers that the pieces let in; trees read no ids."""
    parts = [examples.numbers]
    chosen = [
        i
        for i, name in enumerate(examples.topic_names)
        if (pieces.tiers if TIERS in name else pieces.match)
    ]
    if chosen:
        parts.append(examples.topic_numbers[:, chosen])
    if pieces.cover:
        parts.append(examples.covers[examples.cover_row])
    return np.concatenate(parts, axis=1)
