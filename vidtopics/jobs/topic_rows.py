"""Rows of the table `topics` that a training gives, with their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.contracts import TOPICS
from vidtopics.jobs.job import Run
from vidtopics.tables.schemas import arrow_schema
from vidtopics.topic_models import TopicModel

if TYPE_CHECKING:
    from producers.topics.evolution import Topics
    from producers.topics.parents import Parents


def topic_rows(
    run: Run,
    a: NDArray[np.float32],
    topics: Topics,
    parents: Parents,
    tags: pa.LargeListArray,
    titles: pa.ChunkedArray,
    previous: TopicModel | None,
) -> pa.Table:
    """Rows of the table `topics`: the living, and those that this training found empty."""
    from vidtopics.jobs.inputs import lists, moments

    ids = pa.array(topics.topic_ids)
    now = moments(np.array([run.as_of_us]))[0]
    schema = arrow_schema(TOPICS, TOPICS.columns)
    old = previous.topics if previous else schema.empty_table()
    living = {
        "topic_id": ids,
        "centroid": lists(topics.centroids),
        "size": pa.array(topics.sizes),
        **labels_of(run, a, topics, parents, tags, titles),
        "topic_epoch": pa.repeat(topics.epoch, len(ids)),
        "born": pc.fill_null(
            old["born"].take(pc.index_in(ids, value_set=old["topic_id"].combine_chunks())), now
        ),
        "retired": pa.nulls(len(ids), now.type),
        "split_from": pa.array(topics.split_from),
        "parent_topic_id": pa.array(parents.parent_ids),
    }
    gone = _retired(old, topics, now).cast(schema)
    return pa.concat_tables([pa.table(living, schema=schema), gone]).combine_chunks()


def labels_of(
    run: Run,
    a: NDArray[np.float32],
    topics: Topics,
    parents: Parents,
    tags: pa.LargeListArray,
    titles: pa.ChunkedArray,
) -> dict[str, pa.Array]:
    """Label terms of each topic and of its parent, by the videos whose nearest topic it is."""
    from producers.topics.assignment import top_centroids
    from vidtopics.jobs.labellers import label_topics

    rank, cosine = top_centroids(a, topics.centroids, 1, device="cpu")
    topic = np.where(a.any(axis=1), topics.topic_ids[rank[:, 0]], -1)
    labels = label_topics(
        run.settings.topics, parents, topic, cosine[:, 0], tags, titles.combine_chunks()
    )
    names = ("label_terms", "parent_label_terms")
    return {
        name: pa.array(terms, pa.list_(pa.string()))
        for name, terms in zip(names, labels, strict=True)
    }


def _retired(old: pa.Table, topics: Topics, now: pa.Scalar) -> pa.Table:
    """Topics that this training found empty, with its time; the next version lacks them."""
    gone = old.filter(pc.is_in(old["topic_id"], value_set=pa.array(topics.retired)))
    if len(gone) and len(gone["centroid"][0]) != topics.centroids.shape[1]:
        return gone.slice(0, 0)  # of another width: its centres can't stand beside the new ones
    size, when = (gone.schema.get_field_index(name) for name in ("size", "retired"))
    gone = gone.set_column(size, "size", pa.repeat(0, len(gone)).cast(pa.int64()))
    return gone.set_column(when, "retired", pa.repeat(now, len(gone)))


def unused_topics(clusters: int, rows: pa.Table) -> list[str]:
    """How many clusters stayed without a video, and how many topics without a label."""
    labels = rows.filter(pc.is_null(rows["retired"]))["label_terms"]
    topics, unlabelled = len(labels), pc.sum(pc.equal(pc.list_value_length(labels), 0)).as_py()
    left_out = []
    if (empty := clusters - topics) > 0:
        left_out.append(f"no video for {empty} of {clusters} clusters: too few differ")
    if unlabelled:
        left_out.append(f"no label for {unlabelled} of {topics} topics: no tag and no title")
    return left_out
