"""What centred tags, calibrated weights and thresholds and K by size change, on three catalogues.

`python -m benchmarks.topics HOME [HOME ...]`.

Each HOME has encoded content (`vidtopics run video_content_encoding`). The last one is measured a
second time with tags that are mere attributes: a colour, a style and a department of each video, of
which only the department has to do with its class. "Before" is equal weights of uncentred blocks,
tags of held-out videos in the graph, one threshold of .6, the K that the preset had; both sides
cluster the same joint representations. docs/adr/0031 has what came out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from producers.topics.assignment import Assignment, assign
from producers.topics.calibration import Calibration, calibrate_space
from producers.topics.clustering import best_clustering, clusters_for
from producers.topics.evaluation import Level, representation_scores
from producers.topics.kmeans import spherical_kmeans
from producers.topics.space import TopicSpace, mean_tag_block
from producers.topics.thresholds import Thresholds, calibrate_thresholds
from producers.unit_length import to_unit_length
from vidtopics.cli import homes
from vidtopics.evaluate.representations import judged_videos
from vidtopics.evaluate.retraining import (
    Catalogue,
    TrainedBlocks,
    read_catalogue,
    train_blocks,
    train_tags,
    training_folds,
)
from vidtopics.jobs.job import Run
from vidtopics.settings import Settings
from vidtopics.tables import Tables

TARGET, THRESHOLD = 4.0, 0.6
COLOURS, STYLES, DEPARTMENTS = 12, 15, 10
DEPARTMENT_OF_CLASS = 0.6
"""Share of videos whose department follows the class."""
RESTARTS, ITERATIONS = 3, 25
FACTORS = (0.25, 0.5, 1.0, 2.0)
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class TopicFigures:
    """Topics a video, and the shares of videos with and without tags that have no centre near."""

    clusters: int
    thresholds: Thresholds
    topics_per_video: float
    unmatched_tagged: float
    unmatched_untagged: float


def with_attributes(catalogue: Catalogue, seed: int) -> Catalogue:
    """The catalogue with tags that tell colour, style and department of each video."""
    rng = np.random.default_rng(seed)
    videos = len(catalogue.tags)
    follows = rng.random(videos) < DEPARTMENT_OF_CLASS
    by_class = catalogue.classes()["primary"] % DEPARTMENTS
    department = np.where(follows, by_class, rng.integers(0, DEPARTMENTS, videos))
    columns = (rng.integers(0, COLOURS, videos), rng.integers(0, STYLES, videos), department)
    names = ("colour", "style", "department")
    tags = [
        [f"{name} {value}" for name, value in zip(names, row, strict=True)]
        for row in zip(*columns, strict=True)
    ]
    return replace(catalogue, tags=pa.array(tags, pa.list_(pa.string())))


def measure(catalogue: Catalogue, settings: Settings, old_clusters: int, trainings: int) -> str:
    """The catalogue's part of the page, as Markdown."""
    features: list[dict[str, Vectors]] = []
    figures: dict[str, TopicFigures] = {}
    calibration, by_clusters = None, ""
    for seed in range(settings.seed, settings.seed + trainings):
        blocks = train_blocks(catalogue, settings, seed)
        pooled = train_tags(catalogue, settings, seed, graph_of_all=True)
        old = replace(blocks, tag=pooled.tag_embedding, has_tag=pooled.tag_count > 0)
        before = represent(TopicSpace(np.zeros(old.tag.shape[1], np.float32)), old)
        if calibration is None:
            calibration = calibrate(catalogue, blocks, settings, seed)
        weights = (calibration.space.tag_weight, calibration.space.joint_weight)
        after = represent(TopicSpace(learned_mean(catalogue, blocks), *weights), blocks)
        if not features:
            figures["before"] = topic_figures(catalogue, before, old, old_clusters, None)
            clusters = clusters_for(int(after.any(axis=1).sum()))
            figures["after"] = topic_figures(catalogue, after, blocks, clusters, TARGET)
            by_clusters = "\n".join(cluster_rows(catalogue, after))
        image, title, _, _ = catalogue.encodings
        features.append(
            {
                "image": to_unit_length(image).astype(np.float32),
                "title": to_unit_length(title).astype(np.float32),
                "joint": blocks.joint,
                "before": before,
                "after": after,
            }
        )
    assert calibration is not None
    table = "\n".join(table_1(catalogue, features, settings))
    weights_line = f"Weights: {calibration.reason}."
    return "\n\n".join([table, "\n".join(topic_rows(figures)), weights_line, by_clusters])


def represent(space: TopicSpace, blocks: TrainedBlocks) -> Vectors:
    """Represent all videos in a space."""
    return space.represent(blocks.tag, blocks.joint, blocks.has_tag, blocks.has_joint)


def learned_mean(catalogue: Catalogue, blocks: TrainedBlocks) -> Vectors:
    """The tag blocks' mean over videos that train."""
    train = ~catalogue.held_out
    return mean_tag_block(blocks.tag[train], blocks.has_tag[train])


def calibrate(
    catalogue: Catalogue, blocks: TrainedBlocks, settings: Settings, seed: int
) -> Calibration:
    """The tag block's weight by cross-fitted videos that train."""
    folds = training_folds(catalogue, blocks, settings, seed)
    return calibrate_space(folds, learned_mean(catalogue, blocks), seed=seed)


