"""Topics and thresholds of a training, which go on from the last version's where they can."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from producers.topics.thresholds import Thresholds
from vidtopics.contracts import VIDEO_CONTENT_ENCODING
from vidtopics.jobs.job import Run
from vidtopics.topic_models import TopicModel, versions

if TYPE_CHECKING:
    from producers.topics.evolution import Topics
    from vidtopics.jobs.topic_blocks import TagBlocks


class LearnedTopics(NamedTuple):
    """What a training makes of the representations.

    Attributes:
        topics: the living ones.
        thresholds: least cosines to their centres.
        last: int64[N, slots], what consumers had before of videos that haven't changed, -1 for
            others; None where nothing can be compared.
    """

    topics: Topics
    thresholds: Thresholds
    last: NDArray[np.int64] | None


def learn_topics_of(
    run: Run,
    a: NDArray[np.float32],
    blocks: TagBlocks,
    videos: pa.Table,
    previous: TopicModel | None,
    *,
    evolves: bool,
    keeps_space: bool,
) -> LearnedTopics:
    """Learn topics, from the last version's so that IDs stay, and thresholds for them.

    Args:
        run: a run that trains.
        a: float32[N, D], topic representations.
        blocks: what they were made of.
        videos: video_id and content_hash of the same videos.
        previous: the version to go on from.
        evolves: its topics can be compared with what `a` holds.
        keeps_space: `a` is made by its joint model, tag vectors and block weights.
    """
    from producers.topics.carrying import carry_topics

    run.progress("topics")
    old = _numbered(run, previous)
    if previous is None or old is None or not evolves:
        return _new_epoch(run, a, blocks, old)
    if keeps_space:
        return _evolve(run, a, blocks, videos, previous, old)
    last = topics_given(run, previous, videos)
    carried = carry_topics(old, a, last[:, 0])
    if carried is None:
        return _new_epoch(run, a, blocks, old)
    thresholds = _calibrated(run, a, blocks, carried)
    topics = _learn(run, a, blocks, carried, thresholds, None)
    retired = np.setdiff1d(old.topic_ids, topics.topic_ids)
    topics = replace(topics, retired=retired)
    return LearnedTopics(topics, _calibrated(run, a, blocks, topics), last)


def _new_epoch(
    run: Run, a: NDArray[np.float32], blocks: TagBlocks, old: Topics | None
) -> LearnedTopics:
    from producers.topics.evolution import learn_topics
    from vidtopics.jobs.executor_points import on_executors

    settings = run.settings
    topics = learn_topics(
        a,
        previous=old,
        settings=settings.topics,
        seed=settings.seed,
        new_epoch=True,
        spread=partial(on_executors, run) if run.on_spark else None,
    )
    used = max((version.epoch for version in versions(run.tables.home)), default=0)
    topics = replace(topics, epoch=max(topics.epoch, used + 1))
    return LearnedTopics(topics, _calibrated(run, a, blocks, topics), None)


def _evolve(
    run: Run,
    a: NDArray[np.float32],
    blocks: TagBlocks,
    videos: pa.Table,
    previous: TopicModel,
    old: Topics,
) -> LearnedTopics:
    """In the space of the last version; thresholds follow as far as sets may."""
    last = _last_topics(run, a, blocks, videos, previous)
    thresholds = _followed(run, a, blocks, previous, old, last)
    topics = _learn(run, a, blocks, old, thresholds, last)
    return LearnedTopics(topics, thresholds, last)


def _numbered(run: Run, previous: TopicModel | None) -> Topics | None:
    """The last version's topics; an ID is given once, whatever became of the version that did."""
    from vidtopics.jobs.topic_blocks import topics_of

    if previous is None:
        return None
    topics = topics_of(previous)
    highest = max(version.next_topic_id for version in versions(run.tables.home))
    return replace(topics, next_id=max(topics.next_id, highest))


def _learn(
    run: Run,
    a: NDArray[np.float32],
    blocks: TagBlocks,
    old: Topics,
    thresholds: Thresholds,
    last: NDArray[np.int64] | None,
) -> Topics:
    from producers.topics.evolution import learn_topics

    return learn_topics(
        a,
        previous=old,
        settings=run.settings.topics,
        seed=run.settings.seed,
        last=last,
        threshold=thresholds.of_rows(blocks.has_tag, blocks.has_joint),
    )


