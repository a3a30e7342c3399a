"""Table I and Fig. 3 from the published tables, as of the last release."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from producers.content.weights import encoder_identity
from producers.unit_length import to_unit_length
from vidtopics.contracts import VIDEO_CONTENT_ENCODING
from vidtopics.errors import TableError, explain
from vidtopics.files import write_cache
from vidtopics.jobs.job import Run
from vidtopics.settings import Settings, digest
from vidtopics.source import source_hash
from vidtopics.tables import Tables
from vidtopics.times import moment

FEATURES = ("image", "title", "joint", "joint + tag")
Vectors = NDArray[np.float32]

if TYPE_CHECKING:
    from producers.topics.evaluation import Level


def evaluate(
    tables: Tables, settings: Settings, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """The report as plain values, kept in the home's `reports/` until something changes.

    Representations are those of videos whose labels never trained (`content.holdout_share`), as of
    the last release.
    """
    release = tables.latest_release()
    code = source_hash(
        "vidtopics.evaluate.representations",
        "vidtopics.jobs.topic_blocks",
        "producers.topics.evaluation",
        "producers.topics.kmeans",
        "producers.unit_length",
    )
    key = digest(
        release["versions"],
        settings.evaluation,
        settings.topics,
        settings.content.holdout_share,
        settings.seed,
        code,
    )
    file = tables.home / "reports" / "representations.json"
    if file.is_file():
        report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if report["key"] == key:
            return report
    run = Run(
        tables, settings, release["as_of_us"], live=True
    )  # all that is known by now of that time
    report = {
        "key": key,
        "release": release["release_id"],
        "as_of": moment(run.as_of_us),
        **_measure(run, progress),
    }
    write_cache(file, json.dumps(report, indent=1))
    return report


def _measure(run: Run, progress: Callable[[str], None]) -> dict[str, Any]:
    from producers.topics.evaluation import distance_ratios, representation_scores

    features, classes, class_counts, topics = held_out(run)
    seeds = {"clusterings": run.settings.evaluation.clusterings, "seed": run.settings.seed}
    videos = len(features["image"])
    classes, left_out = comparable_levels(classes)
    class_counts = {level: class_counts[level] for level in classes}
    clusters = max(2, videos // 10)
    features, reasons = clusterable_features(features, max(clusters, *class_counts.values()))
    left_out += reasons
    scores = representation_scores(features, classes, clusters=class_counts, **seeds)
    ratios = {}
    for name in ("image", "joint", "joint + tag"):
        if name not in features:
            continue
        progress(f"Fig. 3, {name}")
        try:
            ratios[name] = distance_ratios(features[name], clusters, **seeds).tolist()
        except TableError as error:
            left_out.append(f"{name}: {error}")
    return {
        "videos": videos,
        "classes": class_counts,
        **seeds,
        "table1": [
            {"level": level, "metric": metric, "features": name, **estimate._asdict()}
            for (name, level, metric), estimate in scores.scores.items()
        ],
        "differences": [
            {"level": level, "metric": metric, "from": a, "to": b, **estimate._asdict()}
            for (a, b, level, metric), estimate in scores.differences.items()
        ],
        "figure3": {"clusters": clusters, "ratios": ratios},
        "topics": topics,
        "left_out": left_out,
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


def held_out(
    run: Run,
) -> tuple[dict[str, Vectors], dict[Level, NDArray[np.int64]], dict[Level, int], dict[str, float]]:
    """Features and classes of held-out videos that have both classes, and what goes with them.

    Returns:
        Features float32[N, D] by name, first classes int64[N] by level, the number of classes of
        all live videos by level, and the release's figures of its topics.
    """
    from producers.content.dataset import holdout
    from vidtopics.jobs.inputs import live_videos, vectors
    from vidtopics.jobs.topic_blocks import read_blocks, represent

    blocks = read_blocks(run)
    a = represent(run.model, blocks)
    videos = live_videos(run, "content_hash", "primary_classes", "secondary_classes")
    videos = videos.take(
        pc.index_in(
            blocks.video_ids, value_set=videos["video_id"].combine_chunks()
        ).combine_chunks()
    )
    mask = holdout(videos["video_id"].to_pylist(), run.settings.content.holdout_share)
    for level in ("primary_classes", "secondary_classes"):
        mask &= pc.greater(pc.list_value_length(videos[level]), 0).to_numpy()
    chosen = np.flatnonzero(mask)
    if len(chosen) < 20:
        raise TableError(
            explain(
                "held-out videos",
                expected="at least 20 with classes",
                found=str(len(chosen)),
                mend="raise content.holdout_share or add videos",
            )
        )
    rows = videos.take(pa.array(chosen))
    encodings = run.tables.read(VIDEO_CONTENT_ENCODING).combine_chunks()
    encodings = encodings.filter(
        pc.equal(encodings["encoder"], encoder_identity(run.settings.content))
    ).combine_chunks()
    encodings = encodings.take(
        pc.index_in(
            rows["content_hash"], value_set=encodings["content_hash"].combine_chunks()
        ).combine_chunks()
    )
    features = {
        "image": to_unit_length(vectors(encodings["image_encoding"])).astype(np.float32),
        "title": to_unit_length(vectors(encodings["title_encoding"])).astype(np.float32),
        "joint": blocks.joint[chosen],
        "joint + tag": a[chosen],
    }
    levels: tuple[Level, ...] = ("primary", "secondary")
    classes = {level: _first_class(rows[f"{level}_classes"]) for level in levels}
    quality = run.tables.latest_release()["quality"]
    known = {level: len(pc.unique(pc.list_flatten(videos[f"{level}_classes"]))) for level in levels}
    return features, classes, known, quality


def _first_class(column: pa.ChunkedArray) -> NDArray[np.int64]:
    first = pc.list_element(column, 0)
    codes: NDArray[np.int64] = (
        first.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    )
    return codes
