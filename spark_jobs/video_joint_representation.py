"""video_joint_representation: z of cover and title, by the topic model version (III-A1; Eq. 1)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import VIDEO_CATALOG, VIDEO_CONTENT_ENCODING, VIDEO_JOINT_REPRESENTATION
from vidtopics.jobs.inputs import encoder_of
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.jobs.reuse import reusable_rows
from vidtopics.tables.schemas import arrow_schema

COVER_BIT, TITLE_BIT = 1, 2


def compute(run: Run) -> Computed:
    """Represent the videos that are new or changed; the others' rows stay as they are."""
    from vidtopics.jobs.inputs import lists, live_videos, read_encodings

    videos = live_videos(run, "content_hash")
    rows = reusable_rows(run, JOB, VIDEO_CATALOG)
    rows = rows.filter(pc.is_in(rows["video_id"], value_set=videos["video_id"].combine_chunks()))
    known = pc.is_in(videos["video_id"], value_set=rows["video_id"].combine_chunks())
    new = videos.filter(pc.invert(known))
    if len(new):  # torch is loaded for them alone
        from producers.content.training import joint_representation
        from vidtopics.jobs.topic_blocks import restore_joint

        joint = restore_joint(run.model)
        z, blocks = joint_representation(joint, *read_encodings(new["content_hash"], run))
        columns = {
            "video_id": new["video_id"],
            "joint_embedding": lists(z),
            "content_blocks": pa.array(blocks),
            "encoder_version": pa.repeat(run.model.version.weights, len(new)),
        }
        schema = arrow_schema(JOB.table, JOB.table.columns)
        rows = pa.concat_tables([rows.cast(schema), pa.table(columns, schema=schema)])
    return Computed(
        rows,
        widths={"joint_width": len(rows["joint_embedding"][0])},
        facts={"computed": len(new)},
        left_out=_missing_blocks(rows["content_blocks"].to_numpy()),
    )


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
        "producers.content",
    ),
    weights=encoder_of,
    infers=True,
)

if __name__ == "__main__":
    main(JOB)