def _calibrated(run: Run, a: NDArray[np.float32], blocks: TagBlocks, topics: Topics) -> Thresholds:
    """As set, or calibrated on the catalogue as it is."""
    from producers.topics.thresholds import calibrate_thresholds

    settings = run.settings.topics
    if not settings.target_topics:
        return Thresholds(settings.threshold, settings.threshold, settings.threshold)
    return calibrate_thresholds(
        a,
        blocks.has_tag,
        blocks.has_joint,
        topics.centroids,
        min(settings.target_topics, len(topics.topic_ids)),
        tag_width=blocks.tag.shape[1],
        seed=run.settings.seed,
    )


def _followed(
    run: Run,
    a: NDArray[np.float32],
    blocks: TagBlocks,
    previous: TopicModel,
    topics: Topics,
    last: NDArray[np.int64],
) -> Thresholds:
    """As set, or those of the last version as far as they serve."""
    from producers.topics.thresholds import follow_catalogue
    from vidtopics.jobs.topic_blocks import thresholds_of

    settings = run.settings.topics
    if not settings.target_topics:
        return Thresholds(settings.threshold, settings.threshold, settings.threshold)
    return follow_catalogue(
        thresholds_of(previous),
        a,
        blocks.has_tag,
        blocks.has_joint,
        topics.centroids,
        min(settings.target_topics, len(topics.topic_ids)),
        known=last[:, 0] >= 0,
        keep_set=settings.keep_set,
        tag_width=blocks.tag.shape[1],
        seed=run.settings.seed,
    )


def _last_topics(
    run: Run,
    a: NDArray[np.float32],
    blocks: TagBlocks,
    videos: pa.Table,
    previous: TopicModel,
) -> NDArray[np.int64]:
    """What the last version gives now to the videos that it was trained from, -1 to others.

    int64[N, slots]; so that what moves is the centres' and thresholds' doing alone.
    """
    from producers.topics.assignment import assign
    from vidtopics.jobs.inputs import live_videos
    from vidtopics.jobs.topic_blocks import thresholds_of, topics_of

    topics = topics_of(previous)
    least = thresholds_of(previous).of_rows(blocks.has_tag, blocks.has_joint)
    slots = assign(a, topics.centroids, topics.topic_ids, least).topic_ids
    then = live_videos(replace(run, as_of_us=previous.version.as_of_us))["video_id"]
    known = pc.is_in(videos["video_id"], value_set=then.combine_chunks()).to_numpy()
    return np.where(known[:, None], slots, -1)


def topics_given(run: Run, previous: TopicModel, videos: pa.Table) -> NDArray[np.int64]:
    """What a version gave to videos at its training.

    Returns int64[N, slots], -1 for those that are new or have another cover or title now.

    Args:
        run: a run that trains.
        previous: the version.
        videos: video_id and content_hash, N rows.
    """
    from vidtopics.jobs.encodings import read_encodings
    from vidtopics.jobs.inputs import encoder_of, live_videos, tag_lists
    from vidtopics.jobs.topic_blocks import assign_videos

    then = replace(run, as_of_us=previous.version.as_of_us, trains=False, content=None)
    before = live_videos(then, "content_hash")
    of_encoder = ds.field("encoder") == encoder_of(then)
    encoded = run.tables.read(VIDEO_CONTENT_ENCODING, columns=["content_hash"], where=of_encoder)
    hashes = encoded["content_hash"].combine_chunks()
    before = before.filter(pc.is_in(before["content_hash"], value_set=hashes)).combine_chunks()
    encodings = read_encodings(before["content_hash"], then)
    tags = tag_lists(then, before["video_id"])
    slots = assign_videos(previous, encodings, tags).topic_ids
    at = pc.index_in(videos["video_id"], value_set=before["video_id"].combine_chunks())
    same = pc.fill_null(pc.equal(before["content_hash"].take(at), videos["content_hash"]), False)
    row = pc.fill_null(at, 0).to_numpy()
    return np.where(same.to_numpy()[:, None], slots[row], -1)
