"""Table I, Fig. 3 and linear probes of representations trained anew, as of the last release."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from producers.unit_length import to_unit_length
from vidtopics.errors import TableError, explain
from vidtopics.files import write_cache
from vidtopics.jobs.job import Run
from vidtopics.settings import Settings, digest
from vidtopics.source import source_hash
from vidtopics.tables import Tables
from vidtopics.times import moment

FIGURE_3 = ("image", "joint", "joint + tag")
FIGURE_3_CLUSTERINGS = 10
LEAST_VIDEOS = 20
Vectors = NDArray[np.float32]

if TYPE_CHECKING:
    from producers.topics.evaluation import Level
    from vidtopics.evaluate.retraining import Catalogue


def evaluate(
    tables: Tables, settings: Settings, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """The report as plain values, kept in the home's `reports/` until something changes.

    Representations are those of videos that never trained (`content.holdout_share`), as of the last
    release, by `evaluation.trainings` models trained from other seeds on the other videos.
    """
    release = tables.latest_release()
    code = source_hash(
        "vidtopics.evaluate",
        "vidtopics.jobs.inputs",
        "vidtopics.jobs.encodings",
        "producers.content",
        "producers.tags",
        "producers.topics",
        "producers.unit_length",
    )
    key = digest(
        release["versions"],
        settings.evaluation,
        settings.content,
        settings.tags,
        settings.topics,
        settings.seed,
        code,
    )
    file = tables.home / "reports" / "representations.json"
    if file.is_file():
        report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if report["key"] == key:
            return report
    run = released_run(tables, settings)
    report = {
        "key": key,
        "release": release["release_id"],
        "as_of": moment(run.as_of_us),
        **_measure(run, progress),
    }
    write_cache(file, json.dumps(report, indent=1))
    return report


def released_run(tables: Tables, settings: Settings) -> Run:
    """A run as of the last release, with all that is known by now of that time."""
    return Run(tables, settings, tables.latest_release()["as_of_us"], live=True)


def _measure(run: Run, progress: Callable[[str], None]) -> dict[str, Any]:
    from producers.topics.evaluation import representation_scores
    from vidtopics.evaluate.retraining import read_catalogue

    settings = run.settings.evaluation
    catalogue = read_catalogue(run)
    chosen = with_model_weights(run)
    trainings = [
        features_of(catalogue, chosen, run.settings.seed + r, partial(_say, progress, r))
        for r in range(settings.trainings)
    ]
    classes = catalogue.classes()
    rows = judged_videos(catalogue.held_out, classes)
    held_out = [{name: x[rows] for name, x in features.items()} for features in trainings]
    truth, left_out = comparable_levels({level: of[rows] for level, of in classes.items()})
    class_counts = {level: len(np.unique(classes[level][classes[level] >= 0])) for level in truth}
    clusters = max(2, len(rows) // 10)
    usable, reasons = clusterable_features(held_out[0], max(clusters, *class_counts.values()))
    held_out = [{name: features[name] for name in usable} for features in held_out]
    progress("Table I")
    scores = representation_scores(
        held_out,
        truth,
        clusters=class_counts,
        clusterings=settings.clusterings,
        seed=run.settings.seed,
    )
    figure3, more_reasons = distances(held_out[0], clusters, run.settings)
    return {
        "videos": len(rows),
        "classes": class_counts,
        "trainings": settings.trainings,
        "clusterings": settings.clusterings,
        "seed": run.settings.seed,
        "table1": [
            {"level": level, "metric": metric, "features": name, **estimate._asdict()}
            for (name, level, metric), estimate in scores.scores.items()
        ],
        "differences": [
            {"level": level, "metric": metric, "from": a, "to": b, **estimate._asdict()}
            for (a, b, level, metric), estimate in scores.differences.items()
        ],
        "figure3": figure3,
        "separation": separation(held_out[0], truth),
        "probes": probes(trainings[0], classes, catalogue.held_out, rows),
        "topics": run.tables.latest_release()["quality"],
        "left_out": left_out + reasons + more_reasons,
    }


def with_model_weights(run: Run) -> Settings:
    """The run's settings with the block weights of the topic model version in force."""
    version = run.model_version
    numbers = version.numbers if version else {"tag_weight": 1.0, "joint_weight": 1.0}
    weights = {name: numbers[name] for name in ("tag_weight", "joint_weight")}
    topics = run.settings.topics.model_copy(update=weights)
    return run.settings.model_copy(update={"topics": topics})


def _say(progress: Callable[[str], None], training: int, step: str) -> None:
    progress(f"training {training + 1}, {step}")


def features_of(
    catalogue: Catalogue, settings: Settings, seed: int, progress: Callable[[str], None]
) -> dict[str, Vectors]:
    """All videos' representations by one training, float32[N, D] of length 1 or zero by name."""
    from producers.topics.space import TopicSpace, mean_tag_block
    from vidtopics.evaluate.retraining import train_blocks

    progress("projections, MMoE and tags")
    blocks = train_blocks(catalogue, settings, seed)
    learned, topics = ~catalogue.held_out, settings.topics
    mean = np.zeros(blocks.tag.shape[1], np.float32)
    if topics.centre_tags:
        mean = mean_tag_block(blocks.tag[learned], blocks.has_tag[learned])
    assert topics.tag_weight is not None  # a version has chosen it
    space = TopicSpace(mean, topics.tag_weight, topics.joint_weight)
    image, title, _, _ = catalogue.encodings
    return {
        "image": to_unit_length(image).astype(np.float32),
        "title": to_unit_length(title).astype(np.float32),
        "joint": blocks.joint,
        "joint + tag": space.represent(blocks.tag, blocks.joint, blocks.has_tag, blocks.has_joint),
    }


