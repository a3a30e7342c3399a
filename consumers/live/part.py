"""What a request saw beside its release: the part of an answer that no table has."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from consumers.live.events import UserEvents, events_of
from vidtopics.layout.live import UserState, UserValue

NOTHING = UserState.parse(None)
NO_EVENTS = events_of(NOTHING)


@dataclass(frozen=True)
class LivePart:
    """Live state of one user and of the candidates, of the generations of one release.

    Attributes:
        releases: by view the release whose generation goes with its values; a release that leaves
            a view as it is leaves it with the generation that it had.
        since_us: by release the as-of time of its generation, in microseconds.
        states: by release the user's value as it lies in Redis; one that isn't there is none. Where
            one is damaged, nothing counts of the user's events.
        counts: by video exposures and clicks since the release, of those that have any.
        queues: the heads of queues that were read, by name, where events have moved them.
    """

    releases: Mapping[str, int]
    since_us: Mapping[int, int]
    states: Mapping[int, UserValue] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    queues: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def state(self, view: str) -> UserState:
        """What the user did since the release of a view's values."""
        return self._states.get(self.releases.get(view, -1), NOTHING)

    def events(self, view: str) -> UserEvents:
        """The events of that state."""
        return self._events.get(self.releases.get(view, -1), NO_EVENTS)

    @cached_property
    def is_damaged(self) -> bool:
        """Whether a value of the user can't be parsed: then the user's rows are the release's."""
        return any(value.is_damaged for value in self.states.values())

    @property
    def _states(self) -> dict[int, UserState]:
        if self.is_damaged:
            return {}
        return {release: value.state for release, value in self.states.items()}

    @cached_property
    def _events(self) -> dict[int, UserEvents]:
        return {release: events_of(state) for release, state in self._states.items()}

    def is_open(self, view: str) -> bool:
        """Whether events of a view are live."""
        return self.view_since_us(view) is not None

    def view_since_us(self, view: str) -> int | None:
        """From when on a view's events are; None where its generation isn't open."""
        return self.since_us.get(self.releases.get(view, -1))

    def report(self) -> dict[str, Any]:
        """Plain values for an answer: since when (Unix microseconds), and the user's events.

        Of several generations those of the earliest, which has the events of all; none where a
        value is damaged, which stands beside them.
        """
        counts = [(state.exposures, state.clicks) for state in self._states.values()]
        exposures, clicks = max(counts, default=(0, 0))
        return {
            "since_us": min(self.since_us.values()),
            "exposures": exposures,
            "clicks": clicks,
            "damaged": self.is_damaged,
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values for a log.

        >>> part = LivePart({"user_topics": 3}, {3: 7}, {3: UserValue(b"ab")}, {"v": (2, 1)})
        >>> part.to_json()["states"], LivePart.from_json(part.to_json()) == part
        ({'3': 'YWI='}, True)
        """
        return {
            "releases": dict(self.releases),
            "since_us": {str(release): us for release, us in self.since_us.items()},
            "states": {str(r): b64encode(value.raw).decode() for r, value in self.states.items()},
            "counts": {video: list(pair) for video, pair in self.counts.items()},
            "queues": {name: list(videos) for name, videos in self.queues.items()},
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """From :meth:`to_json`; KeyError, TypeError or ValueError where it isn't such."""
        return cls(
            {str(view): int(release) for view, release in plain["releases"].items()},
            {int(release): int(us) for release, us in plain["since_us"].items()},
            {
                int(r): UserValue(b64decode(value, validate=True))
                for r, value in plain["states"].items()
            },
            {str(v): (int(shown), int(clicked)) for v, (shown, clicked) in plain["counts"].items()},
            {str(name): [str(v) for v in videos] for name, videos in plain["queues"].items()},
        )
