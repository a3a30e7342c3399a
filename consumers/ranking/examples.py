"""Impressions as ranking models read them: arrays of a whole frame, and batches of tensors.

:mod:`consumers.ranking.inputs` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from consumers.encoding.numbers import NAMES, TOPIC_NAMES
from consumers.encoding.topics import TopicRows
from consumers.training.log import Log, Windows
from consumers.training.versions import Versions, row_at
from vidtopics.contracts import TOPIC_SLOTS

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Batch:
    """B impressions as tensors; H places of history, newest first.

    Attributes:
        clicked: float32[B], the label.
        user: int64[B], codes, 0 unknown.
        video: int64[B], likewise.
        numbers: float32[B, F], columns NAMES; nothing of topics.
        topic_numbers: float32[B, G], columns TOPIC_NAMES.
        topics: int64[B, 8], codes, 0 none.
        topic_weights: float32[B, 8], cosines, 0 where unused.
        parents: int64[B, 8], codes of the topics' parents, 0 none.
        cover: float32[B, 128], the paper's cover features; zero without.
        history_videos: int64[B, H], 0 in padding and for unknown videos.
        history_clicked: bool[B, H].
        history_ages: float32[B, H], log(1 + hours).
        history_topics: int64[B, H, 8].
        history_weights: float32[B, H, 8].
        history_parents: int64[B, H, 8].
        history_mask: bool[B, H], true where there is an impression.
    """

    clicked: Tensor
    user: Tensor
    video: Tensor
    numbers: Tensor
    topic_numbers: Tensor
    topics: Tensor
    topic_weights: Tensor
    parents: Tensor
    cover: Tensor
    history_videos: Tensor
    history_clicked: Tensor
    history_ages: Tensor
    history_topics: Tensor
    history_weights: Tensor
    history_parents: Tensor
    history_mask: Tensor

    def __len__(self) -> int:
        return len(self.clicked)

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def of_rows(self, of_histories: Tensor) -> Tensor:
        """What was computed of the histories, for each impression, `(B, D)`."""
        return of_histories


@dataclass(frozen=True, eq=False)
class SharedBatch(Batch):
    """A batch whose rows share histories: tensors of these have R <= B rows.

    Attributes:
        history_row: int64[B], each impression's row of them.
    """

    history_row: Tensor

    def of_rows(self, of_histories: Tensor) -> Tensor:
        """What was computed of the histories, `(R, D)`, for each impression, `(B, D)`."""
        return of_histories[self.history_row]


@dataclass(frozen=True, eq=False)
class Examples:
    """N impressions as models read them, in numpy memory; histories are windows into one log.

    Attributes:
        clicked: bool[N].
        shown_us: int64[N].
        user: int32[N], codes.
        video: int32[N], codes.
        numbers: float32[N, F], columns NAMES.
        topic_numbers: float32[N, G], columns TOPIC_NAMES.
        topic_row: int32[N], rows of `topics`, -1 none.
        cover_row: int32[N], rows of `covers`.
        windows: N windows into `log`.
        content_us: int64[N], by when the topics of a history are those known.
        log: all users' impressions.
        log_videos: int32[V], the code of each video of the log.
        versions: rows of `topics` of each video of the log at any time.
        topics: R rows of topics in codes.
        covers: float32[V, 128 or 0].
        places: H.
    """

    clicked: NDArray[np.bool_]
    shown_us: NDArray[np.int64]
    user: NDArray[np.int32]
    video: NDArray[np.int32]
    numbers: Floats
    topic_numbers: Floats
    topic_row: NDArray[np.int32]
    cover_row: NDArray[np.int32]
    windows: Windows
    content_us: NDArray[np.int64]
    log: Log
    log_videos: NDArray[np.int32]
    versions: Versions
    topics: TopicRows
    covers: Floats
    places: int

    names = NAMES
    topic_names = TOPIC_NAMES

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """Some of the impressions; they go on sharing the log."""
        narrow = {name: getattr(self, name)[rows] for name in _PER_ROW}
        return replace(self, **narrow, windows=Windows(*(part[rows] for part in self.windows)))

    def batch(
        self,
        rows: NDArray[np.int64],
        *,
        history: bool = True,
        topics: bool = True,
        shared: bool = False,
    ) -> Batch:
        """Tensors of some rows.

        Without `history` its tensors have no places; without `topics` those of its topics have no
        slots, which saves two thirds of the time of a batch. `shared`: neighbours with one and the
        same history, as candidates of a request are, have it once.
        """
        topic_row = self.topic_row[rows]
        run, firsts = _runs(self.windows, self.content_us, rows) if shared else (rows, rows)
        arrays = (
            self.clicked[rows].astype(np.float32),
            self.user[rows].astype(np.int64),
            self.video[rows].astype(np.int64),
            self.numbers[rows],
            self.topic_numbers[rows],
            _rows_or_zero(self.topics.codes, topic_row).astype(np.int64),
            _rows_or_zero(self.topics.weights, topic_row),
            _rows_or_zero(self.topics.parents, topic_row).astype(np.int64),
            self.covers[self.cover_row[rows]],
            *self._histories(firsts, self.places if history else 0, TOPIC_SLOTS if topics else 0),
        )
        batch = Batch(*(torch.from_numpy(array) for array in arrays))
        return SharedBatch(**vars(batch), history_row=torch.from_numpy(run)) if shared else batch

    def _histories(
        self, rows: NDArray[np.int64], places: int, slot_count: int
    ) -> tuple[NDArray[Any], ...]:
        """The last seven arrays of a batch."""
        shape, slots = (len(rows), places), (len(rows), places, slot_count)
        videos, topics, parents = (np.zeros(s, np.int64) for s in (shape, slots, slots))
        ages, weights = np.zeros(shape, np.float32), np.zeros(slots, np.float32)
        clicked, mask = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        if places:
            log, versions = self.log, self.versions
            _gather_history(
                self.windows.first[rows],
                self.windows.end[rows],
                self.windows.seen_us[rows],
                self.content_us[rows],
                log.video,
                log.shown_us,
                log.known_us,
                log.clicked_us,
                self.log_videos,
                versions.starts,
                versions.since_us,
                versions.row,
                self.topics.codes,
                self.topics.weights,
                self.topics.parents,
                videos,
                clicked,
                ages,
                topics,
                weights,
                parents,
                mask,
            )
        return videos, clicked, ages, topics, weights, parents, mask


_PER_ROW = (
    "clicked",
    "shown_us",
    "user",
    "video",
    "numbers",
    "topic_numbers",
    "topic_row",
    "cover_row",
    "content_us",
)


def _runs(windows: Windows, content_us: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Neighbours that have the same history: the run of each row, and each run's first row.

    >>> windows = Windows(*np.array([[0, 0, 4, 0], [4, 4, 9, 4], [9, 9, 9, 9]]))
    >>> [part.tolist() for part in _runs(windows, np.zeros(4, np.int64), np.arange(4))]
    [[0, 0, 1, 2], [0, 2, 3]]
    """
    starts = np.ones(len(rows), bool)
    starts[1:] = False
    for part in (*windows, content_us):
        starts[1:] |= np.diff(part[rows]) != 0
    return np.cumsum(starts) - 1, rows[starts]


