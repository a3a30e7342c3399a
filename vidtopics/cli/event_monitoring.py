"""How `vidtopics events apply` is watched: what failed, its metrics, `/live` and `/ready`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vidtopics.cli import rounds

if TYPE_CHECKING:
    from vidtopics.events.applying import Applier
    from vidtopics.events.figures import Figures
    from vidtopics.events.generations import Generation
    from vidtopics.events.metrics import EventMetrics, Work
    from vidtopics.ingest.landing import Landed
    from vidtopics.settings import OnlineSettings

RETRY_S = 1.0
LOOK_S = 5.0
"""Between two looks at Redis for metrics and `/ready`."""

NOT_APPLIED, NOT_LOOKED = "nothing has been applied yet", "Redis has not been looked at yet"


class Watch:
    """What rounds of applying and landing came to, for the log, for metrics and for `/ready`.

    Attributes:
        generations: those that readers go by, as the last round saw them.
        changed: set once they are others than before.

    Args:
        metrics: None where nobody asks for any.
    """

    def __init__(self, metrics: EventMetrics | None = None) -> None:
        self.generations: Sequence[Generation] = ()
        self.changed = threading.Event()
        self._metrics = metrics
        self._causes = {"applying": NOT_APPLIED, "look": NOT_LOOKED} if metrics else {}
        self._figures: Figures | None = None

    @contextmanager
    def passing(self, work: Work, ended: threading.Event | None = None) -> Iterator[None]:
        """Around a round: a failing Redis or table is told of, and the round is done again later.

        Args:
            work: its name.
            ended: waited for a second after a failure.
        """
        from redis.exceptions import RedisError

        from vidtopics.errors import VidtopicsError

        try:
            yield
        except (RedisError, VidtopicsError, OSError) as error:
            typer.echo(f"{work} failed, and is tried again: {error}", err=True)
            self._causes[work] = f"{work} failed: {error}"
            if self._metrics:
                self._metrics.ended(work, error)
            if ended is not None:
                ended.wait(RETRY_S)
        else:
            self._causes.pop(work, None)
            if self._metrics:
                self._metrics.ended(work)

    def follow(self, generations: Sequence[Generation]) -> None:
        """Take the generations of a round."""
        if list(generations) != list(self.generations):
            self.generations = generations
            self.changed.set()

    def applied(self, entries: int) -> None:
        """Count entries that were applied."""
        if self._metrics:
            self._metrics.applied(entries)

    def landed(self, landed: Landed) -> None:
        """Count what a part of a landing brought."""
        if self._metrics:
            rows = {"impressions": landed.impressions, "clicks": landed.clicks}
            self._metrics.landed(rows, landed.refused, landed.held)

    def look(self, home: Path, embedded: bool, applier: Applier) -> None:
        """Take the figures of Redis, over a connection that waits briefly; it never raises."""
        from vidtopics.events import figures

        try:
            with rounds.probed(home, embedded) as connection:
                releases = [generation.release for generation in self.generations]
                self._figures = figures.look(connection, applier.keys, releases)
            self._causes.pop("look", None)
        except Exception as error:  # whatever is wrong with Redis, it is a reason and not an end
            self._figures = None
            self._causes["look"] = str(error)
        if self._metrics:
            self._metrics.observe(self._figures)

    def not_ready(self, settings: OnlineSettings) -> Iterator[str]:
        """Why readers shouldn't count on events being seen."""
        yield from dict(self._causes).values()
        limit = settings.max_event_lag.total_seconds()
        for (release, part), lag_s in (self._figures.lag_s if self._figures else {}).items():
            if lag_s > limit:
                yield (
                    f"{part}s of release {release} are behind by {lag_s:.0f} s,"
                    f" above online.max_event_lag of {limit:.0f} s"
                )


@contextmanager
def watched(
    home: Path,
    embedded: bool,
    settings: OnlineSettings,
    applier: Applier,
    address: tuple[str, int | None],
) -> Iterator[Watch]:
    """Answer monitoring within the block if there is a port for it."""
    host, port = address
    if port is None:
        yield Watch()
        return
    from prometheus_client import generate_latest

    from vidtopics.events.metrics import EventMetrics

    metrics, ended = EventMetrics(), threading.Event()
    watch = Watch(metrics)

    def look() -> None:
        while not ended.is_set():
            watch.changed.clear()
            watch.look(home, embedded, applier)
            watch.changed.wait(LOOK_S)

    looking = threading.Thread(target=look, name="looking", daemon=True)
    with ExitStack() as stack:
        pages = partial(generate_latest, metrics.registry)
        stack.enter_context(
            rounds.answering_on(host, port, partial(watch.not_ready, settings), pages)
        )
        looking.start()
        stack.callback(watch.changed.set)
        stack.callback(ended.set)  # the last in is the first out
        yield watch
