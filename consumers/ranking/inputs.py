"""What ranking models read: one encoding for training and for serving.

`encode` turns a frame into :class:`~consumers.ranking.examples.Examples`;
:mod:`consumers.ranking.requests` makes the same rows and codes of a request and goes through
:func:`encode_rows` as well.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numba
import numpy as np
from numpy.typing import NDArray

from consumers.encoding.numbers import TIERS, numbers, topic_numbers
from consumers.encoding.topics import TopicRows
from consumers.encoding.vocabulary import Vocabulary
from consumers.ranking.examples import Codes, Examples, Floats, Ints
from consumers.training.frame import Frame, State
from consumers.training.log import Log, Windows
from consumers.training.versions import Versions, row_at


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
