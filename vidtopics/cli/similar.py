"""`vidtopics similar`: the videos nearest to one, by cover, title, tags, content or topics."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, ExistingHome, print_json

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from vidtopics.jobs.job import Run


class Space(StrEnum):
    """What two videos are compared by."""

    COVER = "cover"
    TITLE = "title"
    TAG = "tag"
    JOINT = "joint"
    TOPIC = "topic"


COLUMNS = {
    Space.COVER: ("image_encoding", "has_image"),
    Space.TITLE: ("title_encoding", "has_title"),
    Space.TAG: ("tag_embedding", "tag_count"),
    Space.JOINT: ("joint_embedding", "content_blocks"),
}
"""The vector of each space and the column that is 0 where a video has none."""


def similar(
    video_id: Annotated[str, typer.Argument(metavar="VIDEO_ID")],
    by: Annotated[
        Space,
        typer.Option(
            help="Encoder outputs of cover or title, mean tag vector, joint representation "
            "of cover and title, or weights of topics."
        ),
    ] = Space.JOINT,
    top: Annotated[int, typer.Option(min=1, help="Videos to show.")] = 10,
    home: ExistingHome = DEFAULT_HOME,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """The videos nearest to one in the release in force, with titles and cosines."""
    from vidtopics.cli import homes
    from vidtopics.jobs.job import Run
    from vidtopics.tables import Tables

    tables = Tables(home)
    at_us = tables.latest_release()["as_of_us"]
    report = find(
        Run(tables, homes.settings(home, config), at_us, live=True), video_id, by, top=top
    )
    if as_json:
        print_json(report)
    else:
        show(report)


def find(run: Run, video_id: str, by: Space, *, top: int) -> dict[str, Any]:
    """The report: the video, the space, and its neighbours by falling cosine.

    Raises:
        TableError: no live video has this id, or the video has no vector in this space.
    """
    import numpy as np
    import pyarrow.compute as pc

    from producers.topics.neighbours import nearest_neighbours
    from producers.unit_length import to_unit_length
    from vidtopics.jobs.inputs import live_videos

    videos = live_videos(run, "title", "content_hash")
    at = pc.index(videos["video_id"], video_id).as_py()
    if at < 0:
        raise _missing(video_id, "a live video of the release", "no such id")
    vectors, has = (topic_vectors if by == Space.TOPIC else block_vectors)(run, videos, by)
    if not has[at]:
        raise _missing(video_id, f"a video with a vector by {by}", "none")
    others = np.flatnonzero(has)
    others = others[others != at]
    unit = to_unit_length(vectors).astype(np.float32)
    rows, cosines, _ = nearest_neighbours(unit[[at]], unit[others], min(top, len(others)))
    names, titles = videos["video_id"].to_pylist(), videos["title"].to_pylist()
    neighbours = [
        {"video_id": names[row], "title": titles[row], "cosine": float(cosine)}
        for row, cosine in zip(others[rows[0]], cosines[0], strict=True)
    ]
    return {"video_id": video_id, "title": titles[at], "by": str(by), "similar": neighbours}


def block_vectors(
    run: Run, videos: pa.Table, by: Space
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """float32[N, D] of the rows of `videos`, and whether each has one; zero where it doesn't."""
    import numpy as np
    import pyarrow.compute as pc

    from vidtopics.contracts import (
        CREATED_TIME,
        VIDEO_CONTENT_ENCODING,
        VIDEO_JOINT_REPRESENTATION,
        VIDEO_TAG_EMBEDDING,
    )
    from vidtopics.jobs import inputs

    vector, present = COLUMNS[by]
    if by in (Space.COVER, Space.TITLE):
        key = "content_hash"
        names = (key, "encoder", CREATED_TIME, vector, present)
        rows = run.tables.read(VIDEO_CONTENT_ENCODING, columns=names)
        if len(rows):  # outputs of two encoders aren't comparable: those of the latest
            latest = pc.index(rows[CREATED_TIME], pc.max(rows[CREATED_TIME])).as_py()
            rows = rows.filter(pc.equal(rows["encoder"], rows["encoder"][latest]))
    else:
        key = "video_id"
        table = VIDEO_TAG_EMBEDDING if by == Space.TAG else VIDEO_JOINT_REPRESENTATION
        rows = run.read(table, key, vector, present)
    row = pc.index_in(videos[key], value_set=rows[key].combine_chunks())
    known = row.is_valid().to_numpy()
    of_video = pc.fill_null(row, 0).to_numpy()
    if not known.any():
        return np.zeros((len(videos), 1), np.float32), known
    has = known & (rows[present].to_numpy()[of_video] > 0)
    return inputs.vectors(rows[vector], rows=of_video), has


def topic_vectors(
    run: Run, videos: pa.Table, by: Space
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Weights of the topics that any slot holds, float32[N, K], and whether a video has a topic."""
    import numpy as np
    import pyarrow.compute as pc

    from vidtopics.contracts import VIDEO_TOPICS
    from vidtopics.jobs import inputs

    rows = run.read(VIDEO_TOPICS, "video_id", "topic_ids", "topic_weights")
    ids, weights = (inputs.vectors(rows[name], 1) for name in ("topic_ids", "topic_weights"))
    topics, column = np.unique(ids, return_inverse=True)
    place = pc.index_in(rows["video_id"], value_set=videos["video_id"].combine_chunks())
    known = np.repeat(place.is_valid().to_numpy(), ids.shape[1]) & (ids.ravel() >= 0)
    video = np.repeat(pc.fill_null(place, 0).to_numpy(), ids.shape[1])
    vectors = np.zeros((len(videos), len(topics)), np.float32)
    vectors[video[known], column.ravel()[known]] = weights.ravel()[known]
    return vectors, np.asarray(vectors.any(axis=1))


def show(report: Mapping[str, Any]) -> None:
    """Prints the report."""
    from rich.table import Column, Table

    from vidtopics.cli.show import as_text, out

    out.print(as_text(f"Nearest to {report['video_id']} by {report['by']}: {report['title']}"))
    table = Table(
        Column("", justify="right"), "video", "title", Column("cosine", justify="right"), box=None
    )
    for rank, video in enumerate(report["similar"], 1):
        cells = (video["video_id"], video["title"], f"{video['cosine']:.3f}")
        table.add_row(str(rank), *map(as_text, cells))
    out.print(table)


def _missing(video_id: str, expected: str, found: str) -> Exception:
    from vidtopics.errors import TableError, explain

    return TableError(
        explain(
            f"video {video_id}",
            expected=expected,
            found=found,
            mend="choose another video, or another space by `--by`",
        )
    )
