"""The model for serving: epochs and AUC from the log's end, then trained on all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from consumers.ranking.dataset import Dataset
from consumers.ranking.fitting import area_under_curve, fit
from consumers.ranking.splits import by_time
from consumers.ranking.vocabulary import Vocabulary
from consumers.ranking.wide_and_deep import WideAndDeep, probabilities
from consumers.training import Inputs
from vidtopics.errors import TableError, explain
from vidtopics.settings import Settings

HELD_OUT = 0.1
"""Share of the last rows that AUC is measured on before the served model learns from them."""


@dataclass(frozen=True, eq=False)
class FinalModel:
    """A model, the ids that it knows, and how it came about."""

    model: WideAndDeep
    known: Vocabulary
    facts: Mapping[str, float]


def learn(
    inputs: Inputs,
    settings: Settings,
    *,
    as_of_us: int,
    epoch: int,
    progress: Callable[[str], None],
) -> FinalModel:
    """A model of all rows whose window has closed, with topics as known.

    TableError where they are too few.
    """
    data = Dataset.of(inputs, settings, as_of_us=as_of_us, epoch=epoch)
    auc, epochs = _measured(data, settings, progress)
    known = data.vocabulary(np.arange(len(data)))
    progress("learning from all rows")
    examples = data.examples(known)
    fitted = fit(
        examples, None, settings.ranking, known, with_topics=True, seed=settings.seed, epochs=epochs
    )
    facts = {
        "rows": len(data),
        "clicked": int(data.clicked.sum()),
        "users": len(known.users),
        "videos": len(known.videos),
        "topics": len(known.topics),
        "epochs": epochs,
        "auc": auc,
    }
    return FinalModel(fitted.model, known, facts)


def _measured(
    data: Dataset, settings: Settings, progress: Callable[[str], None]
) -> tuple[float, int]:
    """AUC on the held-out end, and the epochs that were best just before it."""
    window_us = settings.ranking.label_window // timedelta(microseconds=1)
    outer = by_time(data.shown_us, share=HELD_OUT, window_us=window_us)
    inner = by_time(data.shown_us[outer.train], share=HELD_OUT, window_us=0)
    rows = {
        "learn": outer.train[inner.train],
        "choose": outer.train[inner.test],
        "measure": outer.test,
    }
    _refuse_few(data, rows)
    progress("measuring on the held-out end")
    known = data.vocabulary(rows["learn"])
    examples = data.examples(known)
    parts = {name: examples.take(numbers) for name, numbers in rows.items()}
    fitted = fit(
        parts["learn"],
        parts["choose"],
        settings.ranking,
        known,
        with_topics=True,
        seed=settings.seed,
    )
    return area_under_curve(
        parts["measure"].clicked, probabilities(fitted.model, parts["measure"])
    ), fitted.epochs


def _refuse_few(data: Dataset, rows: dict[str, NDArray[np.int64]]) -> None:
    for numbers in rows.values():
        clicked = int(data.clicked[numbers].sum())
        if not 0 < clicked < len(numbers):
            raise TableError(
                explain(
                    "impressions with a closed label window",
                    expected="some with and some without a click in each part of the time",
                    found=f"{clicked} clicked of {len(numbers)}, {len(data)} in all",
                    mend="ingest a longer log, or shorten ranking.label_window",
                )
            )
