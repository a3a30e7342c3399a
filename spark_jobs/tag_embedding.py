"""tag_embedding: the topic model version's tag vectors, and those of tags that came since."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import TAG_EMBEDDING, VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.tables.releases import TOPIC_MODEL

REFRESHED_AT = 2
"""A new tag's vector is made again once this many times as many videos carry the tag."""


def compute(run: Run) -> Computed:
    """The tag space as it was trained; a new tag gets its neighbours' weighted mean (fold-in)."""
    from producers.tags.folding import fold_in
    from producers.tags.skipgram import TagVectors
    from vidtopics.jobs.inputs import count_tags, lists, live_videos, tag_lists, vectors

    dimensions = int(run.model.version.settings["tags"]["dimensions"])
    trained = run.model.tags
    tags = tag_lists(run, live_videos(run)["video_id"])
    counted = count_tags(tags, int(run.model.version.settings["tags"]["min_videos"]))
    new = counted.filter(pc.invert(pc.is_in(counted["tag"], value_set=_names(trained))))
    earlier = _earlier(run, new)
    new = new.filter(pc.invert(pc.is_in(new["tag"], value_set=_names(earlier))))
    space = TagVectors(_names(trained), vectors(trained["tag_vector"], dimensions))
    folded = fold_in(tags, _names(new).sort(), space)
    columns = {
        "tag": folded.tags,
        "tag_vector": lists(folded.vectors),
        "video_count": new["video_count"].take(pc.index_in(folded.tags, value_set=_names(new))),
        "component": trained["component"].take(pa.array(folded.nearest)),
    }
    rows = pa.concat_tables([trained, earlier, pa.table(columns, schema=trained.schema)])
    return Computed(
        rows, widths={"tag_width": dimensions}, facts={"new_tags": len(rows) - len(trained)}
    )


def _earlier(run: Run, new: pa.Table) -> pa.Table:
    """Rows of new tags that the last run with this version made, and that hold still."""
    before = run.before(TAG_EMBEDDING)
    names = run.model.tags.column_names
    rows = run.read_before(TAG_EMBEDDING, *names).cast(run.model.tags.schema)
    if before is None or before.inputs.get(TOPIC_MODEL) != run.model.version.number:
        return rows.slice(0, 0)
    at = pc.index_in(rows["tag"], value_set=_names(new))
    counts = new["video_count"].take(at.combine_chunks())
    still = pc.less(counts, pc.multiply(rows["video_count"], REFRESHED_AT))
    return rows.filter(pc.fill_null(still, False))


def _names(tags: pa.Table) -> pa.StringArray:
    return tags["tag"].combine_chunks().cast(pa.string())


JOB = Job(
    TAG_EMBEDDING,
    inputs=(VIDEO_CATALOG, VIDEO_TAGS),
    compute=compute,
    settings=lambda s: None,
    code=(
        "spark_jobs.tag_embedding",
        "vidtopics.jobs.inputs",
        "producers.tags",
        "producers.unit_length",
    ),
    infers=True,
    warm=True,
    empty="no tag is on tags.min_videos live videos",
)

if __name__ == "__main__":
    main(JOB)
