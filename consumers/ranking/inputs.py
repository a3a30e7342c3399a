"""What ranking models read: one encoding for training and for serving.

`encode` turns a frame into :class:`Examples`; :mod:`consumers.ranking.requests` makes the same
rows and codes of a request and goes through :func:`encode_rows` as well.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Protocol

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from consumers.encoding.numbers import NAMES, TIERS, TOPIC_NAMES, numbers, topic_numbers
from consumers.encoding.topics import TopicRows
from consumers.encoding.vocabulary import Vocabulary
from consumers.training.frame import Frame, State
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


class Rows(Protocol):
    """What is encoded of N impressions: a :class:`Frame`, or the candidates of a request.

    Attributes:
        clicked: bool[N], the label; false where there is none yet.
        shown_us: int64[N].
        counts: float64[N, 2], the video's exposures and clicks; NaN where nothing is known.
        positions: float64[N], NaN where unknown.
        published_us: float64[N], likewise.
        state: the users' counts.
        video: int32[N], places among the V videos of the log.
        topic_row: int32[N], rows of topics; -1: none.
        log: earlier impressions.
        windows: N into it.
        content_us: int64[N], by when topics of the history are those known.
        versions: the topics' row of each video at any time.
    """

    @property
    def clicked(self) -> NDArray[np.bool_]: ...  # noqa: D102
    @property
    def shown_us(self) -> Ints: ...  # noqa: D102
    @property
    def counts(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def positions(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def published_us(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def state(self) -> State: ...  # noqa: D102
    @property
    def video(self) -> Codes: ...  # noqa: D102
    @property
    def topic_row(self) -> Codes: ...  # noqa: D102
    @property
    def log(self) -> Log: ...  # noqa: D102
    @property
    def windows(self) -> Windows: ...  # noqa: D102
    @property
    def content_us(self) -> Ints: ...  # noqa: D102
    @property
    def versions(self) -> Versions: ...  # noqa: D102


class Coded(NamedTuple):
    """N rows' ids in the terms of a vocabulary.

    Attributes:
        user: int32[N].
        log_videos: int32[V], of the log's videos.
        topics: of all rows of topics.
    """

    user: Codes
    log_videos: Codes
    topics: TopicRows


def encode(
    frame: Frame, known: Vocabulary, *, places: int, covers: Floats | None = None
) -> Examples:
    """A frame in the terms of a vocabulary.

    Args:
        frame: N rows.
        known: of the rows to learn from.
        places: H, the longest history (`ranking.history`).
        covers: float32[V, 128], cover features of the frame's videos
            (:mod:`consumers.ranking.covers`).
    """
    user = known.code_users(frame.impressions["user_id"])
    topics = TopicRows.of(frame.topics, known.centres)
    coded = Coded(user, known.code_videos(frame.videos), topics)
    return encode_rows(frame, coded, known, places=places, covers=covers)


def encode_rows(
    rows: Rows,
    coded: Coded,
    known: Vocabulary,
    *,
    places: int,
    covers: Floats | None = None,
) -> Examples:
    """Rows whose ids are coded already; arguments as of :func:`encode`."""
    windows = _window_counts(rows, coded.topics)
    return Examples(
        clicked=rows.clicked,
        shown_us=rows.shown_us,
        user=coded.user,
        video=coded.log_videos[rows.video],
        numbers=numbers(
            known,
            counts=rows.counts,
            statistics=rows.state.statistics,
            windows=windows,
            published_us=rows.published_us,
            shown_us=rows.shown_us,
            positions=rows.positions,
        ),
        topic_numbers=topic_numbers(
            rows.state.topic_sums(rows.topic_row, coded.topics, known.centres), windows
        ),
        topic_row=rows.topic_row,
        cover_row=rows.video,
        windows=rows.windows,
        content_us=rows.content_us,
        log=rows.log,
        log_videos=coded.log_videos,
        versions=rows.versions,
        topics=coded.topics,
        covers=np.zeros((len(coded.log_videos), 0), np.float32) if covers is None else covers,
        places=places,
    )


def _window_counts(rows: Rows, topics: TopicRows) -> Floats:
    """float32[N, 4 + 2 * tiers]: length, clicks; exposures, clicks of the candidate; tiers."""
    out = np.zeros((len(rows.video), 4 + 2 * (len(TIERS) + 1)), np.float32)
    norms = np.sqrt((topics.weights**2).sum(1, keepdims=True))
    unit = np.divide(topics.weights, norms, out=np.zeros_like(topics.weights), where=norms > 0)
    log = rows.log
    _count_windows(
        *rows.windows,
        rows.content_us,
        rows.video,
        rows.topic_row,
        log.video,
        log.known_us,
        log.clicked_us,
        *rows.versions,
        topics.codes,
        unit,
        topics.size(0),
        np.array(TIERS, np.float32),
        out,
    )
    return out


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
def _count_windows(
    first: Ints,
    end: Ints,
    seen_us: Ints,
    content_us: Ints,
    video: Codes,
    topic_row: Codes,
    log_video: Codes,
    known_us: Ints,
    clicked_us: Ints,
    starts: Ints,
    since_us: Ints,
    rows: Codes,
    codes: Codes,
    unit: Floats,
    size: int,
    tiers: Floats,
    out: Floats,
) -> None:
    """Rows that follow each other with one window, as of a request, look its entries up once."""
    weight_of = np.zeros(size, np.float32)
    longest = 0
    for n in range(len(first)):
        longest = max(longest, end[n] - first[n])
    past_video, past_row = np.zeros((2, longest), np.int32)
    past_click = np.zeros(longest, np.int64)
    length, clicks = 0, 0
    for n in range(len(first)):
        if n == 0 or _has_other_window(n, first, end, seen_us, content_us):
            length, clicks = 0, 0
            for at in range(first[n], end[n]):
                if known_us[at] <= seen_us[n]:
                    past_video[length] = log_video[at]
                    past_click[length] = clicked_us[at] <= seen_us[n]
                    past_row[length] = row_at(starts, since_us, rows, log_video[at], content_us[n])
                    clicks += past_click[length]
                    length += 1
        out[n, 0], out[n, 1] = length, clicks
        for at in range(length):
            if past_video[at] == video[n]:
                out[n, 2] += 1
                out[n, 3] += past_click[at]
        if topic_row[n] >= 0:
            tiers_of = out[n, 4:].reshape(2, len(tiers) + 1)
            past = past_row[:length], past_click[:length]
            _count_tiers(topic_row[n], *past, codes, unit, weight_of, tiers, tiers_of)


@numba.njit(cache=True, nogil=True)
def _has_other_window(n: int, first: Ints, end: Ints, seen_us: Ints, content_us: Ints) -> bool:
    """Whether a row's history isn't that of the row before it."""
    last = n - 1
    is_same_stretch = first[n] == first[last] and end[n] == end[last]
    return not (
        is_same_stretch and seen_us[n] == seen_us[last] and content_us[n] == content_us[last]
    )


@numba.njit(cache=True, nogil=True)
def _count_tiers(
    row: int,
    past_row: Codes,
    past_click: Ints,
    codes: Codes,
    unit: Floats,
    weight_of: Floats,
    tiers: Floats,
    out: Floats,
) -> None:
    """Add a history to `out` [2, tiers], skipped and clicked; `weight_of` is zero before and after.

    The overlap with an entry is the product of both rows' weights, each of length 1.
    """
    for slot in range(codes.shape[1]):
        weight_of[codes[row, slot]] = unit[row, slot]
    weight_of[0] = 0
    for at in range(len(past_row)):
        other = past_row[at]
        if other < 0:
            continue
        overlap = np.float32(0)
        for slot in range(codes.shape[1]):
            overlap += unit[other, slot] * weight_of[codes[other, slot]]
        if overlap > 0:
            out[past_click[at], np.searchsorted(tiers, overlap)] += 1
    for slot in range(codes.shape[1]):
        weight_of[codes[row, slot]] = 0


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
