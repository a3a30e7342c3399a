"""The model for serving: epochs and AUC from the log's end, then trained on all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from consumers.encoding.vocabulary import Vocabulary
from consumers.ranking.evaluate import refuse_few
from consumers.ranking.metrics import area_under_curve
from consumers.ranking.models import VARIANTS, Model
from consumers.ranking.problems import Source, sizes_of
from consumers.ranking.splits import by_time
from consumers.ranking.train import train
from vidtopics.settings import Settings

HELD_OUT = 0.1
"""Share of the last rows that AUC is measured on before the served model learns from them."""


@dataclass(frozen=True, eq=False)
class Served:
    """A model, what it knows, and how it came about."""

    model: Model
    known: Vocabulary
    facts: Mapping[str, float | str]


def train_served(
    source: Source,
    settings: Settings,
    *,
    checkpoints: Path,
    variant: str = "topics",
    progress: Callable[[str], None] = lambda text: None,
) -> Served:
    """A model of all rows whose window has closed, with topics as known.

    A training that was interrupted goes on from its checkpoint. Another `variant` of
    :data:`consumers.ranking.models.VARIANTS` reads cover features instead, or too.

    Raises:
        TableError: the rows are too few.
    """
    pieces, name = VARIANTS[variant], settings.ranking.model
    window_us = settings.ranking.label_window // timedelta(microseconds=1)
    shown_us, clicked = source.frame.shown_us, source.frame.clicked
    outer = by_time(shown_us, share=HELD_OUT, window_us=window_us)
    inner = by_time(shown_us[outer.train], share=HELD_OUT, window_us=0)
    fit, choose = outer.train[inner.train], outer.train[inner.test]
    refuse_few(clicked, {"train": fit, "validation": choose, "test": outer.test})
    progress("measuring on the held-out end")
    known = source.vocabulary(fit)
    examples = source.examples(known, covers_of=fit if pieces.cover else None)
    measured = train(
        name,
        pieces,
        sizes_of(known, examples),
        examples.take(fit),
        examples.take(choose),
        settings.ranking,
        seed=settings.seed,
        checkpoint=checkpoints / "measured.checkpoint",
    )
    test = examples.take(outer.test)
    auc = area_under_curve(test.clicked, measured.predict(test))
    progress("training on all rows")
    rows = np.arange(len(clicked))
    known = source.vocabulary(rows)
    examples = source.examples(known, covers_of=rows if pieces.cover else None)
    final = train(
        name,
        pieces,
        sizes_of(known, examples),
        examples,
        None,
        settings.ranking,
        seed=settings.seed,
        epochs=measured.epochs,
        checkpoint=checkpoints / "final.checkpoint",
    )
    facts = {
        "model": name,
        "rows": len(clicked),
        "clicked": int(clicked.sum()),
        "users": len(known.users),
        "videos": len(known.videos),
        "topics": len(known.centres.ids),
        "epochs": measured.epochs[0],
        "topic_epochs": measured.epochs[1],
        "auc": auc,
    }
    return Served(final.model, known, facts)