def _rows_or_zero(values: NDArray[Any], rows: NDArray[np.int32]) -> NDArray[Any]:
    """The rows, zero where there is none (-1)."""
    if not len(values):
        return np.zeros((len(rows), values.shape[1]), values.dtype)
    out: NDArray[Any] = values[rows]
    out[rows < 0] = 0
    return out


@numba.njit(cache=True, nogil=True)
def _gather_history(
    first: Ints,
    end: Ints,
    seen_us: Ints,
    content_us: Ints,
    log_video: Codes,
    shown_us: Ints,
    known_us: Ints,
    clicked_us: Ints,
    log_codes: Codes,
    starts: Ints,
    since_us: Ints,
    rows: Codes,
    codes: Codes,
    weights: Floats,
    parent_codes: Codes,
    videos: Ints,
    clicked: NDArray[np.bool_],
    ages: Floats,
    topics: Ints,
    topic_weights: Floats,
    parents: Ints,
    mask: NDArray[np.bool_],
) -> None:
    for n in range(len(first)):
        place = 0
        for at in range(end[n] - 1, first[n] - 1, -1):
            if known_us[at] > seen_us[n] or place == videos.shape[1]:
                continue
            videos[n, place] = log_codes[log_video[at]]
            clicked[n, place] = clicked_us[at] <= seen_us[n]
            ages[n, place] = np.log1p((seen_us[n] - shown_us[at]) / 3.6e9)
            mask[n, place] = True
            if topics.shape[2]:
                row = row_at(starts, since_us, rows, log_video[at], content_us[n])
                for slot in range(topics.shape[2] if row >= 0 else 0):
                    topics[n, place, slot] = codes[row, slot]
                    topic_weights[n, place, slot] = weights[row, slot]
                    parents[n, place, slot] = parent_codes[row, slot]
            place += 1
