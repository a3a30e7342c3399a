"""The report of `evaluate ranking`: Table II by time and by user, slices, pieces, the control."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import torch
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
from consumers.ranking.search import LEARNERS, Chosen
from consumers.ranking.splits import by_time, by_user
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
        seeds: models a cell.
        by_user: whether the second split is measured, too.
        extras: whether pieces are left out one by one.
    """

    models: tuple[str, ...]
    seeds: int
    by_user: bool
    extras: bool

    @classmethod
    def of(cls, settings: Settings, *, quick: bool) -> Scope:
        """All of it, or what `--quick` states: Wide&Deep and trees, two seeds, by time alone."""
        if quick:
            return cls(("wide_and_deep", "lightgbm"), 2, by_user=False, extras=False)
        return cls(LEARNERS, settings.evaluation.ranking_seeds, by_user=True, extras=True)


def measure(
    source: Source,
    settings: Settings,
    *,
    quick: bool = False,
    progress: Progress = lambda text: None,
) -> dict[str, Any]:
    """Table II and what stands beside it.

    * `time`: the last fifth of all impressions, learned from rows whose labels were known before,
      with topics as known at each impression. The first figure: it is what serving will see.
    * `user`: each user's last fifth, with the topics of the last release as static content, as in
      most of the literature: training rows may be younger than test rows. Searched by no one:
      it takes what the split by time chose.

    Raises:
        TableError: a part of a split has no clicks, or nothing else, or no rows.
    """
    scope = Scope.of(settings, quick=quick)
    seeds = [settings.seed + i for i in range(scope.seeds)]
    with one_thread():
        by_time_report, cells = _by_time(source, settings, scope, seeds, progress)
        splits = [by_time_report]
        if scope.by_user:
            splits.append(_by_user(source, settings, seeds, cells, progress))
    return {
        "rows": by_time_report["rows"],
        "clicked": by_time_report["clicked"],
        "seeds": seeds,
        "trials": settings.evaluation.ranking_trials,
        "draws": DRAWS,
        "quick": quick,
        "splits": splits,
    }


def _by_time(
    source: Source, settings: Settings, scope: Scope, seeds: Sequence[int], progress: Progress
) -> tuple[dict[str, Any], Cells]:
    progress("joining impressions to what was known")
    problem, counts = _problem(source, settings, "time")
    tasks = {(m, v): (m, VARIANTS[v], None) for m in scope.models for v in VARIANTS}
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
        "permuted": _permuted(source, settings, problem, cells, seeds, progress),
        "ablation": _ablation(problem, cells, seeds, progress) if scope.extras else None,
    }
    return report, cells


def _by_user(
    source: Source, settings: Settings, seeds: Sequence[int], cells: Cells, progress: Progress
) -> dict[str, Any]:
    progress("the split by user")
    problem, counts = _problem(source.with_topics("all tags"), settings, "user")
    tasks = {
        (m, v): (m, VARIANTS[v], cells[m, v].chosen)
        for m in CONTROLLED
        for v in VARIANTS
        if (m, v) in cells
    }
    filled = fill_cells(problem, tasks, seeds, progress)
    return {
        "split": "user",
        "topics": "all tags",
        **counts,
        "table": table_rows(problem, filled, settings.seed),
    }


def _permuted(
    source: Source,
    settings: Settings,
    problem: Problem,
    cells: Cells,
    seeds: Sequence[int],
    progress: Progress,
) -> list[dict[str, Any]]:
    """The gain of topics that are other videos': what is left is noise, or a leak."""
    rows = []
    for number in range(PERMUTATIONS):
        progress(f"permuted topics {number + 1} of {PERMUTATIONS}")
        other, _ = _problem(permute_topics(source, settings.seed + number), settings, "time")
        tasks = {
            (m, "permuted"): (m, VARIANTS["topics"], cells[m, "topics"].chosen)
            for m in CONTROLLED
            if (m, "topics") in cells
        }
        for (model, _), cell in fill_cells(other, tasks, seeds, progress).items():
            scores = {BASE: cells[model, BASE].scores, "permuted": cell.scores}
            draws = bootstrap(problem.groups, scores, seed=settings.seed)
            rows.append(
                {
                    "model": model,
                    "permutation": number + 1,
                    "gain": gains(draws, "permuted", BASE),
                }
            )
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
    filled = {name: cell for (name, _), cell in fill_cells(problem, tasks, seeds, progress).items()}
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
    seeds: Iterable[int],
    progress: Progress,
) -> dict[tuple[str, str], Cell]:
    """Cells side by side, a core each (docs/adr/0014); `one_thread` has to hold."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        futures = {
            key: pool.submit(fill_cell, problem, model, pieces, seeds=list(seeds), chosen=chosen)
            for key, (model, pieces, chosen) in tasks.items()
        }
        cells = {}
        for number, (key, future) in enumerate(futures.items(), 1):
            cells[key] = future.result()
            progress(f"{number} of {len(tasks)} cells: {', '.join(key)}")
    return cells


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes each operation on one thread, so that models can train side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
