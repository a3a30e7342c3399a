"""Do topics help the ranking model? AUC with and without them, on two splits (paper, Table II)."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from consumers.ranking.dataset import Dataset
from consumers.ranking.fitting import area_under_curve, fit, one_thread
from consumers.ranking.splits import Split, by_time, by_user
from consumers.ranking.wide_and_deep import probabilities
from consumers.training import Inputs
from consumers.training.frame import TopicsOf
from vidtopics.settings import Settings

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1
VARIANTS: dict[str, tuple[TopicsOf, bool]] = {
    "no topics": ("as known", False),
    "topics as known": ("as known", True),
    "all tags": ("all tags", True),
}
"""Name -> which topics a row is joined to, and whether the model sees them."""
Progress = Callable[[str], None]
Rule = Callable[[NDArray[np.int64], float], Split]
"""Splits some rows; the numbers in the result are places among them."""


class SplitRows(NamedTuple):
    """Row numbers of a split.

    `fit` and `validation` make up what is known of `train` for choosing the epochs.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    fit: NDArray[np.int64]
    validation: NDArray[np.int64]


def measure(
    inputs: Inputs,
    settings: Settings,
    *,
    as_of_us: int,
    epoch: int,
    progress: Progress = lambda text: None,
) -> dict[str, Any]:
    """AUC of each variant on each split, over `evaluation.ranking_seeds` seeds.

    * `user`: each user's last fifth. Training rows may be younger than test rows, as in most of
      the literature, so only topics as static content (`all tags`) compare with it.
    * `time`: the last fifth of all impressions, learned from rows whose labels were known before.
    """
    modes = dict.fromkeys(mode for mode, _ in VARIANTS.values())
    data = {}
    for mode in modes:
        progress(f"joining impressions to features, topics {mode}")
        data[mode] = Dataset.of(inputs, settings, as_of_us=as_of_us, epoch=epoch, topics=mode)
    log = data["as known"]
    return {
        "rows": len(log),
        "clicked": int(log.clicked.sum()),
        "seeds": [settings.seed + i for i in range(settings.evaluation.ranking_seeds)],
        "splits": [
            {"split": name, **_compare(data, name, rule, settings, progress)}
            for name, rule in _rules(log, settings).items()
        ],
    }


def _rules(log: Dataset, settings: Settings) -> dict[str, Rule]:
    """How the rows of a log are split.

    The validation rows are split off the training rows by the same rule.
    """
    window_us = settings.ranking.label_window // timedelta(microseconds=1)
    return {
        "user": lambda rows, share: by_user(log.users[rows], log.shown_us[rows], share=share),
        "time": lambda rows, share: by_time(log.shown_us[rows], share=share, window_us=window_us),
    }


def _compare(
    data: dict[TopicsOf, Dataset], name: str, rule: Rule, settings: Settings, progress: Progress
) -> dict[str, Any]:
    log = data["as known"]
    outer = rule(np.arange(len(log)), TEST_SHARE)
    inner = rule(outer.train, VALIDATION_SHARE)
    rows = SplitRows(outer.train, outer.test, outer.train[inner.train], outer.train[inner.test])
    counts = {part: len(numbers) for part, numbers in rows._asdict().items()}
    if any(not 0 < log.clicked[numbers].sum() < len(numbers) for numbers in rows):
        return {**counts, "skipped": "a part without clicks, or with nothing else"}
    progress(f"{name} split")
    # Batches are too small for torch to share among cores: a variant a core takes two thirds of the
    # CPU time (docs/adr/0014).
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool, one_thread():
        tasks = {
            variant: pool.submit(_auc, data[mode], rows, settings, with_topics=with_topics)
            for variant, (mode, with_topics) in VARIANTS.items()
        }
        auc = {variant: task.result()[0] for variant, task in tasks.items()}
        epochs = {variant: task.result()[1] for variant, task in tasks.items()}
    return {
        **counts,
        "epochs": epochs,
        "auc": {variant: estimate(values) for variant, values in auc.items()},
        "difference": {
            v: estimate(values - auc["no topics"]) for v, values in auc.items() if v != "no topics"
        },
    }


def _auc(
    data: Dataset, rows: SplitRows, settings: Settings, *, with_topics: bool
) -> tuple[NDArray[np.float64], int]:
    """float64[seeds], AUC on the test rows of models of all training rows; and their epochs.

    The first seed's model of the training rows without the validation rows chooses the epochs.
    """
    learn = partial(fit, settings=settings.ranking, with_topics=with_topics)
    known = data.vocabulary(rows.fit)
    examples = data.examples(known)
    chosen = learn(
        examples.take(rows.fit), examples.take(rows.validation), known=known, seed=settings.seed
    )
    known = data.vocabulary(rows.train)
    examples = data.examples(known)
    train, test = examples.take(rows.train), examples.take(rows.test)
    aucs = []
    for i in range(settings.evaluation.ranking_seeds):
        model = learn(train, None, known=known, seed=settings.seed + i, epochs=chosen.epochs).model
        aucs.append(area_under_curve(test.clicked, probabilities(model, test)))
    return np.array(aucs), chosen.epochs


def estimate(values: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean of seeds and its 95% interval (Student's t); one seed has none.

    >>> interval = estimate(np.array([0.5, 0.6, 0.7]))  # 0.1 / sqrt(3) * 4.303
    >>> {name: round(value, 3) for name, value in interval.items()}
    {'mean': 0.6, 'low': 0.352, 'high': 0.848}
    """
    mean = float(values.mean())
    if len(values) == 1:
        return {"mean": mean, "low": None, "high": None}
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half}
