"""video_content_encoding: outputs of the frozen encoders, computed once per cover and title."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import VIDEO_CATALOG, VIDEO_CONTENT_ENCODING
from vidtopics.jobs.inputs import encoder_of
from vidtopics.jobs.job import Computed, Job, Run, main

if TYPE_CHECKING:
    from vidtopics.images import Problem


def compute(run: Run) -> Computed:
    """Encode covers and titles whose content hash has no encoding by these encoders yet."""
    from producers.content.encoding import encode
    from producers.content.weights import load_image_encoder, load_title_encoder
    from vidtopics.jobs.inputs import content_settings, lists, live_videos, moments

    settings, encoder = content_settings(run), encoder_of(run)
    known = run.tables.read(VIDEO_CONTENT_ENCODING, columns=["content_hash", "encoder"])
    known = known.filter(pc.equal(known["encoder"], encoder))["content_hash"]
    videos = live_videos(run, "content_hash", "cover", "title")
    videos = videos.filter(
        pc.invert(pc.is_in(videos["content_hash"], value_set=known.combine_chunks()))
    )
    first = (
        videos.group_by("content_hash")
        .aggregate([("cover", "min"), ("title", "min")])
        .sort_by("content_hash")
    )
    encodings = encode(
        load_image_encoder(settings.image_encoder),
        load_title_encoder(settings.title_encoder),
        Covers(first["cover_min"].to_pylist()),
        first["title_min"].to_pylist(),
        max_pixels=run.settings.ingest.max_image_pixels,
        image_batch=settings.image_encoder.batch_size,
        title_batch=settings.title_encoder.batch_size,
        progress=lambda done, total: run.progress(f"covers {done}/{total}"),
    )
    columns = {
        "content_hash": first["content_hash"],
        "encoder": pa.repeat(encoder, len(first)),
        "image_encoding": lists(encodings.image),
        "title_encoding": lists(encodings.title),
        "has_image": pa.array(encodings.has_image),
        "has_title": pa.array(encodings.has_title),
        "event_timestamp": moments(pc.cast(pa.repeat(run.as_of_us, len(first)), pa.int64())),
        "created_timestamp": moments(pc.cast(pa.repeat(run.created_us, len(first)), pa.int64())),
    }
    widths = {"image_width": encodings.image.shape[1], "title_width": encodings.title.shape[1]}
    return Computed(
        pa.table(columns),
        widths=widths,
        left_out=unusable_covers(first["cover_min"], encodings.problems),
    )


def unusable_covers(covers: pa.ChunkedArray, problems: Sequence[Problem | None]) -> list[str]:
    """How many of the covers that have a path can't be used, by problem.

    >>> unusable_covers(pa.chunked_array([["", "a.jpg", "b.jpg"]]), ["missing", None, "missing"])
    ['1 of 2 new covers: missing 1']
    """
    paths = [path for path in covers.to_pylist() if path]
    tally = Counter(
        problem
        for path, problem in zip(covers.to_pylist(), problems, strict=True)
        if path and problem
    )
    reasons = ", ".join(f"{problem} {count}" for problem, count in sorted(tally.items()))
    return [f"{tally.total()} of {len(paths)} new covers: {reasons}"] if tally else []


class Covers(Sequence[bytes | None]):
    """Cover files, each read when it is asked for."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    # A sequence also takes slices; encoding asks for one item at a time.
    def __getitem__(self, i: int) -> bytes | None:  # type: ignore[override]
        path = Path(self.paths[i])
        return path.read_bytes() if self.paths[i] and path.is_file() else None

    def __iter__(self) -> Iterator[bytes | None]:
        return (self[i] for i in range(len(self)))


JOB = Job(
    VIDEO_CONTENT_ENCODING,
    inputs=(VIDEO_CATALOG,),
    compute=compute,
    settings=lambda s: (
        s.ingest.max_image_pixels
    ),  # what else counts is part of the encoders' identity
    code=(
        "spark_jobs.video_content_encoding",
        "vidtopics.jobs.inputs",
        "producers.content.encoding",
        "producers.content.images",
        "producers.content.image_encoder",
        "producers.content.title_encoder",
        "vidtopics.images",
    ),
    weights=encoder_of,
)

if __name__ == "__main__":
    main(JOB)
