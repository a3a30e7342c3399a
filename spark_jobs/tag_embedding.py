"""tag_embedding: the topic model version's tag vectors, and those of tags that came since."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import TAG_EMBEDDING, VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.jobs.reuse import LastResult, exclude, select
from vidtopics.tables.releases import TOPIC_MODEL

REFRESHED_AT = 2
"""A new tag's vector is made again once this many times as many videos carry the tag."""


def compute(run: Run) -> Computed:
    """The tag space as it was trained; a new tag gets its neighbours' weighted mean (fold-in)."""
    trained = run.model.tags
    pairs = run.read(VIDEO_TAGS, "video_id", "tag")
    pairs = select(pairs, "video_id", run.live_video_ids)
    new = _new_tags(run, pairs)
    earlier = _earlier(run, new)
    known = pa.concat_tables([trained, earlier])
    stored = LastResult.of(run, JOB).rows(without=pa.array([], pa.string()))
    reused = select(stored, "tag", known["tag"])
    folded = _fold(run, pairs, exclude(new, "tag", earlier["tag"]))
    return Computed(
        pa.concat_tables([exclude(known, "tag", reused["tag"]), folded]),
        widths={"tag_width": _dimensions(run)},
        facts={"new_tags": len(earlier) + len(folded)},
        reused=reused,
    )


def _new_tags(run: Run, pairs: pa.Table) -> pa.Table:
    """(tag, video_count) of the tags that the model lacks and enough videos carry."""
    counted = (
        exclude(pairs, "tag", run.model.tags["tag"])
        .group_by("tag")
        .aggregate([("video_id", "count")])
    )
    least = int(run.model.version.settings["tags"]["min_videos"])
    enough = pc.greater_equal(counted["video_id_count"], least)
    return counted.filter(enough).rename_columns(["tag", "video_count"])


def _fold(run: Run, pairs: pa.Table, new: pa.Table) -> pa.Table:
    """Rows of new tags, from the videos that carry one of them."""
    trained = run.model.tags
    if not len(new):
        return trained.schema.empty_table()
    from producers.tags.folding import fold_in
    from producers.tags.vectors import TagVectors
    from vidtopics.jobs.inputs import group_tags, lists, vectors

    space = TagVectors(_names(trained), vectors(trained["tag_vector"], _dimensions(run)))
    carriers = pc.unique(select(pairs, "tag", new["tag"])["video_id"])
    tags = group_tags(select(pairs, "video_id", carriers), pa.chunked_array([carriers]))
    folded = fold_in(tags, _names(new).sort(), space)
    columns = {
        "tag": folded.tags,
        "tag_vector": lists(folded.vectors),
        "video_count": new["video_count"].take(pc.index_in(folded.tags, value_set=_names(new))),
        "component": trained["component"].take(pa.array(folded.nearest)),
    }
    return pa.table(columns, schema=trained.schema)


def _dimensions(run: Run) -> int:
    return int(run.model.version.settings["tags"]["dimensions"])


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
