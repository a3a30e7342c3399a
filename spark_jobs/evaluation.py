"""Table I and Fig. 3 from the published tables, as of the last release."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spark_jobs.job import Run
from spark_jobs.weights import encoder_identity
from vidtopics.contracts import VIDEO_CONTENT_ENCODING
from vidtopics.errors import TableError, explain
from vidtopics.files import write_cache
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
    """The report as plain values, kept in `reports/` of the home and made again only where something changed.

    Representations are those of videos whose labels never trained (`content.holdout_share`), as of
    the last release.
    """
    release = tables.latest_release()
    code = source_hash(
        "spark_jobs.evaluation",
        "spark_jobs.topic_blocks",
        "producers.topics.evaluation",
        "producers.topics.kmeans",
    )
    key = digest(
        release["versions"],
        settings.evaluation,
        settings.topics,
        settings.content.holdout_share,
        settings.seed,
        code,
    )
    kept = tables.home / "reports" / "representations.json"
    if kept.is_file():
        report: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
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
    write_cache(kept, json.dumps(report, indent=1))
    return report


def _measure(run: Run, progress: Callable[[str], None]) -> dict[str, Any]:
    from producers.topics.evaluation import distance_ratios, representation_scores

    features, classes, known, topics = held_out(run)
    seeds = {"clusterings": run.settings.evaluation.clusterings, "seed": run.settings.seed}
    scores = representation_scores(features, classes, clusters=known, **seeds)
    clusters = max(2, len(features["image"]) // 10)
    ratios = {}
    for name in ("image", "joint", "joint + tag"):
        progress(f"Fig. 3, {name}")
        ratios[name] = distance_ratios(features[name], clusters, **seeds).tolist()
    return {
        "videos": len(features["image"]),
        "classes": known,
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
    }


def held_out(
    run: Run,
) -> tuple[dict[str, Vectors], dict[Level, NDArray[np.int64]], dict[Level, int], dict[str, float]]:
    """Features and classes of held-out videos that have both classes, the number of classes of all, figures of the topics."""
    from producers.content.dataset import holdout
    from spark_jobs.inputs import live_videos, vectors
    from spark_jobs.topic_blocks import read_blocks, represent

    blocks = read_blocks(run)
    a = represent(run.settings.topics, blocks)
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
    found = run.tables.read(VIDEO_CONTENT_ENCODING).combine_chunks()
    found = found.filter(
        pc.equal(found["encoder"], encoder_identity(run.settings.content))
    ).combine_chunks()
    found = found.take(
        pc.index_in(
            rows["content_hash"], value_set=found["content_hash"].combine_chunks()
        ).combine_chunks()
    )
    features = {
        "image": _unit(vectors(found["image_encoding"])),
        "title": _unit(vectors(found["title_encoding"])),
        "joint": blocks.joint[chosen],
        "joint + tag": a[chosen],
    }
    levels: tuple[Level, ...] = ("primary", "secondary")
    classes = {level: _first_class(rows[f"{level}_classes"]) for level in levels}
    quality = run.tables.latest_release()["quality"]
    known = {level: len(pc.unique(pc.list_flatten(videos[f"{level}_classes"]))) for level in levels}
    return features, classes, known, quality


def _unit(rows: Vectors) -> Vectors:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Vectors = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return unit


def _first_class(column: pa.ChunkedArray) -> NDArray[np.int64]:
    first = pc.list_element(column, 0)
    codes: NDArray[np.int64] = (
        first.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    )
    return codes
