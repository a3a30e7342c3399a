"""The tag graph, clustering and assignment (III-A2, III-A3)."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from vidtopics.settings.section import Count, Positive, Section, Share


class TagSettings(Section):
    """Tag graph and its embedding (III-A2)."""

    min_videos: Positive = 2
    """A tag on fewer videos is left out of the graph."""
    max_tags_per_video: Positive = 200
    """A video with more gives the graph its most frequent ones, as pairs grow with the square."""
    walks_per_tag: Positive = 10
    walk_length: Positive = 100
    dimensions: Positive = 128
    window: Positive = 5
    negatives: Positive = 5
    epochs: Positive = 1
    engine: Literal["local", "graphframes"] = "local"
    """What finds the graph's components: scipy, or GraphFrames on Spark with its jar."""


class TopicSettings(Section):
    """Clustering and assignment (III-A3)."""

    clusters: Count = 0
    """Topics of an epoch's first training (paper: 6,000); 0: by the catalogue's size, 3.5 times the
    square root of its videos. Births and retirements change their number then."""
    restarts: Positive = 3
    """Clusterings of an epoch's first training; the one of the greatest mean cosine is taken."""
    target_topics: Annotated[float, Field(ge=0, le=8)] = 4.0
    """Mean number of topics that an epoch's first training calibrates the thresholds to (paper: 4),
    one for each pattern of blocks; 0: `threshold` holds for all."""
    threshold: Annotated[float, Field(ge=-1, le=1)] = 0.6
    """tau_3: least cosine to a centre; used where `target_topics` is 0."""
    centre_tags: bool = True
    """True: subtract what all tag blocks have in common. False: as the paper has it."""
    tag_weight: Annotated[float, Field(ge=0)] | None = None
    """Of the tag block, beside `joint_weight` (paper: 1 and 1); null: chosen on videos that train.
    """
    joint_weight: Annotated[float, Field(ge=0)] = 1.0
    iterations: Positive = 25
    sample: Positive = 100_000
    """Videos that k-means++ and Lloyd's steps see at most; assignment sees all."""
    label_terms: Positive = 5
    labeller: str = ""
    """A function that names topics (`package.module:function`), from a language model say; empty:
    their terms alone."""
    min_size: Positive = 4
    """Videos that found a topic, and that each part of a split has, at least."""
    growth: Share = 0.1
    """A training adds at most this share of the topics there are, beyond those that retire."""
    overfull: Annotated[float, Field(gt=1)] = 3.0
    """A topic of more than this many times the mean number of videos splits."""
    loose: Share = 0.85
    """A topic splits whose mean cosine of videos to centre is below this share of the median's."""
    relearn_growth: Annotated[float, Field(ge=1)] = 2.0
    """A training that goes on from a version leaves its joint model and its tags' vectors as they
    are, and learns vectors of new tags, topics and labels. From this many times the videos on, or
    the tags given to them, that those were learned from, it trains them on too and chooses block
    weights and thresholds anew; most videos have another set of topics then."""
    keep_first: Share = 0.95
    """A training leaves at least this share of the unchanged videos their first topic ..."""
    keep_set: Share = 0.85
    """... and this share their set of topics; what would move more waits for the next training."""
    least_cosine: Share = 0.95
    """`train topics --if-needed` trains where the mean cosine of videos to their centre is below
    this share of what it was after the last training, ..."""
    most_below_threshold: Share = 0.05
    """... the share of videos without a topic within the threshold has risen by more than this, ...
    """
    most_new_tags: Share = 0.05
    """... more than this share of the tags that videos carry is new since, ..."""
    most_age: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(days=30)
    """... or the last training is older than this."""
