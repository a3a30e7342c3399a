"""Recall of a block of users as numba kernels, by the rules of :mod:`consumers.retrieval.choosing`.

They let other threads run, so that a caller can serve parts of a block side by side.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Floats = NDArray[np.float64]
_SLOTS = 8


class Rules(NamedTuple):
    """Of :class:`vidtopics.settings.RecallSettings`, as kernels take them."""

    candidates: int
    recent: int
    topics: int
    floor: float
    fresh_share: float
    popular_share: float
    parent_prior: float
    only_clicked: bool
    pool: int
    scale: int


class DayArrays(NamedTuple):
    """A day's queues as kernels take them; `parent_shares` are parts of all users' clicks."""

    ranked_starts: Ints
    ranked: Codes
    fresh_starts: Ints
    draws: Codes
    parent_order: Ints
    parent_shares: Floats
    head: Codes
    head_score: Floats
    head_topics: Codes
    head_parents: Codes


@numba.njit(cache=True, nogil=True)
def _read_ring(
    user: int,
    ring_video: Codes,
    ring_clicked: NDArray[np.int8],
    shown: Ints,
    recent: int,
    clicks: Codes,
    skips: Codes,
    mark: Ints,
    stamp: int,
) -> tuple[int, int]:
    """Numbers of the user's recent clicks, each video once, and skips; newest first."""
    size = ring_video.shape[1]
    click_count, skip_count = 0, 0
    for back in range(1, min(shown[user], size) + 1):
        place = (shown[user] - back) % size
        video = ring_video[user, place]
        if ring_clicked[user, place]:
            if mark[video] != stamp and click_count < recent:
                mark[video] = stamp
                clicks[click_count] = video
                click_count += 1
        elif skip_count < recent:
            skips[skip_count] = video
            skip_count += 1
    return click_count, skip_count


@numba.njit(cache=True, nogil=True)
def _repeated(codes: Codes, video: int, slot: int) -> bool:
    """Whether a slot is unused, or an earlier one has the same topic."""
    repeated = bool(codes[video, slot] < 0)
    for earlier in range(slot):
        repeated |= codes[video, earlier] == codes[video, slot]
    return repeated


@numba.njit(cache=True, nogil=True)
def count_clicks(
    users: Ints,
    ring_video: Codes,
    ring_clicked: NDArray[np.int8],
    shown: Ints,
    topic_codes: Codes,
    parent_codes: Codes,
    recent: int,
    videos: int,
    topics: Ints,
    parents: Ints,
    clicks: Ints,
) -> None:
    """Fill the user's clicks in each topic and parent, and those that have any."""
    mark = np.zeros(videos, np.int64)
    clicked = np.empty(ring_video.shape[1], np.int32)
    skipped = np.empty(ring_video.shape[1], np.int32)
    for i in range(len(users)):
        count, _ = _read_ring(
            users[i], ring_video, ring_clicked, shown, recent, clicked, skipped, mark, i + 1
        )
        for k in range(count):
            clicks[i] += topic_codes[clicked[k]].max() >= 0
            for slot in range(topic_codes.shape[1]):
                if not _repeated(topic_codes, clicked[k], slot):
                    topics[i, topic_codes[clicked[k], slot]] += 1
                if not _repeated(parent_codes, clicked[k], slot):
                    parents[i, parent_codes[clicked[k], slot]] += 1


@numba.njit(cache=True, nogil=True)
def _by_clicks(counts: Ints, codes: Codes, clicked: Codes, count: int) -> Ints:
    """Topics by falling clicks, ties by the newest click that has it and its place there."""
    size = 0
    for topic in range(len(counts)):
        size += counts[topic] > 0
    order, seen = np.empty(size, np.int64), np.zeros(len(counts), np.bool_)
    size = 0
    for k in range(count):
        for slot in range(codes.shape[1]):
            topic = codes[clicked[k], slot]
            if topic >= 0 and not seen[topic]:
                seen[topic] = True
                place = size
                while place > 0 and counts[order[place - 1]] < counts[topic]:
                    order[place] = order[place - 1]
                    place -= 1
                order[place] = topic
                size += 1
    return order


