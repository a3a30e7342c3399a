"""From a release's tables to rows that models learn from and are judged on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumers.encoding.vocabulary import Vocabulary
from consumers.ranking.codes import vocabulary
from consumers.ranking.covers import Encodings, project
from consumers.ranking.examples import Examples
from consumers.ranking.inputs import encode
from consumers.ranking.models import Sizes
from consumers.ranking.search import Parts
from consumers.ranking.splits import Split
from consumers.training.frame import Frame, TopicsOf, build_frame
from consumers.training.inputs import Inputs
from vidtopics.settings import Settings

Rows = NDArray[np.int64]
Rule = Callable[[Rows, float], Split]
"""Splits some rows; the numbers in the result are places among them."""


class SplitRows(NamedTuple):
    """Row numbers; `fit` and `validation` make up what is known of `train` for the search."""

    train: Rows
    test: Rows
    fit: Rows
    validation: Rows


def split_rows(rule: Rule, count: int, *, test: float, validation: float) -> SplitRows:
    """Test rows, and validation rows split off the training rows by the same rule."""
    outer = rule(np.arange(count), test)
    inner = rule(outer.train, validation)
    return SplitRows(outer.train, outer.test, outer.train[inner.train], outer.train[inner.test])


@dataclass(frozen=True, eq=False)
class Source:
    """Impressions of a release whose label window has closed, with all that was known of them.

    Attributes:
        inputs: the release's tables.
        settings: of the home.
        as_of_us: by when a window must have closed.
        epoch: in which topics are comparable.
        encodings: of covers, static content; None: cover features are left out.
        topics: as known at each impression, or of the last release as static content.
    """

    inputs: Inputs
    settings: Settings
    as_of_us: int
    epoch: int
    encodings: Encodings | None = None
    topics: TopicsOf = "as known"

    @cached_property
    def frame(self) -> Frame:
        """The rows, joined once."""
        return build_frame(self.inputs, self.settings, as_of_us=self.as_of_us, topics=self.topics)

    @cached_property
    def users(self) -> NDArray[np.int64]:
        """int64[N], a number for each user."""
        ids = self.frame.impressions["user_id"].combine_chunks()
        numbers: NDArray[np.int64] = ids.dictionary_encode().indices.to_numpy().astype(np.int64)
        return numbers

    def with_topics(self, topics: TopicsOf) -> Source:
        """The same rows with the other kind of topics."""
        return replace(self, topics=topics)

    def with_inputs(self, inputs: Inputs) -> Source:
        """The same with other tables."""
        return replace(self, inputs=inputs)

    def vocabulary(self, rows: Rows) -> Vocabulary:
        """What a model of some rows knows."""
        return vocabulary(
            self.frame,
            rows,
            self.inputs.topics,
            epoch=self.epoch,
            prior_exposures=self.settings.statistics.prior_exposures,
        )

    def examples(self, known: Vocabulary, *, covers_of: Rows | None = None) -> Examples:
        """All rows in the terms of a vocabulary.

        With cover features where rows are given that their components are taken from.
        """
        frame, covers = self.frame, None
        if self.encodings is not None and covers_of is not None:
            image, present = self.encodings.of_videos(frame.videos, self.inputs.catalogue)
            fitted = np.zeros(len(image), bool)
            fitted[frame.video[covers_of]] = True
            covers = project(image, present, fitted)
        return encode(frame, known, places=self.settings.ranking.history, covers=covers)

    def parts(self, train: Rows, judge: Rows) -> Parts:
        """Rows to learn from and rows to judge by, in the vocabulary of the former."""
        known = self.vocabulary(train)
        examples = self.examples(known, covers_of=train)
        return Parts(sizes_of(known, examples), examples.take(train), examples.take(judge))


def sizes_of(known: Vocabulary, examples: Examples) -> Sizes:
    """The shapes of a model that reads examples of a vocabulary."""
    return Sizes(
        users=len(known.users) + 1,
        videos=len(known.videos) + 1,
        topics=len(known.centres.ids) + 1,
        parents=len(known.centres.parents) + 1,
        numbers=len(examples.names),
        topic_numbers=tuple(examples.topic_names),
        cover=examples.covers.shape[1],
    )
