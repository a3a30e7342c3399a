"""Blocks of a catalogue, learned anew from the videos that train: what an evaluation compares."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from producers.content.training import joint_representation
from producers.tags.graph import count_pairs
from producers.tags.pooling import Pooled, pool_lists
from producers.tags.skipgram import embed_tags
from producers.topics.calibration import Fold
from producers.topics.cross_fitting import Encodings, cross_fitted_folds, first_codes, train_on
from producers.topics.evaluation import Level
from vidtopics.contracts import VIDEO_CONTENT_ENCODING
from vidtopics.jobs.encodings import read_encodings, take
from vidtopics.jobs.inputs import encoder_of, held_out, live_videos, tag_lists
from vidtopics.jobs.job import Run
from vidtopics.settings import Settings

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Live videos whose content is encoded, N of them by video_id.

    Attributes:
        videos: video_id, title, cover, content_hash and both levels' classes.
        tags: list<string>[N].
        encodings: image and title encodings float32[N, W], and whether each is there, bool[N].
        held_out: bool[N], videos that never train.
    """

    videos: pa.Table
    tags: pa.LargeListArray
    encodings: Encodings
    held_out: NDArray[np.bool_]

    def classes(self) -> dict[Level, NDArray[np.int64]]:
        """Each video's first class by level, int64[N], -1 for none."""
        return {
            "primary": first_codes(self.videos["primary_classes"].to_pylist()),
            "secondary": first_codes(self.videos["secondary_classes"].to_pylist()),
        }

    def names(
        self, rows: NDArray[np.int64]
    ) -> tuple[Sequence[Sequence[str]], Sequence[Sequence[str]], Sequence[Sequence[str]]]:
        """Primary classes, secondary classes and tags of some videos."""
        chosen = pa.array(rows)
        columns = (self.videos["primary_classes"], self.videos["secondary_classes"], self.tags)
        primary, secondary, tags = (column.take(chosen).to_pylist() for column in columns)
        return primary, secondary, tags


@dataclass(frozen=True, eq=False)
class TrainedBlocks:
    """Both blocks of all videos, by one training: float32[N, d], float32[N, D], bool[N]."""

    tag: Vectors
    joint: Vectors
    has_tag: NDArray[np.bool_]
    has_joint: NDArray[np.bool_]


def read_catalogue(run: Run) -> Catalogue:
    """The run's live videos, left out those whose content has no encoding yet."""
    columns = ("title", "cover", "content_hash", "primary_classes", "secondary_classes")
    videos = live_videos(run, *columns)
    encoded = run.tables.read(
        VIDEO_CONTENT_ENCODING,
        columns=["content_hash"],
        where=ds.field("encoder") == encoder_of(run),
    )["content_hash"].combine_chunks()
    videos = videos.filter(pc.is_in(videos["content_hash"], value_set=encoded)).combine_chunks()
    return Catalogue(
        videos,
        tag_lists(run, videos["video_id"]),
        read_encodings(videos["content_hash"], run),
        held_out(videos["content_hash"], run.settings.content),
    )


def train_blocks(catalogue: Catalogue, settings: Settings, seed: int) -> TrainedBlocks:
    """Train projections, MMoE and tag vectors on the videos that aren't held out; represent all.

    Skip-gram has one thread: it runs beside the joint model, of which it reads nothing.
    """
    train = np.flatnonzero(~catalogue.held_out)
    with ThreadPoolExecutor(1) as pool:
        pooled = pool.submit(train_tags, catalogue, settings, seed)
        model = train_on(
            catalogue.encodings, train, catalogue.names(train), settings.content, seed=seed
        )
        joint, blocks = joint_representation(model, *catalogue.encodings)
        tag, tag_count = pooled.result()
    return TrainedBlocks(tag, joint, tag_count > 0, blocks > 0)


def train_tags(
    catalogue: Catalogue, settings: Settings, seed: int, *, graph_of_all: bool = False
) -> Pooled:
    """Tag vectors of the graph of the videos that aren't held out, pooled for all (Eq. 3, 4).

    `graph_of_all` counts tags of held-out videos too, as was done before (docs/adr/0031).
    """
    counted = catalogue.tags
    if not graph_of_all:
        counted = counted.take(pa.array(np.flatnonzero(~catalogue.held_out)))
    graph = count_pairs(
        counted,
        min_videos=settings.tags.min_videos,
        max_tags_per_video=settings.tags.max_tags_per_video,
    )
    return pool_lists(catalogue.tags, embed_tags(graph, settings.tags, seed=seed))


def training_folds(
    catalogue: Catalogue, blocks: TrainedBlocks, settings: Settings, seed: int
) -> list[Fold]:
    """The videos that train, with joint blocks of models that haven't seen them."""
    train = np.flatnonzero(~catalogue.held_out)
    return cross_fitted_folds(
        take(catalogue.encodings, train),
        catalogue.names(train),
        blocks.tag[train],
        blocks.has_tag[train],
        catalogue.videos["content_hash"].take(pa.array(train)).to_pylist(),
        settings.content,
        seed=seed,
    )