@numba.njit(cache=True, nogil=True)
def _quotas(weights: Ints, candidates: int, floor: float) -> Ints:
    """:func:`consumers.retrieval.rules.quotas`."""
    count = len(weights)
    weight = np.maximum(weights, 1)
    least = min(round(floor * candidates), candidates // count)
    raised = np.zeros(count, np.bool_)
    share = np.empty(count)
    while True:
        rest, open_weight = candidates - least * raised.sum(), 0
        for i in range(count):
            open_weight += 0 if raised[i] else weight[i]
        is_short = False
        for i in range(count):
            share[i] = least if raised[i] else rest * weight[i] / open_weight
            is_short |= share[i] < least
        if not is_short:
            break
        for i in range(count):
            raised[i] |= share[i] < least
    whole = np.floor(share).astype(np.int64)
    extra = np.argsort(whole - share, kind="mergesort")[: candidates - whole.sum()]
    for i in extra:
        whole[i] += 1
    return whole


@numba.njit(cache=True, nogil=True)
def _fresh_count(ranked: int, pool: int, share: float) -> int:
    """:func:`consumers.retrieval.rules.fresh_count`."""
    if share == 0:
        return 0
    by_share = round(share / (1 - share) * ranked)
    shortest = int(np.ceil(min(1 / share, float(ranked + pool))))
    return min(max(by_share, shortest - ranked), pool)


@numba.njit(cache=True, nogil=True)
def _fill(
    queues: Ints,
    weights: Ints,
    limits: Ints,
    candidates: int,
    floor: float,
    share: float,
    pool_limit: int,
    day: DayArrays,
    draw: int,
    mark: Ints,
    stamp: int,
    own: Codes,
    size: int,
) -> int:
    """:func:`consumers.retrieval.rules.fill`: append to `own` behind `size`; the new size."""
    count = len(queues)
    ranked, pool = np.empty(count, np.int64), np.empty(count, np.int64)
    cursor, used_fresh = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for i in range(count):
        q = queues[i]
        ranked[i] = min(limits[i], day.ranked_starts[q + 1] - day.ranked_starts[q])
        fresh = min(pool_limit, day.fresh_starts[q + 1] - day.fresh_starts[q])
        pool[i] = _fresh_count(ranked[i], fresh, share)
    taken, source = np.empty(candidates, np.int32), np.empty(candidates, np.int64)
    counts, live = np.zeros(count, np.int64), np.arange(count)
    total = 0
    while len(live) and total < candidates:
        quota = _quotas(weights[live], candidates - total, floor)
        is_short = np.zeros(len(live), np.bool_)
        for n in range(len(live)):
            i, before = live[n], total
            q, length = queues[i], ranked[i] + pool[i]
            while total - before < quota[n] and cursor[i] < length:
                next_fresh = -1
                if used_fresh[i] < pool[i]:
                    next_fresh = (2 * used_fresh[i] + 1) * length // (2 * pool[i])
                if cursor[i] == next_fresh:
                    video = day.draws[draw, day.fresh_starts[q] + used_fresh[i]]
                    used_fresh[i] += 1
                else:
                    video = day.ranked[day.ranked_starts[q] + cursor[i] - used_fresh[i]]
                cursor[i] += 1
                if mark[video] != stamp:
                    mark[video] = stamp
                    taken[total], source[total] = video, i
                    total += 1
            counts[i] += total - before
            is_short[n] = total - before < quota[n]
        live = live[~is_short]
    rank, places = np.zeros(count, np.int64), np.empty(total)
    for k in range(total):
        rank[source[k]] += 1
        places[k] = (rank[source[k]] - 0.5) / counts[source[k]]
    for k in np.argsort(places, kind="mergesort"):
        own[size] = taken[k]
        size += 1
    return size


@numba.njit(cache=True, nogil=True)
def _parent_level(
    parents: Ints, own_order: Ints, day: DayArrays, rules: Rules
) -> tuple[Ints, Ints]:
    """:func:`consumers.retrieval.choosing.parent_level`: parents and their weights."""
    listed = np.zeros(len(parents), np.bool_)
    codes = np.empty(len(day.parent_order) + len(own_order), np.int64)
    size = 0
    for code in day.parent_order:
        codes[size], listed[code] = code, True
        size += 1
    for code in own_order:
        if not listed[code]:
            codes[size] = code
            size += 1
    codes = codes[:size]
    weights = np.empty(size, np.int64)
    for i in range(size):
        exact = parents[codes[i]] + rules.parent_prior * day.parent_shares[codes[i]]
        weights[i] = max(int(np.rint(rules.scale * exact)), 1)
    order = np.argsort(-weights, kind="mergesort")
    return codes[order], weights[order]


@numba.njit(cache=True, nogil=True)
def _mean_lift(lift: Floats, places: Codes, row: int) -> float:
    """Mean over a video's topics, added in the order in which numpy adds eight numbers."""
    x, used = np.zeros(_SLOTS), 0
    for slot in range(_SLOTS):
        x[slot] = lift[places[row, slot]]
        used += places[row, slot] < len(lift) - 1
    total = ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]))
    return float(total / max(used, 1))


@numba.njit(cache=True, nogil=True)
def _tilted(day: DayArrays, topic_lift: Floats, parent_lift: Floats) -> Ints:
    """:meth:`consumers.retrieval.tilting.Popular.tilted`: places of the head by falling score."""
    score = np.empty(len(day.head))
    for row in range(len(score)):
        lifts = _mean_lift(topic_lift, day.head_topics, row)
        lifts += _mean_lift(parent_lift, day.head_parents, row)
        score[row] = day.head_score[row] + lifts / 2
    return np.argsort(-score, kind="mergesort")


