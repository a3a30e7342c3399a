"""What serving may know of a world: counts of videos and users, never a latent.

Videos' counts are those of the last midnight, as the daily jobs make them; what users were shown
and clicked is known after each round, as a stream of events gives it (docs/adr/0050).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from vidtopics.errors import TableError, explain
from vidtopics.settings import Settings
from vidtopics.simulation.counts import UNIT, Events, UserRows, VideoCounts, record_responses

if TYPE_CHECKING:
    from vidtopics.simulation.loop import Batch
    from vidtopics.simulation.world import World

FILE = "platform.npz"
_MICROSECOND = timedelta(microseconds=1)


class Rules(NamedTuple):
    """Half-lives in microseconds and the weight of the prior, from a home's settings."""

    video_half_life: float
    user_half_life: float
    prior_exposures: float


class Platform:
    """Counts of videos and users, and which videos are live.

    Attributes:
        published_us: int64[V].
        live: int32[n], videos that were published before the day's midnight.
        midnight_us: when the day began.
        known: videos' counts as of that midnight.
        rate: float64[V], their smoothed click rates then (:func:`vidtopics.rates.smoothed_ctr`).
        users: what is known of users now.
    """

    def __init__(self, published_us: NDArray[np.int64], users: UserRows, rules: Rules) -> None:
        videos = len(published_us)
        zeros = np.zeros(videos, np.int64)
        self.published_us, self.users, self.rules = published_us, users, rules
        self.midnight_us = 0
        self.live = np.empty(0, np.int32)
        self.known = VideoCounts(zeros, zeros, zeros.astype(float), zeros.astype(float), zeros)
        self.rate = np.zeros(videos)
        self._committed = Events.empty(videos)
        self._pending = Events.empty(videos)

    @classmethod
    def new(cls, world: World, settings: Settings | None = None) -> Platform:
        """A world's platform before its first day; half-lives and prior as `settings` have them.

        >>> from vidtopics.settings import SimulationSettings
        >>> from vidtopics.simulation import World
        >>> platform = Platform.new(World.build(SimulationSettings(users=10, videos=100), seed=7))
        >>> platform.users.video.shape, len(platform.live)
        ((10, 128), 0)
        """
        settings = settings or Settings()
        statistics = settings.statistics
        rules = Rules(
            statistics.half_life / _MICROSECOND,
            settings.users.half_life / _MICROSECOND,
            statistics.prior_exposures,
        )
        return cls(world.items.published, UserRows.empty(len(world.users.bias)), rules)

    @property
    def exposures(self) -> NDArray[np.int64]:
        """int64[V], of all committed rounds."""
        total: NDArray[np.int64] = self.known.exposures + self._committed.exposures.sum(axis=0)
        return total

    @property
    def clicks(self) -> NDArray[np.int64]:
        """int64[V], likewise."""
        total: NDArray[np.int64] = self.known.clicks + self._committed.clicks.sum(axis=0)
        return total

    def open_day(self, midnight_us: int) -> None:
        """Close the day before: what happened before `midnight_us` becomes known of videos.

        Later events, of sessions that went on past midnight, wait for the next one, as for the
        daily jobs.
        """
        if self.midnight_us:
            self._close()
        self.midnight_us = midnight_us
        self.live = np.flatnonzero(self.published_us < midnight_us).astype(np.int32)
        exposures, clicks = self.known.exposures.sum(), self.known.clicks.sum()
        prior = self.rules.prior_exposures
        mean = clicks / exposures if exposures else 0.0
        self.rate = (self.known.clicks + prior * mean) / (self.known.exposures + prior)

    def record(self, batch: Batch) -> None:
        """Take in one block of a round.

        Rows of its users change at once, as nobody else reads them in this round; counts of videos
        wait for :meth:`commit`.
        """
        answers = batch.responses
        record_responses(
            batch.users,
            batch.slates,
            answers.shown_at,
            answers.clicked,
            answers.clicked_at,
            self.rate,
            self.midnight_us,
            *self.rules[:2],
            self.users,
            self._pending,
        )

    def commit(self) -> None:
        """End a round: its counts join those of the day."""
        for total, new in zip(self._committed[:-1], self._pending[:-1], strict=True):
            np.add(total, new, out=total)
        np.maximum(self._committed.last_us, self._pending.last_us, out=self._committed.last_us)
        for new in self._pending:
            new[:] = 0

    def copy(self) -> Platform:
        """A platform of its own in the same state."""
        return self._of({name: array.copy() for name, array in self._arrays().items()})

    def save(self, folder: Path) -> None:
        """Write `platform.npz`, whole or not at all; what was there is replaced.

        Raises:
            OSError: the folder can't be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{os.getpid()}-{secrets.token_hex(4)}.part"
        try:
            with partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **self._arrays())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(folder / FILE)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path) -> Platform:
        """The platform that :meth:`save` wrote; TableError where there is none, or another file."""
        path = folder / FILE
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls._of(dict(file))
        except Exception as error:  # whatever odd bytes lead the reader to
            missing = isinstance(error, FileNotFoundError)
            raise TableError(
                explain(
                    str(path),
                    expected="a saved platform",
                    found="none" if missing else f"{type(error).__name__} {error}",
                    mend="start the experiment anew",
                )
            ) from None

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """All that its state is; rounds that weren't committed are lost."""
        return {
            "published_us": self.published_us,
            "midnight_us": np.array(self.midnight_us),
            "live": self.live,
            "rate": self.rate,
            "rules": np.array(self.rules),
            **{f"known_{name}": array for name, array in self.known._asdict().items()},
            **{f"event_{name}": array for name, array in self._committed._asdict().items()},
            **{f"user_{name}": array for name, array in self.users._asdict().items()},
        }

    @classmethod
    def _of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        users = UserRows(*(arrays[f"user_{name}"] for name in UserRows._fields))
        platform = cls(arrays["published_us"], users, Rules(*arrays["rules"].tolist()))
        platform.midnight_us = int(arrays["midnight_us"])
        platform.live, platform.rate = arrays["live"], arrays["rate"]
        platform.known = VideoCounts(*(arrays[f"known_{name}"] for name in VideoCounts._fields))
        platform._committed = Events(*(arrays[f"event_{name}"] for name in Events._fields))
        return platform

    def _close(self) -> None:
        """Add the day's events to what is known; the later ones become those of the new day.

        Decayed sums hold as of a video's last event (:mod:`vidtopics.jobs.decayed_sums`).
        """
        half_life, known = self.rules.video_half_life, self.known
        exposures, clicks, weighted_exposures, weighted_clicks, last = (
            part[0] for part in self._committed
        )
        has_events = exposures + clicks > 0
        at = np.where(has_events, last, known.decayed_at)
        of_base = 0.5 ** ((at - known.decayed_at) / half_life)
        of_day = 0.5 ** (np.where(has_events, at - self.midnight_us, 0) / half_life) / UNIT
        self.known = VideoCounts(
            known.exposures + exposures,
            known.clicks + clicks,
            known.decayed_exposures * of_base + weighted_exposures * of_day,
            known.decayed_clicks * of_base + weighted_clicks * of_day,
            at,
        )
        for part in self._committed:
            part[0], part[1] = part[1], 0
