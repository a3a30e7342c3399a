"""tag_embedding: walks on the tag graph and skip-gram give each tag a vector (paper, III-A2)."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import TAG_COOCCURRENCE, TAG_EMBEDDING, VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.jobs.job import Computed, Job, Run, main

NOT_LEARNED = "no two tags share a video: tag vectors stay as they were drawn, nothing was learned"


def compute(run: Run) -> Computed:
    """Walk, learn, and turn the space onto the last run's, so that vectors stay comparable."""
    from producers.tags.graph import build_graph
    from producers.tags.skipgram import TagVectors, embed_tags
    from vidtopics.jobs.graph_engine import find_components
    from vidtopics.jobs.inputs import lists, live_videos, tag_lists, vectors

    settings = run.settings.tags
    counts = pc.value_counts(tag_lists(run, live_videos(run)["video_id"]).flatten())
    counted = pa.table({"tag": counts.field("values"), "video_count": counts.field("counts")})
    counted = counted.filter(pc.greater_equal(counted["video_count"], settings.min_videos))
    edges = run.read(TAG_COOCCURRENCE).combine_chunks()
    a, b = edges["tag_a"].combine_chunks(), edges["tag_b"].combine_chunks()
    graph = build_graph(a, b, edges["videos"].to_numpy(), isolated=counted["tag"].combine_chunks())
    before = run.read_before(TAG_EMBEDDING, "tag", "tag_vector").sort_by("tag")
    old = vectors(before["tag_vector"])
    same = (
        len(old) and old.shape[1] == settings.dimensions
    )  # another width is another space, and a new topic epoch
    initial = TagVectors(before["tag"].combine_chunks(), old) if same else None
    embedding = embed_tags(graph, settings, seed=run.settings.seed, initial=initial)
    videos = counted["video_count"].take(
        pc.index_in(embedding.tags, value_set=counted["tag"].combine_chunks())
    )
    columns = {
        "tag": embedding.tags,
        "tag_vector": lists(embedding.vectors),
        "video_count": videos,
        "component": find_components(run, graph),
    }
    left_out = [NOT_LEARNED] if len(graph) and not len(edges) else []
    return Computed(pa.table(columns), widths={"tag_width": settings.dimensions}, left_out=left_out)


JOB = Job(
    TAG_EMBEDDING,
    inputs=(VIDEO_CATALOG, VIDEO_TAGS, TAG_COOCCURRENCE),
    compute=compute,
    settings=lambda s: s.tags,
    code=(
        "spark_jobs.tag_embedding",
        "vidtopics.jobs.inputs",
        "vidtopics.jobs.graph_engine",
        "producers.tags",
        "producers.unit_length",
    ),
    warm=True,
    empty="no tag is on tags.min_videos live videos",
)

if __name__ == "__main__":
    main(JOB)
