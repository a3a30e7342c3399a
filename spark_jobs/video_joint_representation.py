"""video_joint_representation: z of cover and title, by the topic model version (III-A1; Eq. 1)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from producers.content.representation import COVER_BIT, TITLE_BIT, represent
from vidtopics.contracts import VIDEO_CATALOG, VIDEO_CONTENT_ENCODING, VIDEO_JOINT_REPRESENTATION
from vidtopics.jobs.inputs import encoder_of
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.jobs.reuse import LastResult, exclude, select
from vidtopics.tables.schemas import arrow_schema


def compute(run: Run) -> Computed:
    """Represent the videos that are new or changed; the others' rows stay as they are."""
    from vidtopics.jobs.inputs import live_videos

    videos = live_videos(run, "content_hash")
    last = LastResult.of(run, JOB, VIDEO_CATALOG)
    reused = last.rows("content_blocks", without=last.changed(VIDEO_CATALOG)["video_id"])
    reused = select(reused, "video_id", videos["video_id"])
    rows = _represented(run, exclude(videos, "video_id", reused["video_id"]))
    blocks = pa.chunked_array([*rows["content_blocks"].chunks, *reused["content_blocks"].chunks])
    return Computed(
        rows,
        widths={"joint_width": len(rows["joint_embedding"][0])} if len(rows) else {},
        facts={"computed": len(rows)},
        left_out=_missing_blocks(blocks.to_numpy()),
        reused=reused,
    )


def _represented(run: Run, videos: pa.Table) -> pa.Table:
    """Rows of some videos, from (video_id, content_hash)."""
    schema = arrow_schema(JOB.table, JOB.table.columns)
    if not len(videos):
        return schema.empty_table()
    from vidtopics.jobs.inputs import lists, read_encodings

    z, blocks = represent(run.model.joint, *read_encodings(videos["content_hash"], run))
    columns = {
        "video_id": videos["video_id"],
        "joint_embedding": lists(z),
        "content_blocks": pa.array(blocks),
        "encoder_version": pa.repeat(run.model.version.weights, len(videos)),
    }
    return pa.table(columns, schema=schema)


def _missing_blocks(blocks: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    """Whether all covers or all titles are missing."""
    bits = (("cover", COVER_BIT), ("title", TITLE_BIT))
    names = [name for name, bit in bits if not (blocks & bit).any()]
    return [f"no video has a {' or a '.join(names)}: z is zero there"] if names else []


JOB = Job(
    VIDEO_JOINT_REPRESENTATION,
    inputs=(VIDEO_CATALOG, VIDEO_CONTENT_ENCODING),
    compute=compute,
    settings=lambda s: None,
    code=(
        "spark_jobs.video_joint_representation",
        "vidtopics.jobs.inputs",
        "vidtopics.jobs.topic_blocks",
        "producers.content.representation",
        "producers.unit_length",
    ),
    weights=encoder_of,
    infers=True,
)

if __name__ == "__main__":
    main(JOB)
