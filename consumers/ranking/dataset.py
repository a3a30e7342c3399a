"""Frames of one release in memory, and examples of their rows for a model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.ranking.examples import Examples, encode
from consumers.ranking.vocabulary import Vocabulary, vocabulary
from consumers.training import Frame, Inputs, frames
from consumers.training.frame import TopicsOf
from vidtopics.settings import Settings


@dataclass(frozen=True, eq=False)
class Dataset:
    """All N impressions with a closed window.

    `epoch`: in which their topics are comparable. `prior_exposures`: w of a rate's prior.
    """

    parts: list[Frame]
    epoch: int
    prior_exposures: float

    @classmethod
    def of(
        cls,
        inputs: Inputs,
        settings: Settings,
        *,
        as_of_us: int,
        epoch: int,
        topics: TopicsOf = "as known",
    ) -> Dataset:
        """From a release's tables."""
        parts = list(frames(inputs, settings, as_of_us=as_of_us, topics=topics))
        return cls(parts, epoch, settings.statistics.prior_exposures)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @cached_property
    def shown_us(self) -> NDArray[np.int64]:
        """int64[N], times of the impressions."""
        return np.concatenate(
            [
                np.empty(0, np.int64),
                *(part.impressions["event_us"].to_numpy() for part in self.parts),
            ]
        )

    @cached_property
    def users(self) -> NDArray[np.int64]:
        """int64[N], a number for each user."""
        ids = pa.chunked_array(
            [c for part in self.parts for c in part.impressions["user_id"].chunks], pa.string()
        )
        numbers: NDArray[np.int64] = (
            ids.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        )
        return numbers

    @cached_property
    def clicked(self) -> NDArray[np.bool_]:
        """bool[N], the labels."""
        return np.concatenate([np.empty(0, bool), *(part.clicked for part in self.parts)])

    def vocabulary(self, rows: NDArray[np.int64]) -> Vocabulary:
        """The ids and the prior of some of the rows."""
        mask = np.zeros(len(self), bool)
        mask[rows] = True
        return vocabulary(self.parts, mask, epoch=self.epoch, prior_exposures=self.prior_exposures)

    def examples(self, known: Vocabulary) -> Examples:
        """All rows, in the terms of a vocabulary."""
        return encode(self.parts, known)
