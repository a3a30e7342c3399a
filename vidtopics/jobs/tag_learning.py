"""Tag vectors of a training, turned onto those of the last version (III-A2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import TAG_COOCCURRENCE
from vidtopics.jobs.job import Run
from vidtopics.topic_models import TopicModel

if TYPE_CHECKING:
    from producers.tags.vectors import TagVectors

NOT_LEARNED = "no two tags share a video: tag vectors stay as they were drawn, nothing was learned"


def learn_tags(
    run: Run, tags: pa.LargeListArray, previous: TopicModel | None, *, keeps_space: bool
) -> tuple[pa.Table, TagVectors, list[str]]:
    """Walk, learn, and turn the space onto the last version's, so that vectors stay comparable.

    Returns:
        Rows of `tag_embedding`, the same as vectors, and what could not be learned.
    """
    from producers.tags.graph import build_graph
    from producers.tags.skipgram import embed_tags, keep_known
    from producers.tags.vectors import TagVectors
    from vidtopics.jobs.graph_engine import find_components
    from vidtopics.jobs.inputs import count_tags, lists, vectors

    run.progress("tag vectors")
    settings = run.settings.tags
    if previous and not len(tags):  # all are held out
        names, old = previous.tags["tag"].combine_chunks(), vectors(previous.tags["tag_vector"])
        return previous.tags, TagVectors(names, old), []
    counted = count_tags(tags, settings.min_videos)
    edges = run.read(TAG_COOCCURRENCE).combine_chunks()
    a, b = edges["tag_a"].combine_chunks(), edges["tag_b"].combine_chunks()
    graph = build_graph(a, b, edges["videos"].to_numpy(), isolated=counted["tag"].combine_chunks())
    old = vectors(previous.tags["tag_vector"]) if previous else np.empty((0, 0), np.float32)
    initial = None
    if previous and len(old) and old.shape[1] == settings.dimensions:
        initial = TagVectors(previous.tags["tag"].combine_chunks(), old)
    embedding = embed_tags(graph, settings, seed=run.settings.seed, initial=initial)
    if initial is not None and keeps_space:
        embedding = keep_known(embedding, initial)
    columns = {
        "tag": embedding.tags,
        "tag_vector": lists(embedding.vectors),
        "video_count": counted["video_count"].take(
            pc.index_in(embedding.tags, value_set=counted["tag"].combine_chunks())
        ),
        "component": find_components(run, graph),
    }
    remarks = [NOT_LEARNED] if len(graph) and not len(edges) else []
    return pa.table(columns), embedding, remarks