def judged_videos(
    held_out: NDArray[np.bool_], classes: Mapping[Level, NDArray[np.int64]]
) -> NDArray[np.int64]:
    """The held-out videos that have classes of all levels, int64.

    Raises:
        TableError: there are fewer than 20.
    """
    rows = np.flatnonzero(held_out & np.all([of >= 0 for of in classes.values()], axis=0))
    if len(rows) < LEAST_VIDEOS:
        raise TableError(
            explain(
                "held-out videos",
                expected=f"at least {LEAST_VIDEOS} with classes",
                found=str(len(rows)),
                mend="raise content.holdout_share or add videos",
            )
        )
    return rows


def distances(
    features: Mapping[str, Vectors], clusters: int, settings: Settings
) -> tuple[dict[str, Any], list[str]]:
    """Fig. 3 as the paper has it and at matched dimensions, and what was left out and why."""
    from producers.topics.evaluation import distance_ratios
    from producers.topics.separation import intrinsic_dimension, matched_dimensions

    chosen = {name: features[name] for name in FIGURE_3 if name in features}
    dimensions, matched = matched_dimensions(chosen)
    seeds = {"clusterings": FIGURE_3_CLUSTERINGS, "seed": settings.seed}
    ratios, matched_ratios, reasons = {}, {}, []
    for name, x in chosen.items():
        try:
            ratios[name] = distance_ratios(x, clusters, **seeds).tolist()
            matched_ratios[name] = distance_ratios(matched[name], clusters, **seeds).tolist()
        except TableError as error:
            reasons.append(f"{name}: {error}")
    figure = {
        "clusters": clusters,
        "ratios": ratios,
        "intrinsic_dimensions": {name: intrinsic_dimension(x) for name, x in chosen.items()},
        "matched_dimensions": dimensions,
        "matched_ratios": matched_ratios,
    }
    return figure, reasons


def separation(
    features: Mapping[str, Vectors], classes: Mapping[Level, NDArray[np.int64]]
) -> list[dict[str, Any]]:
    """Silhouette, Davies-Bouldin and neighbours of the same class, by features and level."""
    from producers.topics.separation import class_separation

    return [
        {"features": name, "level": level, **class_separation(x, truth)}
        for level, truth in classes.items()
        for name, x in features.items()
    ]


def probes(
    features: Mapping[str, Vectors],
    classes: Mapping[Level, NDArray[np.int64]],
    held_out: NDArray[np.bool_],
    judged: NDArray[np.int64],
) -> dict[str, float]:
    """Accuracy of linear probes of the primary class, learned on videos that train."""
    from producers.topics.separation import probe_accuracy

    truth = classes["primary"]
    train = ~held_out & (truth >= 0)
    rows = np.concatenate([np.flatnonzero(train), judged])
    if len(np.unique(truth[train])) < 2:
        return {}
    learn = np.arange(len(rows)) < train.sum()
    with_pair = {"title + image": np.concatenate([features["title"], features["image"]], axis=1)}
    return {
        name: probe_accuracy(x[rows], truth[rows], learn)
        for name, x in ({**features, **with_pair}).items()
    }


def comparable_levels(
    classes: Mapping[Level, NDArray[np.int64]],
) -> tuple[dict[Level, NDArray[np.int64]], list[str]]:
    """The levels on which the videos have two classes or more, and why others are left out.

    Raises:
        TableError: there is no such level.
    """
    counts = {level: len(np.unique(of_videos)) for level, of_videos in classes.items()}
    comparable = {level: classes[level] for level, count in counts.items() if count >= 2}
    if not comparable:
        raise TableError(
            explain(
                "held-out videos",
                expected="at least 2 classes of one level",
                found=", ".join(f"{count} {level}" for level, count in counts.items()),
                mend="add videos of other classes, or raise content.holdout_share",
            )
        )
    reasons = [f"{level}: all videos are of one class" for level in counts.keys() - comparable]
    return comparable, reasons


def clusterable_features(
    features: Mapping[str, Vectors], clusters: int
) -> tuple[dict[str, Vectors], list[str]]:
    """The features of which at least `clusters` videos have a vector, and why others are left out.

    Raises:
        TableError: there is no such feature.
    """
    counts = {name: int(rows.any(axis=1).sum()) for name, rows in features.items()}
    chosen = {name: features[name] for name, count in counts.items() if count >= clusters}
    reasons = [
        f"{name}: {count} held-out videos have a vector, {clusters} clusters need as many"
        for name, count in counts.items()
        if name not in chosen
    ]
    if not chosen:
        raise TableError(
            explain(
                "held-out videos",
                expected=f"{clusters} or more with a vector",
                found="; ".join(f"{count} of {name}" for name, count in counts.items()),
                mend="raise content.holdout_share or add videos with covers, titles and tags",
            )
        )
    return chosen, reasons
