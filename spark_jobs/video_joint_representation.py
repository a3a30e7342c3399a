"""video_joint_representation: z of cover and title, by the topic model version (III-A1; Eq. 1)."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from producers.content.representation import COVER_BIT, TITLE_BIT, represent
from vidtopics.contracts import VIDEO_CATALOG, VIDEO_CONTENT_ENCODING, VIDEO_JOINT_REPRESENTATION
from vidtopics.files import scratch_folder
from vidtopics.jobs.inputs import encoder_of
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.jobs.reuse import LastResult, exclude, select
from vidtopics.tables.schemas import arrow_schema

PART_ROWS = 8_192
"""Videos represented at a time and written to a file: 75 MB at the paper's width of 2,304."""
PLAIN = {"compression": "none", "use_dictionary": False, "write_statistics": False}
"""Files that are read once and removed."""


def compute(run: Run) -> Computed:
    """Represent the videos that are new or changed; the others' rows stay as they are.

    The new rows lie in a scratch folder of the home until they are published.
    """
    from vidtopics.jobs.inputs import live_videos

    videos = live_videos(run, "content_hash")
    last = LastResult.of(run, JOB, VIDEO_CATALOG)
    reused = last.rows("content_blocks", without=last.changed(VIDEO_CATALOG)["video_id"])
    reused = select(reused, "video_id", videos["video_id"])
    new = exclude(videos, "video_id", reused["video_id"])
    held, facts = reused["content_blocks"].to_numpy(), {"computed": len(new)}
    if not len(new):
        none = arrow_schema(JOB.table, JOB.table.columns).empty_table()
        return Computed(none, facts=facts, left_out=_missing_blocks(held), reused=reused)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder(run.tables.home, "joint"))
        blocks, width = write_rows(run, new, folder)
        return Computed(
            ds.dataset(folder, format="parquet"),
            widths={"joint_width": width},
            facts=facts,
            left_out=_missing_blocks(np.concatenate([blocks, held])),
            close=stack.pop_all().close,
            reused=reused,
        )


def write_rows(run: Run, videos: pa.Table, folder: Path) -> tuple[NDArray[np.int64], int]:
    """Write the rows of some videos, from (video_id, content_hash), as Parquet files.

    Several, as a reader holds on to the bytes of a file until its end; and no Arrow files: columns
    of their batches share one buffer, so that whoever keeps the keys keeps the vectors too.

    Returns:
        `content_blocks` of each, and the width of z.
    """
    from vidtopics.jobs.encodings import read_encodings, take
    from vidtopics.jobs.inputs import lists

    schema = arrow_schema(JOB.table, JOB.table.columns)
    encodings = read_encodings(videos["content_hash"], run)
    every, width = [], 0
    for first in range(0, len(videos), PART_ROWS):
        rows = slice(first, first + PART_ROWS)
        z, blocks = represent(run.model.joint, *take(encodings, rows))
        columns = {
            "video_id": videos["video_id"][rows],
            "joint_embedding": lists(z),
            "content_blocks": pa.array(blocks),
            "encoder_version": pa.repeat(run.model.version.weights, len(z)),
        }
        file = folder / f"{first:012}.parquet"
        pq.write_table(pa.table(columns, schema=schema), file, **PLAIN)
        every.append(blocks)
        width = z.shape[1]
    return np.concatenate(every), width


def _missing_blocks(blocks: NDArray[np.int64]) -> list[str]:
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
        "vidtopics.jobs.encodings",
        "producers.content.representation",
        "producers.unit_length",
    ),
    weights=encoder_of,
    infers=True,
)

if __name__ == "__main__":
    main(JOB)
