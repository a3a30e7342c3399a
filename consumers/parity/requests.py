"""Requests as they were answered, against the same requests answered from their release's tables.

One log line a request holds what it takes to ask again (user, time, seed), what came out
(candidates in order, a digest of each view's features, scores) and what events it saw, which no
release has. A replay goes through the same recall and the same model over :class:`ReleaseStore`,
from the release that should have been live by then, with the logged events folded in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import Any

import numpy as np

from consumers.live import LivePart, LiveRules, LiveStore
from consumers.parity.release_store import ReleaseStore
from consumers.parity.seen_store import SeenStore
from consumers.recommendation import Answer, Scorer, answer
from consumers.retrieval import Recall, Store
from vidtopics.online import Features
from vidtopics.settings import Settings

TOLERANCE = 1e-5
"""Of a score."""
CLOCK = timedelta(seconds=60)
"""By how much the request's own time may be off the log's."""


@dataclass(frozen=True)
class Logged:
    """One answered request, as a line of JSON.

    Attributes:
        logged_us: the log's clock; the rest is what the service used and gave.
        features: a digest of each view.
        live: the events that it saw (:class:`consumers.live.LivePart`); None: the release alone.
    """

    logged_us: int
    user_id: str
    at_us: int
    seed: int
    candidates: Sequence[str]
    features: Mapping[str, str]
    scores: Sequence[float]
    live: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, request: Answer, logged_us: int) -> Logged:
        """What is logged of an answer."""
        candidates = request.candidates
        return cls(
            logged_us,
            candidates.user_id,
            candidates.at_us,
            candidates.seed,
            candidates.video_ids,
            {view: digest(rows) for view, rows in request.features.items()},
            [float(score) for score in request.scores],
            request.live.to_json() if request.live else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def digest(features: Features) -> str:
    """A hash of status and values of all rows, whatever the times at which they were written."""
    parts = [features.status.tobytes()]
    for name in sorted(features.columns):
        values = features[name]
        plain = values.tolist() if values.dtype == object else None
        texts = repr([None if v is None else np.asarray(v).tolist() for v in plain or ()])
        parts += [name.encode(), values.tobytes() if plain is None else texts.encode()]
    return blake2b(b"\0".join(parts), digest_size=8).hexdigest()


def replay(
    logged: Sequence[Logged],
    store_at: Callable[[int], ReleaseStore],
    ranker: Scorer,
    settings: Settings,
) -> dict[int, list[str]]:
    """What differs, by place in the log; requests whose replay is equal are left out.

    Args:
        logged: requests.
        store_at: the release that was live by the log's time (`loads`), as a store.
        ranker: the model that should have been serving.
        settings: of the home.
    """
    differing = {
        place: differences(request, store_at(request.logged_us), ranker, settings)
        for place, request in enumerate(logged)
    }
    return {place: lines for place, lines in differing.items() if lines}


def differences(
    logged: Logged, release: ReleaseStore, ranker: Scorer, settings: Settings
) -> list[str]:
    """Of one request, in words: clock, candidates, features of which view, scores."""
    store: Store = release
    if logged.live is not None:
        seen = SeenStore(release, LivePart.from_json(logged.live))
        store = LiveStore(seen, LiveRules.of(settings))
    recall = Recall(store, settings.recall)
    again = answer(recall, ranker, logged.user_id, at_us=logged.at_us, seed=logged.seed)
    lines = []
    off = abs(logged.at_us - logged.logged_us) / 1e6
    if off > CLOCK.total_seconds():
        lines.append(f"clock: the service's was {off:,.0f} s off the log's")
    ids = again.candidates.video_ids
    if list(logged.candidates) != ids:
        common = len(set(ids) & set(logged.candidates))
        lines.append(f"candidates: {common} of {len(ids)} were served, or their order differs")
        return lines
    for view, rows in again.features.items():
        if logged.features.get(view) != digest(rows):
            lines.append(f"features: {view}")
    worst = float(np.abs(again.scores - np.array(logged.scores, np.float32)).max(initial=0))
    if worst > TOLERANCE:
        lines.append(f"scores: up to {worst:.2g} apart")
    return lines
