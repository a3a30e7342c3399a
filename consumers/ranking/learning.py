"""`train ranking`: a model of all impressions whose label window has closed, for serving."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.ranking.dataset import Dataset
from consumers.ranking.fitting import area_under_curve, fit
from consumers.ranking.released import key_of, latest_release, now_us
from consumers.ranking.splits import by_time
from consumers.ranking.storing import described, store
from consumers.ranking.wide_and_deep import probabilities
from consumers.training import read
from vidtopics.errors import TableError, explain
from vidtopics.settings import Settings
from vidtopics.tables import Tables

HELD_OUT = 0.1
"""Share of the rows, the last ones, that AUC is measured on before the model for serving learns from them too."""


def train(tables: Tables, settings: Settings, progress: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Trains on all closed rows with topics as known, and stores the model in `models/ranking` of the home.

    The last tenth of the rows tells AUC, the tenth before chooses the number of epochs; a model of all rows is then trained
    for as many. Nothing is done where the model there was made from the same; the result says so (`skipped`).

    Returns:
        rows, clicked, users, videos, topics, epochs, auc (of the held-out end), seconds, release, skipped.

    Raises:
        TableError: nothing was released, or the rows are too few to learn from.
    """
    began = time.monotonic()
    release, as_of_us = latest_release(tables), now_us()
    key, folder = key_of(tables, release, settings, as_of_us), tables.home / "models" / "ranking"
    before = described(folder)
    if before and before["key"] == key and (folder / before["weights"]).is_file():
        return {**before["facts"], "skipped": True}
    progress("joining impressions to features")
    inputs = read(tables, release["versions"])
    data = Dataset.of(inputs, settings, as_of_us=as_of_us, epoch=release["topic_epoch"])
    auc, epochs = _measured(data, settings, progress)
    known = data.vocabulary(np.arange(len(data)))
    progress("learning from all rows")
    fitted = fit(
        data.examples(known), None, settings.ranking, known, with_topics=True, seed=settings.seed, epochs=epochs
    )
    facts = {
        "rows": len(data),
        "clicked": int(data.clicked.sum()),
        "users": len(known.users),
        "videos": len(known.videos),
        "topics": len(known.topics),
        "epochs": epochs,
        "auc": auc,
        "seconds": round(time.monotonic() - began, 2),
        "release": release["release_id"],
    }
    store(folder, fitted.model, known, settings.ranking, {"key": key, "facts": facts})
    return {**facts, "skipped": False}


def _measured(data: Dataset, settings: Settings, progress: Callable[[str], None]) -> tuple[float, int]:
    """AUC on the held-out end, and the epochs that were best just before it."""
    window_us = settings.ranking.label_window // timedelta(microseconds=1)
    outer = by_time(data.shown_us, share=HELD_OUT, window_us=window_us)
    inner = by_time(data.shown_us[outer.train], share=HELD_OUT, window_us=0)
    rows = {"learn": outer.train[inner.train], "choose": outer.train[inner.test], "measure": outer.test}
    _refuse_few(data, rows)
    progress("measuring on the held-out end")
    known = data.vocabulary(rows["learn"])
    examples = data.examples(known)
    parts = {name: examples.take(numbers) for name, numbers in rows.items()}
    fitted = fit(parts["learn"], parts["choose"], settings.ranking, known, with_topics=True, seed=settings.seed)
    return area_under_curve(parts["measure"].clicked, probabilities(fitted.model, parts["measure"])), fitted.epochs


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
