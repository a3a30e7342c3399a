"""Recall by topics against its peers: what users clicked after a cut, from what was known at it.

Windows follow each other over the last half of the log. At the start of each one, queues are made
from the counts, topics and catalogue of that moment by the job's own producer, and read by recall's
own rules; peers learn from the same past. All live videos are candidates, no negative is sampled.
What the peers and popularity may choose (neighbours, factors, half-life) is chosen on the window
before the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from consumers.retrieval.choosing import Popularity, choose
from consumers.retrieval.rules import Reason, count_topics
from consumers.retrieval.tilting import Popular, Taste
from producers.queues.rules import is_disliked, queues
from vidtopics.contracts import CATALOGUE, PARENT, TOPIC_SLOTS, VIDEO_CATALOG, VIDEO_TOPICS
from vidtopics.errors import TableError, explain
from vidtopics.evaluate import recall_peers as peers
from vidtopics.evaluate.recall_log import Known, Log
from vidtopics.evaluate.recall_metrics import coverage, hit_rate, ndcg, novelty, over_users
from vidtopics.jobs.inputs import live_videos
from vidtopics.jobs.job import Run
from vidtopics.jobs.queue_videos import queue_videos
from vidtopics.layout import queue_name
from vidtopics.settings import RecallSettings, Settings
from vidtopics.tables import Tables
from vidtopics.times import moment

SHORT = 50
"""Figures are at this length and at N_3."""
RECALL, TOPICS = "recall", "topics"
"""As it is served, and without its share of the catalogue's popular videos."""
POPULAR, RANDOM, KNN, ALS = "popular", "random", "item-kNN", "ALS"
PAIRS = (
    *((RECALL, other) for other in (TOPICS, POPULAR, KNN, ALS)),
    *((TOPICS, peer) for peer in (RANDOM, POPULAR, KNN, ALS)),
    *((f"topics + {peer}", part) for peer in (KNN, ALS) for part in (TOPICS, peer)),
)
LEAST_REQUESTS = 20


@dataclass(frozen=True, eq=False)
class Moment:
    """All that recall may know at a cut.

    Attributes:
        past: counts, histories and who is live.
        topics, parents: int64[V, 8] of each video, -1 in unused slots.
        lists: the queues by name.
        popularity: parent topics by falling clicks on their queues.
        popular: the catalogue's queue with its topics.
        is_fresh: bool[V], young and with fewer than tau_1 exposures.
        removed: how many live videos each rule keeps from the queues of topics.
    """

    past: peers.Past
    topics: NDArray[np.int64]
    parents: NDArray[np.int64]
    lists: Mapping[str, list[str]]
    popularity: Popularity
    popular: Popular
    is_fresh: NDArray[np.bool_]
    removed: Mapping[str, int]


