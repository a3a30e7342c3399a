"""The report of `evaluate ranking`: Table II by time and by user, slices, pieces, the control."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.ranking.bootstrap import DRAWS, bootstrap
from consumers.ranking.comparison import (
    BASE,
    Cell,
    Problem,
    ablations,
    fill_cell,
    gains,
    slice_rows,
    table_rows,
)
from consumers.ranking.models import VARIANTS, Pieces
from consumers.ranking.problems import Source, split_rows
from consumers.ranking.search import LEARNERS, TREES, Chosen
from consumers.ranking.splits import by_time, by_user
from consumers.ranking.train import one_thread
from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.errors import TableError, explain
from vidtopics.settings import Settings

Progress = Callable[[str], None]
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1
PERMUTATIONS = 2
CONTROLLED = ("wide_and_deep", "dcn")
"""Models that the split by user and the permuted topics are shown for."""
Cells = Mapping[tuple[str, str], Cell]


@dataclass(frozen=True)
class Scope:
    """How much is trained.

    Attributes:
        models: rows of the table.
        variants: its columns.
        seeds: models a cell.
        trials: of each search; 1: the settings as they are.
        permutations: of topics, for the control.
        is_whole: whether the split by user is measured, too, and pieces are left out one by one.
    """

    models: tuple[str, ...]
    variants: tuple[str, ...]
    seeds: int
    trials: int
    permutations: int
    is_whole: bool

    @classmethod
    def of(cls, settings: Settings, *, quick: bool) -> Scope:
        """All of it, or what `--quick` states: what topics are worth at a glance."""
        if quick:
            models = ("wide_and_deep", "lightgbm")
            return cls(models, (BASE, "topics"), 2, 1, 1, is_whole=False)
        chosen = settings.evaluation
        counts = chosen.ranking_seeds, chosen.ranking_trials, PERMUTATIONS
        return cls(LEARNERS, tuple(VARIANTS), *counts, is_whole=True)


def measure(
    source: Source,
    settings: Settings,
    *,
    served: Source | None = None,
    quick: bool = False,
    progress: Progress = lambda text: None,
) -> dict[str, Any]:
    """Table II and what stands beside it.

    * `time`: the last fifth of all impressions, learned from rows whose labels were known before,
      with topics as known at each impression. The first figure: it is what serving will see.
    * `user`: each user's last fifth, with the topics of the last release as static content, as in
      most of the literature: training rows may be younger than test rows. Searched by no one:
      it takes what the split by time chose.

    `served`: the same rows with what a live release had at each impression; where it is given, the
    models that need the control are measured on it by time, too, with what was chosen as known.

    Raises:
        TableError: a part of a split has no clicks, or nothing else, or no rows.
    """
    scope = Scope.of(settings, quick=quick)
    tried = settings.evaluation.model_copy(update={"ranking_trials": scope.trials})
    settings = settings.model_copy(update={"evaluation": tried})
    seeds = [settings.seed + i for i in range(scope.seeds)]
    with one_thread():
        by_time_report, cells = _by_time(source, settings, scope, seeds, progress)
        splits = [by_time_report]
        if scope.is_whole:
            splits.append(_by_user(source, settings, seeds, cells, progress))
            if served is not None:
                progress("by time, as served")
                splits.append(_again(served, settings, seeds, cells, "time", "as served"))
    return {
        "rows": by_time_report["rows"],
        "clicked": by_time_report["clicked"],
        "seeds": seeds,
        "trials": scope.trials,
        "draws": DRAWS,
        "quick": quick,
        "splits": splits,
    }


def _by_time(
    source: Source, settings: Settings, scope: Scope, seeds: Sequence[int], progress: Progress
) -> tuple[dict[str, Any], Cells]:
    progress("joining impressions to what was known")
    problem, counts = _problem(source, settings, "time")
    tasks = {(m, v): (m, VARIANTS[v], None) for m in scope.models for v in scope.variants}
    cells = fill_cells(problem, tasks, seeds, progress)
    model = "wide_and_deep"
    report = {
        "split": "time",
        "topics": "as known",
        **counts,
        "table": table_rows(problem, cells, settings.seed),
        "slices": {
            "model": model,
            "rows": slice_rows(problem, cells[model, "topics"], cells[model, BASE], settings.seed),
        },
        "permuted": [
            row
            for number in range(1, scope.permutations + 1)
            for row in _permuted(source, settings, problem, cells, seeds, number, progress)
        ],
        "ablation": _ablation(problem, cells, seeds, progress) if scope.is_whole else None,
    }
    return report, cells


def _by_user(
    source: Source, settings: Settings, seeds: Sequence[int], cells: Cells, progress: Progress
) -> dict[str, Any]:
    progress("the split by user")
    return _again(source.with_topics("all tags"), settings, seeds, cells, "user", "all tags")


def _again(
    source: Source, settings: Settings, seeds: Sequence[int], cells: Cells, split: str, topics: str
) -> dict[str, Any]:
    """Some models on other rows or features, with what the split by time chose."""
    problem, counts = _problem(source, settings, split)
    tasks = {
        key: (key[0], VARIANTS[key[1]], cell.chosen)
        for key, cell in cells.items()
        if key[0] in CONTROLLED
    }
    filled = fill_cells(problem, tasks, seeds, lambda text: None)
    table = table_rows(problem, filled, settings.seed)
    return {"split": split, "topics": topics, **counts, "table": table}


def _permuted(
    source: Source,
    settings: Settings,
    problem: Problem,
    cells: Cells,
    seeds: Sequence[int],
    number: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """The gain of topics that are other videos': what is left is noise, or a leak."""
    progress(f"permuted topics, permutation {number}")
    other, _ = _problem(permute_topics(source, settings.seed + number), settings, "time")
    tasks = {
        (m, "permuted"): (m, VARIANTS["topics"], None)  # a search of its own, as true topics have
        for m in CONTROLLED
        if (m, "topics") in cells
    }
    rows = []
    for (model, _), cell in fill_cells(other, tasks, seeds, progress, cells).items():
        scores = {BASE: cells[model, BASE].scores, "permuted": cell.scores}
        gain = gains(bootstrap(problem.groups, scores, seed=settings.seed), "permuted", BASE)
        rows.append({"model": model, "permutation": number, "gain": gain})
    return rows


