"""What requests are answered from: one release with its ranker, exchanged as one.

A request takes :attr:`Watch.current` once and keeps it: its reads are of that release, whatever
goes live meanwhile, and its candidates go to the ranker that came with them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from threading import Event, Lock, Thread
from typing import TypeVar, cast

from consumers.recommendation import gather
from consumers.retrieval import Recall
from consumers.serving.event_lag import noted_lag_s
from consumers.serving.labels import Labels
from consumers.serving.models import RankingModel, RankingModels
from consumers.serving.neighbours import Neighbours
from consumers.serving.pools import DaemonPool
from consumers.serving.words import in_words
from vidtopics.errors import StoreError, VidtopicsError, explain
from vidtopics.layout import Directory, place
from vidtopics.online import OnlineClient
from vidtopics.settings import RecallSettings, Space

T = TypeVar("T")

NOT_LOOKED = "the live release has not been looked for yet"
PROBE_USER = ""
"""Whose request warms a release up; ids of users aren't empty."""

WARM_S = 60.0
"""That the first use of a model may take."""
END_S = 5.0
"""That a look may take on at the end, when nobody needs it any more."""
BEHIND = "events wait for longer than online.max_event_lag: see that `vidtopics events apply` runs"


@dataclass(frozen=True, eq=False)
class Live:
    """A release, and all that a request for it needs.

    Attributes:
        release: its number in the home.
        store: a snapshot of it.
        recall: over that snapshot; it keeps the release's popular videos.
        model: the ranker that belongs to it; None: there is none.
        labels: of its topics; None: the tables can't be read.
        neighbours: vectors of the spaces in `serving.similar`; None: the tables can't be read.
    """

    release: int
    store: OnlineClient
    recall: Recall
    model: RankingModel | None
    labels: Labels | None
    neighbours: Mapping[Space, Neighbours] | None