def evaluate(
    tables: Tables,
    settings: Settings,
    *,
    windows: int,
    users: int,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """The report as plain values.

    Args:
        tables: of a home in which topics were assigned before the last half of the log.
        settings: of the home.
        windows: into which the last half of the impressions is cut.
        users: drawn of those who click in a window.
        progress: told of each window.

    Raises:
        TableError: too few users click something new after a cut at which topics were known.
    """
    catalogue = tables.read(VIDEO_CATALOG, columns=["video_id"])["video_id"]
    log = Log.read(tables, pc.unique(catalogue).sort())
    cuts = _cuts(tables, log, windows)
    choice = _choose_peers(tables, settings, log, cuts[:2], users, progress)
    rows: list[_Row] = []
    for number, (start, end) in enumerate(pairwise(cuts[1:]), 1):
        progress(f"window {number} of {windows}")
        at = _moment(tables, settings, log, start)
        rows += _requests(at, settings, end, users, choice)
    if len(rows) < LEAST_REQUESTS:
        raise TableError(
            explain(
                "evaluate recall",
                expected=f"at least {LEAST_REQUESTS} users with new clicks after a cut",
                found=f"{len(rows)} in {windows} windows from {moment(cuts[1])} on",
                mend="let topics be assigned earlier (`vidtopics run --as-of`), or ingest a longer"
                " log",
            )
        )
    return {
        "windows": [{"from": moment(a), "to": moment(b)} for a, b in pairwise(cuts[1:])],
        "candidates": settings.recall.candidates,
        "chosen": choice,
        "rules": dict(at.removed),
        **_report(rows, settings.recall.candidates, settings.seed),
    }


@dataclass(frozen=True, eq=False)
class _Row:
    """One request: a user at a cut, and the lists of all methods."""

    user: int
    history: int
    lists: Mapping[str, list[int]]
    clicked: frozenset[int]
    share: NDArray[np.float64]
    is_fresh: NDArray[np.bool_]
    reasons: Sequence[Reason]
    possible: int


def _cuts(tables: Tables, log: Log, windows: int) -> list[int]:
    """The start of the window of choice, of each window, and the end, in microseconds."""
    first = tables.read(VIDEO_TOPICS, columns=["created_timestamp"])["created_timestamp"]
    earliest = pc.min(first.cast(pa.int64())).as_py() or 0
    begin = max(len(log.shown_us) // 2, int(np.searchsorted(log.shown_us, earliest)))
    size = (len(log.shown_us) - begin) // (windows + 1)
    if size < 1:
        raise TableError(
            explain(
                "evaluate recall",
                expected=f"impressions in {windows} windows after the first topics were known",
                found=f"{len(log.shown_us) - begin} after {moment(earliest)}",
                mend="run the jobs as of an earlier time (`vidtopics run --as-of`)",
            )
        )
    places = [begin + size * i for i in range(windows + 1)]
    return [*(int(log.shown_us[p]) for p in places), int(log.shown_us[-1]) + 1]


def _moment(tables: Tables, settings: Settings, log: Log, at_us: int) -> Moment:
    run = Run.backfill(tables, settings, at_us)
    known, live = Known.of(log, at_us), live_videos(run, "published_at")
    names = ["video_id", "topic_ids", "parent_topic_ids", "topic_epoch"]
    assigned = tables.as_of(VIDEO_TOPICS, at_us, at_us, columns=names)
    videos, _ = queue_videos(
        live,
        assigned,
        known.statistics(settings.statistics.half_life),
        settings.queues,
        settings.statistics,
        as_of_us=at_us,
    )
    place = pc.index_in(videos["video_id"], value_set=log.video_ids).to_numpy()
    is_live, is_fresh = np.zeros((2, len(log.video_ids)), bool)
    is_live[place] = True
    is_judged = known.exposures >= settings.queues.min_exposures
    is_fresh[place] = videos["young"].to_numpy()
    is_fresh &= ~is_judged
    lists, popularity, clicks_of = _lists(queues(videos, settings.queues, settings.seed))
    disliked = is_live & is_disliked(known.clicks, known.exposures, settings.queues)
    removed = {
        "live videos": int(is_live.sum()),
        "below tau_1 and not fresh": int((is_live & ~is_judged & ~is_fresh).sum()),
        "fresh": int(is_fresh.sum()),
        "below tau_2": int(disliked.sum()),
    }
    slots = [_slots(videos[name], place, len(is_live)) for name in names[1:3]]
    past = peers.Past(known, is_live, settings.seed)
    head = lists.get(queue_name(CATALOGUE, 0), [])
    rows = pc.index_in(pa.array(head, pa.string()), value_set=log.video_ids).to_numpy()
    popular = Popular.of(head, clicks_of, slots[0][rows], slots[1][rows])
    return Moment(past, slots[0], slots[1], lists, popularity, popular, is_fresh, removed)


def _slots(lists: pa.ChunkedArray, place: NDArray[np.int64], videos: int) -> NDArray[np.int64]:
    """int64[V, 8] of lists of up to 8 numbers."""
    slots = np.full((videos, TOPIC_SLOTS), -1)
    of, values = pc.list_parent_indices(lists).to_numpy(), pc.list_flatten(lists).to_numpy()
    first = np.searchsorted(of, np.arange(len(place)))
    slots[place[of], np.arange(len(of)) - first[of]] = values
    return slots


def _lists(
    parts: Iterator[pa.Table],
) -> tuple[dict[str, list[str]], Popularity, NDArray[np.float64]]:
    """Queues by name, as they lie in Redis; parents by falling clicks; the catalogue's clicks."""
    lists: dict[str, list[str]] = {}
    popular = np.zeros(0)
    clicks: dict[int, float] = {}
    for part in parts:
        if not len(part):
            continue
        level, topic = part["queue_level"][0].as_py(), part["topic_id"][0].as_py()
        for fresh in (False, True):
            videos = part.filter(pc.equal(part["fresh"], fresh))["video_id"].to_pylist()
            if videos:
                lists[queue_name(level, topic, fresh=fresh)] = videos
        if level == CATALOGUE:
            popular = part["queue_clicks"].to_numpy()
        if level == PARENT:
            clicks[topic] = pc.sum(part["queue_clicks"]).as_py()
    parents = sorted(clicks, key=lambda topic: (-clicks[topic], topic))
    return lists, Popularity(parents, [clicks[topic] for topic in parents]), popular


def _choose_peers(
    tables: Tables,
    settings: Settings,
    log: Log,
    window: Sequence[int],
    users: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """What popularity and the peers do best with at N_3 on the window before the first."""
    progress("choosing what the peers do best with")
    number = settings.recall.candidates
    at = _moment(tables, settings, log, window[0])
    requests = [
        (u, c) for u, c, _ in _active(at, window[1], users) if at.past.known.ever_clicked(u)
    ]

    def score(recommend: peers.Peer) -> float:
        rates = [
            hit_rate(recommend(u, _seen(at, settings, u), number), clicked, number)
            for u, clicked in requests
        ]
        return float(np.mean(rates)) if rates else 0.0

    share = max(peers.SHARES, key=lambda s: score(peers.popular(at.past, s)))
    rest = peers.popular(at.past, share)
    knn = max(peers.NEIGHBOURS, key=lambda c: score(peers.item_knn(at.past, rest, *c)))
    factors = max(peers.FACTORS, key=lambda c: score(peers.als(at.past, rest, *c)))
    return {POPULAR: share, KNN: list(knn), ALS: list(factors)}


def _active(
    at: Moment, end_us: int, users: int
) -> Iterator[tuple[int, frozenset[int], NDArray[np.int64]]]:
    """Users drawn of those who click live videos for the first time in a window, and these."""
    log, known = at.past.known.log, at.past.known
    rows = np.flatnonzero((log.click_us >= known.at_us) & (log.click_us < end_us))
    rows = rows[at.past.is_live[log.video[rows]]]
    active = np.unique(log.user[rows])
    drawn = np.random.default_rng([at.past.seed, known.at_us]).permutation(active)[:users]
    for user in np.sort(drawn).tolist():
        own = rows[log.user[rows] == user]
        clicked = frozenset(log.video[own].tolist()) - known.ever_clicked(user)
        if clicked:
            yield user, clicked, own


def _seen(at: Moment, settings: Settings, user: int) -> set[int]:
    """What recall leaves out: the user's recent clicks and, by default, recent skips."""
    number, known = settings.recall.recent_clicks, at.past.known
    clicks = known.recent(user, number, clicked=True)
    is_wide = settings.recall.leave_out == "seen"
    return {*clicks, *(known.recent(user, number, clicked=False) if is_wide else ())}


def _requests(
    at: Moment, settings: Settings, end_us: int, users: int, choice: Mapping[str, Any]
) -> Iterator[_Row]:
    past, known = at.past, at.past.known
    popular = peers.popular(past, choice[POPULAR])
    methods = {
        RANDOM: peers.random(past),
        POPULAR: popular,
        KNN: peers.item_knn(past, popular, *choice[KNN]),
        ALS: peers.als(past, popular, *choice[ALS]),
    }
    clickers = max(len(np.unique(known.log.user[known.rows])), 1)
    share = np.maximum(past.clicks.sum(axis=0).A1, 1) / clickers
    live, number = int(past.is_live.sum()), settings.recall.candidates
    for user, clicked, _ in _active(at, end_us, users):
        seen = _seen(at, settings, user)
        reasons = recall(at, settings.recall, user, seen)
        topics = settings.recall.model_copy(update={"popular_share": 0.0})
        lists = {RECALL: list(reasons), TOPICS: list(recall(at, topics, user, seen))}
        lists |= {name: peer(user, seen, number) for name, peer in methods.items()}
        lists |= {
            f"topics + {name}": peers.union(lists[TOPICS], lists[name], number)
            for name in (KNN, ALS)
        }
        history = len(known.ever_clicked(user))
        possible = min(number, live - int(past.is_live[list(seen)].sum()))
        given = list(reasons.values())
        yield _Row(user, history, lists, clicked, share, at.is_fresh, given, possible)


def recall(at: Moment, settings: RecallSettings, user: int, seen: set[int]) -> dict[int, Reason]:
    """Candidates by recall's own rules from the queues of the moment."""
    log, known = at.past.known.log, at.past.known
    clicks = known.recent(user, settings.recent_clicks, clicked=True)
    topics = at.topics[clicks]
    with_topics = int((topics >= 0).any(1).sum())
    taste = Taste(count_topics(topics), count_topics(at.parents[clicks]), with_topics)
    names = set(log.video_ids.take(pa.array(list(seen), pa.int64())).to_pylist())

    def read(queues: Sequence[str], limits: Sequence[int]) -> list[list[str]]:
        pairs = zip(queues, limits, strict=True)
        return [at.lists.get(name, [])[:limit] for name, limit in pairs]

    seed, popular = at.past.seed + user, at.popular if settings.popular_share else None
    reasons = choose(read, taste, at.popularity, names, settings, seed, popular)
    places = pc.index_in(pa.array(list(reasons), pa.string()), value_set=log.video_ids)
    return dict(zip(places.to_pylist(), reasons.values(), strict=True))


def _report(rows: Sequence[_Row], number: int, seed: int) -> dict[str, Any]:
    methods, lengths = list(rows[0].lists), (SHORT, number)
    figures = [f"{figure}_{k}" for k in lengths for figure in ("hit_rate", "ndcg")]
    users, history = (
        np.array([getattr(row, name) for row in rows]) for name in ("user", "history")
    )
    values = {
        name: np.array(
            [
                [
                    figure(row.lists[name], row.clicked, k)
                    for k in lengths
                    for figure in (hit_rate, ndcg)
                ]
                for row in rows
            ]
        )
        for name in methods
    }
    is_known = history > 0
    middle = np.median(history[is_known]) if is_known.any() else 0
    slices = {
        "all with history": is_known,
        "short history": is_known & (history < middle),
        "long history": is_known & (history >= middle),
        "new users": ~is_known,
    }

    def means(columns: NDArray[np.float64], members: NDArray[np.bool_]) -> list[dict[str, float]]:
        return [i._asdict() for i in over_users(columns[members], users[members], seed)]

    known = slices["all with history"]
    return {
        "requests": len(rows),
        "users": len(np.unique(users)),
        "median_history": float(middle),
        "methods": {
            name: dict(zip(figures, means(values[name], known), strict=True))
            | _of_lists([row for row, is_in in zip(rows, known, strict=True) if is_in], name)
            for name in methods
        },
        "differences": {
            f"{a} - {b}": dict(zip(figures, means(values[a] - values[b], known), strict=True))
            for a, b in PAIRS
        },
        "slices": {
            name: {
                "requests": int(members.sum()),
                **{m: means(values[m][:, 2:3], members)[0] for m in methods},
            }
            for name, members in slices.items()
            if members.any()
        },
        "levels": _levels(rows),
        "filled": float(np.mean([len(row.reasons) >= row.possible for row in rows])),
    }


def _of_lists(rows: Sequence[_Row], name: str) -> dict[str, float]:
    """Figures of the lists alone: coverage of the catalogue, novelty, share of fresh videos."""
    ranked = [row.lists[name] for row in rows]
    fresh = [float(row.is_fresh[r].mean()) for row, r in zip(rows, ranked, strict=True) if r]
    return {
        "coverage": coverage(ranked, len(rows[0].is_fresh)),
        "novelty": float(np.mean([novelty(row.lists[name][:SHORT], row.share) for row in rows])),
        "fresh": float(np.mean(fresh)) if fresh else 0.0,
    }


def _levels(rows: Sequence[_Row]) -> dict[str, float]:
    """Mean number of candidates by what gave them."""
    names = [("fresh" if r.fresh else r.level) for row in rows for r in row.reasons]
    return {name: names.count(name) / len(rows) for name in sorted(set(names))}