def _ablation(
    problem: Problem, cells: Cells, seeds: Sequence[int], progress: Progress
) -> list[dict[str, Any]]:
    """What each piece adds alone and takes away when left out, with what `topics` chose."""
    tasks = {
        (name, "pieces"): (model, pieces, cells[model, "topics"].chosen)
        for name, (model, pieces) in ablations().items()
        if not name.endswith((", all", ", none"))
    }
    ablated = fill_cells(problem, tasks, seeds, progress, cells)
    filled = {name: cell for (name, _), cell in ablated.items()}
    for model in {model for model, _ in ablations().values()}:
        filled[f"{model}, all"] = cells[model, "topics"]
        filled[f"{model}, none"] = cells[model, BASE]
    draws = bootstrap(
        problem.groups,
        {name: cell.scores for name, cell in filled.items()},
        seed=problem.settings.seed,
    )
    return [
        {
            "row": name,
            "auc": draws.interval("auc", name),
            "gain": draws.interval("auc", name, less=f"{model}, none"),
            "lost": draws.interval("auc", name, less=f"{model}, all"),
        }
        for name, (model, _) in ablations().items()
    ]


def fill_cells(
    problem: Problem,
    tasks: Mapping[tuple[str, str], tuple[str, Pieces, Chosen | None]],
    seeds: Sequence[int],
    progress: Progress,
    bases: Cells = MappingProxyType({}),
) -> dict[tuple[str, str], Cell]:
    """Cells side by side, a core each (docs/adr/0014); `one_thread` has to hold.

    The models without topics come first, as the others add heads to them; `bases` has them where
    they are no task.
    """
    cells: dict[tuple[str, str], Cell] = {}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for is_head in (False, True):
            futures = {}
            for key, (model, pieces, chosen) in tasks.items():
                if is_head == (pieces.has_head and model != TREES):
                    base = {**bases, **cells}[model, BASE] if is_head else None
                    futures[key] = pool.submit(
                        fill_cell, problem, model, pieces, seeds=seeds, chosen=chosen, base=base
                    )
            for key, future in futures.items():
                cells[key] = future.result()
                progress(f"{len(cells)} of {len(tasks)} cells: {', '.join(key)}")
    return {key: cells[key] for key in tasks}


def permute_topics(source: Source, seed: int) -> Source:
    """Every video with the topics of another one, the same one at any time."""
    rows = source.inputs.views[VIDEO_TOPICS.name]
    keys = rows.keys["video_id"].combine_chunks().dictionary_encode()
    random = np.random.default_rng(seed)
    other = keys.dictionary.take(pa.array(random.permutation(len(keys.dictionary))))
    permuted = replace(rows, keys=pa.table({"video_id": other.take(keys.indices)}))
    views = {**source.inputs.views, VIDEO_TOPICS.name: permuted}
    return source.with_inputs(replace(source.inputs, views=views))


def _problem(source: Source, settings: Settings, split: str) -> tuple[Problem, dict[str, int]]:
    frame = source.frame
    window_us = settings.ranking.label_window // timedelta(microseconds=1)
    users, times = source.users, frame.shown_us

    def rule(rows: NDArray[np.int64], share: float) -> Any:
        if split == "user":
            return by_user(users[rows], times[rows], share=share)
        return by_time(times[rows], share=share, window_us=window_us)

    rows = split_rows(rule, len(frame), test=TEST_SHARE, validation=VALIDATION_SHARE)
    refuse_few(frame.clicked, rows._asdict())
    counts = {part: len(numbers) for part, numbers in rows._asdict().items()}
    facts = {"rows": len(frame), "clicked": int(frame.clicked.sum()), **counts}
    problem = Problem(
        source.parts(rows.fit, rows.validation),
        source.parts(rows.train, rows.test),
        settings,
        users[rows.test],
    )
    return problem, facts


def refuse_few(clicked: NDArray[np.bool_], parts: Mapping[str, NDArray[np.int64]]) -> None:
    """TableError where a part lacks rows with a click, or without one."""
    for name, rows in parts.items():
        clicks = int(clicked[rows].sum())
        if not 0 < clicks < len(rows):
            raise TableError(
                explain(
                    f"impressions with a closed label window, {name}",
                    expected="some with and some without a click in each part",
                    found=f"{clicks} clicked of {len(rows)}; {len(clicked)} rows in all",
                    mend="ingest a longer log, or shorten ranking.label_window",
                )
            )