class Watch:
    """Looks which release is live and exchanges :attr:`current` once the next one is warm.

    Attributes:
        current: what requests are answered from; None: nothing yet.
        problems: why the service isn't ready, as the last look saw it.
        event_lag_s: seconds that the first event which isn't seen yet has waited, as the last look
            saw it; None: nobody applies events, or it can't be asked.
        max_event_lag_s: above it events are behind.

    Args:
        client: of the home's Redis.
        models: of the home.
        labels: reads them from the tables.
        neighbours: reads the vectors of a release.
        settings: of recall.
        warn: takes a problem that wasn't there at the last look.
        switched: takes what has become current.
        lagged: takes `event_lag_s` after each look.
        max_event_lag_s: as the attribute.
    """

    def __init__(
        self,
        client: OnlineClient,
        models: RankingModels,
        labels: Callable[[], Labels],
        settings: RecallSettings,
        *,
        neighbours: Callable[[int], Mapping[Space, Neighbours]] = lambda release: {},
        warn: Callable[[str], None] = lambda problem: None,
        switched: Callable[[Live], None] = lambda live: None,
        lagged: Callable[[float | None], None] = lambda lag_s: None,
        max_event_lag_s: float = math.inf,
    ) -> None:
        self.current: Live | None = None
        self.problems: tuple[str, ...] = (NOT_LOOKED,)
        self.event_lag_s: float | None = None
        self.max_event_lag_s = max_event_lag_s
        self._client = client
        self._models = models
        self._labels = labels
        self._neighbours = neighbours
        self._settings = settings
        self._warn = warn
        self._switched = switched
        self._lagged = lagged
        self._warned: set[str] = set()
        self._lock = Lock()
        self._looked_s = time.monotonic()

    def needed(self) -> Live:
        """The current release; StoreError with what is missing where there is none."""
        if self.current is None:
            raise StoreError("\n".join(self.problems))
        return self.current

    def age_s(self) -> float:
        """Seconds since the last look has ended."""
        return time.monotonic() - self._looked_s

    @property
    def events_behind(self) -> bool:
        """Whether events wait for longer than they may."""
        return self.event_lag_s is not None and self.event_lag_s > self.max_event_lag_s

    def look(self, instead_of: Live | None = None) -> None:
        """Exchange what is current if there is another release, or another model of it.

        Whatever goes wrong is a problem in words: what is current stays.

        Args:
            instead_of: nothing is done if it has been replaced already.
        """
        with self._lock:
            if instead_of is not None and self.current is not instead_of:
                return
            problems, notes = list[str](), list[str]()
            try:
                live = self._exchanged(self.current, problems, notes)
                if live is not self.current:
                    self.current = live
                    self._switched(live)
                self._look_at_events(live, notes)
            except Exception as error:  # of the background: a request must not miss the next look
                problems.append(in_words(error))
            for problem in {*problems, *notes} - self._warned:
                self._warn(problem)
            self._warned = {*problems, *notes}
            self.problems = tuple(problems)
            self._looked_s = time.monotonic()

    def _look_at_events(self, live: Live, notes: list[str]) -> None:
        lag_s = None
        try:
            directory = live.store.directory()
            lag_s = noted_lag_s(self._client.connection, directory, notes)
        finally:  # requests go by the last look until this one has ended
            self._lagged(lag_s)
            self.event_lag_s = lag_s
        if self.events_behind:
            notes.append(BEHIND)

    def _exchanged(self, before: Live | None, problems: list[str], notes: list[str]) -> Live:
        store = self._client.snapshot()
        store.read_views([], [])  # from now on it is of the release that is live
        directory = store.directory()
        release = _release_of(self._client, directory)
        model = self._model_of(store, problems, notes)
        same = before if before and before.release == release else None
        labels = (same and same.labels) or _read(self._labels, notes)
        neighbours = same.neighbours if same else None
        if neighbours is None:
            neighbours = _read(partial(self._neighbours, release), notes)
        if before and before.store.directory() == directory:
            pairs = (before.model, model), (before.labels, labels), (before.neighbours, neighbours)
            if all(old is new for old, new in pairs):
                return before
            live = replace(before, model=model, labels=labels, neighbours=neighbours)
            if model is before.model:
                return live
        else:
            live = Live(release, store, Recall(store, self._settings), model, labels, neighbours)
        try:
            notes += _warm(live)
        except StoreError as error:  # no queues: all but recommendations can be answered
            problems += [] if str(error) in problems else [str(error)]
        return live

    def _model_of(
        self, store: OnlineClient, problems: list[str], notes: list[str]
    ) -> RankingModel | None:
        """The ranker that belongs to the release; StoreError's words where it has no queues."""
        try:
            model = self._models.of_epoch(store.catalogue().epoch)
        except StoreError as error:
            problems.append(str(error))
            return None
        if self._models.problem:
            (notes if model else problems).append(self._models.problem)
        return model


def _read(read: Callable[[], T], notes: list[str]) -> T | None:
    """What the tables have; None with a note where they can't be read."""
    try:
        return read()
    except (VidtopicsError, OSError) as error:
        notes.append(in_words(error))
        return None


@contextmanager
def watching(watch: Watch, every_s: float) -> Iterator[None]:
    """Look at a pace within the block, at first at once."""
    ended = Event()

    def work() -> None:
        watch.look()
        while not ended.wait(every_s):
            watch.look()

    thread = Thread(target=work, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(END_S)


def _release_of(client: OnlineClient, directory: Directory) -> int:
    """The number of the release that a load brought; StoreError where a load brought none."""
    key, load = place(directory.prefix, "releases"), str(directory.load)
    text = cast("bytes | None", client.connection.hget(key, load))
    if text is None:
        raise StoreError(
            explain(
                f"Redis, prefix {directory.prefix!r}",
                expected="a release",
                found="values of Feast alone"
                if not directory.load
                else f"no record of load {load}",
                mend="load one (`vidtopics materialize`)",
            )
        )
    return int(json.loads(text)["release"])


def _warm(live: Live) -> list[str]:
    """One request, so that none waits for popular videos or for the first use of the model.

    A model that fails or hangs is named: the release goes live all the same.
    """
    given, pool = gather(live.recall, live.store, PROBE_USER), DaemonPool(1, "warming")
    try:
        if live.model:
            pool.submit(given.score, live.model.ranker).result(WARM_S)
    except Exception as error:
        return [
            explain(
                f"the ranking model {live.model.version if live.model else ''}",
                expected="scores",
                found=f"{type(error).__name__}: {error}",
                mend="run `vidtopics train ranking`",
            )
        ]
    finally:
        pool.shutdown(wait=False)
    return []
