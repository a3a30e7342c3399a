"""video_content_encoding: outputs of the frozen encoders, computed once per cover and title."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from vidtopics.contracts import VIDEO_CATALOG, VIDEO_CONTENT_ENCODING
from vidtopics.jobs.covers import Covers
from vidtopics.jobs.encoders import load_encoders
from vidtopics.jobs.inputs import content_settings, encoder_of, lists, live_videos, moments
from vidtopics.jobs.job import Computed, Job, Parts, Run, main
from vidtopics.tables.schemas import arrow_schema

if TYPE_CHECKING:
    from producers.content.encoding import Encodings
    from producers.content.image_encoder import ImageEncoder
    from producers.content.title_encoder import TitleEncoder
    from vidtopics.images import Problem

PART_ROWS = 2_048
"""Contents per commit: what a run that dies has encoded in vain, at most."""


def compute(run: Run) -> Computed:
    """Encode covers and titles whose content hash has no encoding by these encoders yet."""
    return _encode_here(run, new_contents(run))


def _encode_here(run: Run, contents: pa.Table) -> Computed:
    if not len(contents):
        return Computed(arrow_schema(VIDEO_CONTENT_ENCODING).empty_table())
    image_encoder, title_encoder = load_encoders(run)
    unusable = UnusableCovers()
    parts = encode_parts(run, contents, image_encoder, title_encoder, unusable)
    return Computed(
        Parts(ceil(len(contents) / PART_ROWS), parts),
        widths={"image_width": image_encoder.width, "title_width": title_encoder.width},
        left_out=unusable,
    )


def encode_parts(
    run: Run,
    contents: pa.Table,
    image_encoder: ImageEncoder,
    title_encoder: TitleEncoder,
    unusable: UnusableCovers,
) -> Iterator[pa.Table]:
    """Rows of the table for `PART_ROWS` contents at a time; what was no cover is counted."""
    from producers.content.encoding import encode

    settings = content_settings(run)
    for start in range(0, len(contents), PART_ROWS):
        part = contents.slice(start, PART_ROWS)
        covers = part["cover"].to_pylist()
        encodings = encode(
            image_encoder,
            title_encoder,
            Covers(covers),
            part["title"].to_pylist(),
            max_pixels=run.settings.ingest.max_image_pixels,
            image_batch=settings.image_encoder.batch_size,
            title_batch=settings.title_encoder.batch_size,
            progress=partial(report, run, start, len(contents)),
        )
        unusable.add(covers, encodings.problems)
        yield to_rows(run, part["content_hash"], encodings)


def distribute(run: Run) -> Computed:
    """The same on executors, a part a task; parts are published in the same commits.

    One part alone is no work to share: the driver encodes it.
    """
    from vidtopics.jobs.executor_encoding import encode_on_executors

    contents = new_contents(run)
    if len(contents) <= PART_ROWS:
        return _encode_here(run, contents)
    starts = range(0, len(contents), PART_ROWS)
    parts = [contents.slice(start, PART_ROWS) for start in starts]
    encoded = encode_on_executors(run, parts)
    first = next(encoded)
    unusable = UnusableCovers()

    def tables() -> Iterator[pa.Table]:
        for start, part, encodings in zip(starts, parts, chain([first], encoded), strict=True):
            unusable.add(part["cover"].to_pylist(), encodings.problems)
            report(run, start, len(contents), len(part), len(part))
            yield to_rows(run, part["content_hash"], encodings)

    widths = {"image_width": first.image.shape[1], "title_width": first.title.shape[1]}
    return Computed(
        Parts(len(parts), tables()), widths=widths, left_out=unusable, close=encoded.close
    )


def new_contents(run: Run) -> pa.Table:
    """Columns `content_hash`, `cover`, `title` of each content to encode, by hash."""
    known = run.tables.read(
        VIDEO_CONTENT_ENCODING,
        columns=["content_hash"],
        where=ds.field("encoder") == encoder_of(run),
    )["content_hash"]
    videos = live_videos(run, "content_hash", "cover", "title")
    is_known = pc.is_in(videos["content_hash"], value_set=known.combine_chunks())
    first = (
        videos.filter(pc.invert(is_known))
        .group_by("content_hash")
        .aggregate([("cover", "min"), ("title", "min")])
        .sort_by("content_hash")
    )
    return first.rename_columns({"cover_min": "cover", "title_min": "title"})


def report(run: Run, before: int, total: int, done: int, of_part: int) -> None:
    """Tell how many of all contents are encoded, once `done` of a part's `of_part` are."""
    run.progress(f"contents {before + done}/{total}")


def to_rows(run: Run, content_hashes: pa.ChunkedArray, encodings: Encodings) -> pa.Table:
    """Encodings in the table's columns."""
    count = len(content_hashes)
    return pa.table(
        {
            "content_hash": content_hashes,
            "encoder": pa.repeat(encoder_of(run), count),
            "image_encoding": lists(encodings.image),
            "title_encoding": lists(encodings.title),
            "has_image": pa.array(encodings.has_image),
            "has_title": pa.array(encodings.has_title),
            "event_timestamp": moments(np.repeat(run.as_of_us, count)),
            "created_timestamp": moments(np.repeat(run.created_us, count)),
        }
    )


class UnusableCovers:
    """How many of the covers that have a path can't be used, by problem; as lines of text.

    >>> unusable = UnusableCovers()
    >>> unusable.add(["", "a.jpg"], ["missing", None])
    >>> unusable.add(["b.jpg"], ["missing"])
    >>> list(unusable)
    ['1 of 2 new covers: missing 1']
    """

    def __init__(self) -> None:
        self.paths = 0
        self.problems: Counter[str] = Counter()

    def add(self, covers: Sequence[str], problems: Sequence[Problem | None]) -> None:
        """Count the covers of one part."""
        of_path = [problem for path, problem in zip(covers, problems, strict=True) if path]
        self.paths += len(of_path)
        self.problems.update(problem for problem in of_path if problem)

    def __iter__(self) -> Iterator[str]:
        if self.problems:
            reasons = ", ".join(f"{name} {count}" for name, count in sorted(self.problems.items()))
            yield f"{self.problems.total()} of {self.paths} new covers: {reasons}"


JOB = Job(
    VIDEO_CONTENT_ENCODING,
    inputs=(VIDEO_CATALOG,),
    compute=compute,
    distribute=distribute,
    # What else counts is part of the encoders' identity.
    settings=lambda s: s.ingest.max_image_pixels,
    code=(
        "spark_jobs.video_content_encoding",
        "vidtopics.jobs.covers",
        "vidtopics.jobs.encoders",
        "vidtopics.jobs.executor_encoding",
        "vidtopics.jobs.executor_tasks",
        "vidtopics.jobs.inputs",
        "producers.content.device",
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