@numba.njit(cache=True, nogil=True)
def _in_turn(own: Codes, popular: Codes, share: float, mark: Ints, stamp: int, out: Codes) -> int:
    """:func:`consumers.retrieval.rules.in_turn`: fill `out`; how many there are."""
    size, i, j = 0, 0, 0
    while size < len(out) and (i < len(own) or j < len(popular)):
        own_place = np.inf if share == 1 or i == len(own) else (i + 0.5) / (1 - share)
        popular_place = np.inf if share == 0 or j == len(popular) else (j + 0.5) / share
        if i < len(own) and (own_place <= popular_place or j == len(popular)):
            video = own[i]
            i += 1
        else:
            video = popular[j]
            j += 1
        if mark[video] != stamp:
            mark[video] = stamp
            out[size] = video
            size += 1
    return size


# Inlined before it is typed: its one caller is compiled with all of it anyway.
@numba.njit(inline="always", nogil=True)
def _recall_one(
    clicked: Codes,
    click_count: int,
    seen: int,
    draw: int,
    topic_codes: Codes,
    parent_codes: Codes,
    rules: Rules,
    day: DayArrays,
    topics: Ints,
    parents: Ints,
    topic_lift: Floats,
    parent_lift: Floats,
    is_seen: Ints,
    mark: Ints,
    stamp: int,
    out: Codes,
) -> int:
    """:func:`consumers.retrieval.choosing.choose`: one user's candidates; how many there are."""
    # Typed: `_fill` would be compiled a second time for the constant 0.
    own, size = np.empty(rules.candidates, np.int32), int(np.int64(0))
    strongest = _by_clicks(topics, topic_codes, clicked, click_count)[: rules.topics]
    if len(strongest):
        limits = np.full(len(strongest), rules.candidates + seen)
        size = _fill(
            strongest,
            topics[strongest],
            limits,
            rules.candidates,
            rules.floor,
            rules.fresh_share,
            rules.pool,
            day,
            draw,
            mark,
            stamp,
            own,
            size,
        )
    missing = rules.candidates - size
    own_order = _by_clicks(parents, parent_codes, clicked, click_count)
    codes, weights = _parent_level(parents, own_order, day, rules)
    if missing and len(codes):
        limits = 2 * _quotas(weights, missing, 0.0) + (seen + size) // len(codes) + 1
        size = _fill(
            codes + len(topics),
            weights,
            limits,
            missing,
            0.0,
            rules.fresh_share,
            rules.pool,
            day,
            draw,
            mark,
            stamp,
            own,
            size,
        )
    missing = rules.candidates - size
    if missing:
        catalogue = np.full(1, len(topics) + len(parents))
        size = _fill(
            catalogue,
            np.zeros(1, np.int64),
            np.full(1, missing + seen + size),
            missing,
            0.0,
            0.0,
            rules.pool,
            day,
            draw,
            mark,
            stamp,
            own,
            size,
        )
    if rules.popular_share == 0:
        out[:size] = own[:size]
        return size
    popular, length = np.empty(len(day.head), np.int32), 0
    for place in _tilted(day, topic_lift, parent_lift):
        if is_seen[day.head[place]] != stamp:
            popular[length] = day.head[place]
            length += 1
    # A stamp of its own: what `own` took is marked, but may come earlier among the popular ones.
    return _in_turn(own[:size], popular[:length], rules.popular_share, mark, -stamp, out)


@numba.njit(cache=True, nogil=True)
def recall_block(
    users: Ints,
    ring_video: Codes,
    ring_clicked: NDArray[np.int8],
    shown: Ints,
    topic_codes: Codes,
    parent_codes: Codes,
    rules: Rules,
    day: DayArrays,
    topics: Ints,
    parents: Ints,
    topic_lift: Floats,
    parent_lift: Floats,
    out: Codes,
    counts: Ints,
) -> None:
    """Fill `out` [n, N_3] with each user's candidates, and `counts` [n] with how many there are."""
    videos = len(topic_codes)
    mark, is_seen = np.zeros(videos, np.int64), np.zeros(videos, np.int64)
    clicked = np.empty(ring_video.shape[1], np.int32)
    skipped = np.empty(ring_video.shape[1], np.int32)
    for i in range(len(users)):
        stamp, seen = i + 1, 0
        click_count, skip_count = _read_ring(
            users[i],
            ring_video,
            ring_clicked,
            shown,
            rules.recent,
            clicked,
            skipped,
            is_seen,
            stamp,
        )
        seen = click_count
        for k in range(0 if rules.only_clicked else skip_count):
            if is_seen[skipped[k]] != stamp:
                is_seen[skipped[k]] = stamp
                seen += 1
        for k in range(click_count):
            mark[clicked[k]] = stamp
        for k in range(0 if rules.only_clicked else skip_count):
            mark[skipped[k]] = stamp
        counts[i] = _recall_one(
            clicked,
            click_count,
            seen,
            users[i] % len(day.draws),
            topic_codes,
            parent_codes,
            rules,
            day,
            topics[i],
            parents[i],
            topic_lift[i],
            parent_lift[i],
            is_seen,
            mark,
            stamp,
            out[i],
        )
