"""Fig. 5: predict a day, then learn from it; day after day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.ranking.bootstrap import bootstrap
from consumers.ranking.evaluate import VALIDATION_SHARE, refuse_few
from consumers.ranking.metrics import Groups
from consumers.ranking.models import VARIANTS
from consumers.ranking.problems import Source
from consumers.ranking.search import Chosen, Fitted, Parts, search, train_model
from consumers.ranking.splits import by_time
from consumers.ranking.train import one_thread
from vidtopics.settings import Settings
from vidtopics.times import moment

COMPARED = ("none", "cover", "topics")
DAY_US = 86_400_000_000
SHARE = 0.2
"""The part of the log, at its end, that the days of a log of years are cut from."""
LEAST_DAY = 0.1
"""A day has at least this part of the median day's rows."""


def measure_days(
    source: Source,
    settings: Settings,
    *,
    count: int,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Fig. 5 of `ranking.model`: baseline, cover features and topics, day by day.

    Settings are searched once, on the rows before the first day. On each day models of all rows
    whose labels were known before it predict; then its rows are learned from as well.

    Raises:
        TableError: a day, or what lies before the first, lacks clicks or rows without one.
    """
    frame, model = source.frame, settings.ranking.model
    window_us = settings.ranking.label_window // timedelta(microseconds=1)
    days = []
    for before, within in periods(frame.shown_us, count=count, share=SHARE):
        known = frame.shown_us[before] + window_us <= frame.shown_us[within].min()
        days.append((before[known], within))
    refuse_few(frame.clicked, {f"day {i}": within for i, (_, within) in enumerate(days, 1)})
    first = days[0][0]
    split = by_time(frame.shown_us[first], share=VALIDATION_SHARE, window_us=window_us)
    refuse_few(frame.clicked, {"fit": first[split.train], "validation": first[split.test]})
    seeds = [settings.seed + i for i in range(settings.evaluation.ranking_seeds)]
    with one_thread():
        parts = source.parts(first[split.train], first[split.test])
        chosen: dict[str, Chosen] = {}
        for variant in COMPARED:  # the first has no topics: the others add heads to it
            chosen[variant] = search(
                model,
                VARIANTS[variant],
                parts,
                settings.ranking,
                trials=settings.evaluation.ranking_trials,
                seed=settings.seed,
                progress=progress,
                base=chosen.get("none"),
            )
        rows = []
        for number, (before, within) in enumerate(days, 1):
            progress(f"day {number} of {len(days)}")
            day = source.parts(before, within)
            figures = _day(day, source.users[within], settings, chosen, seeds)
            rows.append({"day": number, **figures})
    unit = "day" if by_calendar(frame.shown_us, count=count, share=SHARE) else "part"
    return {"model": model, "seeds": seeds, "unit": unit, "days": rows}


def periods(
    shown_us: NDArray[np.int64], *, count: int, share: float
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(rows before, rows within) of the last periods, ascending.

    They are calendar days (UTC) where the log has more than `count` of them in its last `share`,
    or, in a log of years, equally many rows each: its last `share` in `count` parts.

    >>> days = np.array([0, 1, 1, 2, 3]) * 86_400_000_000
    >>> [(a.tolist(), b.tolist()) for a, b in periods(days, count=2, share=0.5)]
    [([0, 1, 2], [3]), ([0, 1, 2, 3], [4])]
    """
    day = _days(shown_us)
    if by_calendar(shown_us, count=count, share=share):
        days = np.unique(day)
        return [(np.flatnonzero(day < d), np.flatnonzero(day == d)) for d in days[-count:]]
    order = np.argsort(shown_us, kind="stable")
    tail = order[int(len(order) * (1 - share)) :]
    bounds = [shown_us[part[0]] for part in np.array_split(tail, count) if len(part)]
    ends = [*bounds[1:], np.iinfo(np.int64).max]
    return [
        (
            np.flatnonzero(shown_us < first),
            np.flatnonzero((shown_us >= first) & (shown_us < end)),
        )
        for first, end in zip(bounds, ends, strict=True)
    ]


def by_calendar(shown_us: NDArray[np.int64], *, count: int, share: float) -> bool:
    """Whether :func:`periods` are calendar days.

    >>> by_calendar(np.arange(6) * DAY_US, count=2, share=0.5)
    True
    >>> by_calendar(np.arange(999) * DAY_US, count=2, share=0.5)
    False
    """
    return count < len(np.unique(_days(shown_us))) <= count / share * 2


def _days(shown_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[N]: the day of each row, since 1970.

    A day with less than a tenth of the median day's rows is part of the one before: at a log's end
    sessions go on past midnight.

    >>> _days(np.repeat(np.arange(4), [30, 20, 25, 1]) * DAY_US)[-2:].tolist()
    [2, 2]
    """
    days, place, rows = np.unique(shown_us // DAY_US, return_inverse=True, return_counts=True)
    is_whole = rows >= LEAST_DAY * np.median(rows)
    owner = np.maximum.accumulate(np.where(is_whole, np.arange(len(days)), 0))
    of_row: NDArray[np.int64] = days[owner][place]
    return of_row


def _day(
    parts: Parts,
    users: NDArray[np.int64],
    settings: Settings,
    chosen: dict[str, Chosen],
    seeds: Sequence[int],
) -> dict[str, Any]:
    """AUC of one day by models of all rows before it."""
    models: dict[str, list[Fitted]] = {}
    for variant, best in chosen.items():
        models[variant] = [
            train_model(
                settings.ranking.model,
                VARIANTS[variant],
                parts,
                settings.ranking,
                best.choice,
                seed=seed,
                epochs=best.epochs,
                base=models["none"][place] if "none" in models else None,
            )
            for place, seed in enumerate(seeds)
        ]
    scores = {
        variant: np.stack([model.predict(parts.judge) for model in fitted])
        for variant, fitted in models.items()
    }
    draws = bootstrap(Groups.of(users, parts.judge.clicked), scores, seed=settings.seed)
    return {
        "begins": moment(int(parts.judge.shown_us.min())),
        "rows": len(parts.judge),
        "train": len(parts.train),
        "auc": {variant: draws.interval("auc", variant) for variant in COMPARED},
        "gain": {
            variant: draws.interval("auc", variant, less="none")
            for variant in COMPARED
            if variant != "none"
        },
    }