def topic_figures(
    catalogue: Catalogue, a: Vectors, blocks: TrainedBlocks, clusters: int, target: float | None
) -> TopicFigures:
    """Topics learned from the videos that train, and how all videos fare with them."""
    centroids = best_clustering(
        a[~catalogue.held_out],
        clusters,
        restarts=RESTARTS if target else 1,
        iterations=ITERATIONS,
        seed=0,
    ).centroids
    thresholds = Thresholds(THRESHOLD, THRESHOLD, THRESHOLD)
    if target:
        thresholds = calibrate_thresholds(
            a,
            blocks.has_tag,
            blocks.has_joint,
            centroids,
            target,
            tag_width=blocks.tag.shape[1],
        )
    rows = thresholds.of_rows(blocks.has_tag, blocks.has_joint)
    assignment: Assignment = assign(a, centroids, np.arange(clusters), rows)
    present = a.any(axis=1)
    tagged, untagged = present & blocks.has_tag, present & ~blocks.has_tag
    return TopicFigures(
        clusters,
        thresholds,
        float(assignment.topic_count[present].mean()),
        float(assignment.below_threshold[tagged].mean()) if tagged.any() else 0.0,
        float(assignment.below_threshold[untagged].mean()) if untagged.any() else 0.0,
    )


def table_1(
    catalogue: Catalogue, features: list[dict[str, Vectors]], settings: Settings
) -> Iterator[str]:
    """Table I with both joint + tag columns and their steps, line by line."""
    classes = catalogue.classes()
    rows = judged_videos(catalogue.held_out, classes)
    counts: dict[Level, int] = {level: len(np.unique(of[of >= 0])) for level, of in classes.items()}
    table = representation_scores(
        [{name: x[rows] for name, x in of.items()} for of in features],
        {level: of[rows] for level, of in classes.items()},
        clusters=counts,
        clusterings=settings.evaluation.clusterings,
        seed=settings.seed,
    )
    names = list(features[0])
    head = " | ".join([*names, "after - joint", "after - before"])
    yield f"| {len(rows):,} held-out videos | {head} |"
    yield "|" + "---|" * (len(names) + 3)
    for metric in ("ari", "nmi"):
        for level in classes:
            cells = [f"{table.scores[name, level, metric].mean:.3f}" for name in names]
            for a in ("joint", "before"):
                step = table.differences[a, "after", level, metric]
                cells.append(f"{step.mean:+.4f} ± {step.high - step.mean:.4f}")
            yield f"| {metric.upper()} {level} (K = {counts[level]}) | {' | '.join(cells)} |"


def cluster_rows(catalogue: Catalogue, a: Vectors) -> Iterator[str]:
    """What fewer and more topics than the rule's do to held-out videos, line by line.

    Stability: adjusted Rand index of the topics that centres of one half of the videos that train
    give, and those of the other half. Classes: adjusted mutual information, which doesn't grow with
    K, of topics and secondary classes.
    """
    rule = clusters_for(int(a.any(axis=1).sum()))
    train = np.flatnonzero(~catalogue.held_out)
    halves = np.array_split(np.random.default_rng(0).permutation(train), 2)
    judged = np.flatnonzero(catalogue.held_out & a.any(axis=1))
    truth = catalogue.classes()["secondary"][judged]
    yield "| K of the rule's | K | stability | secondary classes |"
    yield "|" + "---|" * 4
    for factor in FACTORS:
        clusters = max(2, round(factor * rule))
        centres = [
            spherical_kmeans(a[half], clusters, iterations=ITERATIONS, seed=0).centroids
            for half in halves
        ]
        one, two = ((a[judged] @ c.T).argmax(axis=1) for c in centres)
        stability = adjusted_rand_score(one, two)
        agreement = np.mean([adjusted_mutual_info_score(truth, x) for x in (one, two)])
        yield f"| {factor:g} | {clusters} | {stability:.3f} | {agreement:.3f} |"


def topic_rows(figures: dict[str, TopicFigures]) -> Iterator[str]:
    """Thresholds, topics a video and shares without a centre, line by line."""
    yield "| topics | K | whole | tags alone | content alone | topics a video | tagged | untagged |"
    yield "|" + "---|" * 8
    for name, f in figures.items():
        t = f.thresholds
        yield (
            f"| {name} | {f.clusters} | {t.whole:.2f} | {t.tag_alone:.2f} | {t.joint_alone:.2f} |"
            f" {f.topics_per_video:.2f} | {f.unmatched_tagged:.1%} | {f.unmatched_untagged:.1%} |"
        )


def main() -> None:
    """Measure every home, and the last one with attributes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("homes", nargs="+", type=Path, metavar="HOME")
    parser.add_argument("--clusters", type=int, default=250, help="K before")
    parser.add_argument("--trainings", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for home in options.homes:
        settings = homes.settings(home, None)
        catalogue = read_catalogue(Run.now(Tables(home), settings))
        parts = {home.name: catalogue}
        if home == options.homes[-1]:
            parts[f"{home.name}, tags are attributes"] = with_attributes(catalogue, settings.seed)
        for name, part in parts.items():
            text = measure(part, settings, options.clusters, options.trainings)
            print(f"### {name}: {len(part.tags):,} videos\n\n{text}\n", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
