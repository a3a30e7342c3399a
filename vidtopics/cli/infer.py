"""`vidtopics infer`: new videos encoded, assigned, released and in Redis, without a training."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidtopics.cli import rounds, stores
from vidtopics.cli.common import (
    DEFAULT_HOME,
    AsJson,
    Config,
    Embedded,
    MapFile,
    WrittenHome,
    print_json,
)
from vidtopics.cli.events import land_before_run

if TYPE_CHECKING:
    from vidtopics.ingest.delivery_maps import DeliveryMap
    from vidtopics.ingest.inbox import Inbox, Taken
    from vidtopics.jobs.pipeline import Step
    from vidtopics.jobs.releasing import Decision
    from vidtopics.materialization import Moved
    from vidtopics.service.rounds import Facts, Work
    from vidtopics.settings import Settings
    from vidtopics.tables import Tables

LOOK_S = 0.5
"""Between two looks at the inbox."""
EVERY_S = 60.0
"""Between two looks at the home where no delivery comes: what failed is tried again."""
PATIENCE_S = 50.0
"""For how long a round waits for another run, or for another loader."""
REFUSED = 1
"""Exit status: a delivery was refused."""


@rounds.monitored
def infer(
    context: typer.Context,
    delivery: Annotated[
        Path | None,
        typer.Argument(metavar="[DELIVERY]", help="A folder as of `ingest folder`; stays there."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what comes, until SIGINT or SIGTERM.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="What waits in the home's inbox, then end.")
    ] = False,
    fields: MapFile = None,
    watch: rounds.Monitoring = rounds.UNWATCHED,
    home: WrittenHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
    as_json: AsJson = False,
) -> None:
    """Serve new videos with the topic model version in force: ingest, all jobs, Redis; no training.

    Deliveries come into the home's `inbox`, each a folder that is renamed to a name without a dot
    once it is complete. Ends with 0 if all is served; with 1 if a delivery was refused, 2 if the
    topic model version is another or a table or Redis is out of reach, 3 if another run has the
    home, 4 if a gate blocks the release; with --follow as `daemon` does.
    """
    from vidtopics.cli import homes
    from vidtopics.ingest.delivery_maps import DeliveryMap, read_delivery_map

    if sum([delivery is not None, follow, once]) != 1:
        raise typer.BadParameter("say DELIVERY, --once or --follow, one of them")
    rounds.refuse_without("--follow", context, is_service=follow)
    if follow and as_json:
        raise typer.BadParameter("--follow goes with --log-format json in the place of --json")
    settings = homes.settings(home, config)
    names = read_delivery_map(fields) if fields else DeliveryMap()
    if follow:
        _follow(home, embedded, settings, names, watch)
        return
    _once(home, embedded, settings, names, delivery, as_json)


@dataclass
class Served:
    """What a round did."""

    deliveries: list[Taken] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    decision: Decision | None = None
    moved: Sequence[Moved] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Note how long the block takes, to its end or to its error."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] = round(time.monotonic() - began, 3)

    @property
    def refused(self) -> list[Taken]:
        """Deliveries that can't be read."""
        return [taken for taken in self.deliveries if taken.outcome == "refused"]


def serve_new(
    home: Path,
    embedded: bool,
    settings: Settings,
    inbox: Inbox,
    served: Served,
    *,
    fields: DeliveryMap | None = None,
    tell: Callable[[Taken], None] = lambda taken: None,
    warn: Callable[[str], None] = stores.print_warning,
) -> None:
    """Take what waits, release it, and bring the release to Redis; `served` says how far it came.

    Raises:
        As :func:`vidtopics.jobs.small_release.release_new` and `materialize`.
    """
    from vidtopics.ingest.arrivals import take_deliveries
    from vidtopics.jobs.small_release import is_due
    from vidtopics.tables import Tables

    tables = Tables(home)
    with served.timed("take"), inbox.held():
        served.deliveries, served.errors = take_deliveries(
            tables,
            inbox,
            settings.ingest,
            fields=fields,
            suspects=not is_due(tables),
            tell=tell,
        )
    _release(tables, embedded, settings, served, warn)


def _release(
    tables: Tables,
    embedded: bool,
    settings: Settings,
    served: Served,
    warn: Callable[[str], None] = stores.print_warning,
) -> None:
    from vidtopics.failpoints import failpoint
    from vidtopics.jobs.small_release import is_due, release_new

    failpoint("inbox.noted")
    if is_due(tables):
        with served.timed("release"):
            served.decision = release_new(
                tables,
                settings,
                land=lambda as_of_us: land_before_run(
                    tables.home, settings, as_of_us, embedded=embedded
                ),
                report=served.steps.append,
                patience_s=PATIENCE_S,
            )
    with served.timed("load"):
        served.moved = _move(tables.home, embedded, settings, warn)


def _move(
    home: Path, embedded: bool, settings: Settings, warn: Callable[[str], None]
) -> list[Moved]:
    """The release in force to Redis; a loader that has the lock is waited for."""
    from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

    from vidtopics.cli.materialize import move
    from vidtopics.materialization.lock import LockError

    again = Retrying(
        retry=retry_if_exception_type(LockError),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_fixed(LOOK_S),
        reraise=True,
    )
    return again(move, home, embedded, settings, lambda _: None, warn)


def _log(taken: Taken) -> None:
    """A line of the log for a delivery, on standard error."""
    from vidtopics.service import logs

    fields: dict[str, Any] = {"name": taken.name, "outcome": taken.outcome, "path": taken.path}
    if taken.outcome == "refused":
        logs.error("delivery", **fields, cause=taken.cause)
    else:
        counts = {"refused_rows": dict(taken.refused_rows)} if taken.refused_rows else {}
        logs.info("delivery", **fields, **counts)


def _once(
    home: Path,
    embedded: bool,
    settings: Settings,
    fields: DeliveryMap,
    delivery: Path | None,
    as_json: bool,
) -> None:
    from vidtopics.cli import show
    from vidtopics.cli.materialize import lock_errors
    from vidtopics.cli.run import end_with
    from vidtopics.ingest.inbox import Inbox
    from vidtopics.tables import Tables

    served = Served()
    with show.working("Serving new videos"), lock_errors():
        if delivery:
            _ingest(Tables(home), settings, fields, delivery, as_json)
            _release(Tables(home), embedded, settings, served)
        else:
            serve_new(home, embedded, settings, Inbox(home), served, fields=fields)
    _show(served, as_json)
    if served.errors:
        raise served.errors[0]
    end_with(served.decision)
    if served.refused:
        raise typer.Exit(REFUSED)


def _ingest(
    tables: Tables, settings: Settings, fields: DeliveryMap, delivery: Path, as_json: bool
) -> None:
    from vidtopics.cli import show
    from vidtopics.ingest import Source, ingest, recognise

    result = ingest(tables, Source(recognise(delivery), delivery, fields), settings.ingest)
    if not as_json:
        show.ingested(result)


def _show(served: Served, as_json: bool) -> None:
    from vidtopics.cli import show
    from vidtopics.cli.run import label, print_left_out

    decision = served.decision
    if as_json:
        print_json(
            {
                "deliveries": [{"name": t.name, **asdict(t)} for t in served.deliveries],
                "release": decision.release_id if decision else None,
                "state": decision.state if decision else None,
                "reasons": decision.objections if decision else [],
                "steps": [asdict(step) for step in served.steps],
                "moved": [asdict(moved) for moved in served.moved],
            }
        )
        return
    for taken in served.deliveries:
        show.out.print(show.as_text(_line(taken)), soft_wrap=True)
    if served.steps:
        show.steps(served.steps, lambda _: label(decision))
        print_left_out(served.steps)
    show.moved(served.moved)


def _line(taken: Taken) -> str:
    refused = ", ".join(f"{count:,} {reason}" for reason, count in taken.refused_rows.items())
    rows = f", refused rows: {refused}" if refused else ""
    return f"{taken.name}: {taken.outcome}{rows}{f': {taken.cause}' if taken.cause else ''}"


def _follow(
    home: Path,
    embedded: bool,
    settings: Settings,
    fields: DeliveryMap,
    watch: rounds.Monitoring,
) -> None:
    from vidtopics.ingest.inbox import Inbox
    from vidtopics.jobs.small_release import warm_up
    from vidtopics.server import named_url
    from vidtopics.service.rounds import Work
    from vidtopics.tables import Tables

    named_url(home, embedded=embedded)  # refused now rather than in each round
    inbox = Inbox(home)
    inbox.make()
    warm_up(Tables(home), settings)

    def once() -> Facts:
        facts = _round(home, embedded, settings, fields, inbox)
        if inbox.unfinished():  # that several processes died over: their turn, once all is served
            work.due.set()
        return facts

    work = Work("infer", EVERY_S, once)
    with _waking(inbox, work):
        rounds.serve(home, embedded, settings.online, [work], watch)


def _round(
    home: Path, embedded: bool, settings: Settings, fields: DeliveryMap, inbox: Inbox
) -> Facts:
    """One round as facts for the log; what kept it from its end as the service's errors."""
    from vidtopics.errors import BusyError
    from vidtopics.materialization import IncompleteError
    from vidtopics.materialization.lock import LockError
    from vidtopics.service import logs
    from vidtopics.service.rounds import BlockedError, PartialError, StandbyError

    served = Served()
    try:
        serve_new(home, embedded, settings, inbox, served, fields=fields, tell=_log, warn=logs.warn)
    except (BusyError, LockError) as error:
        raise StandbyError(str(error)) from error
    except IncompleteError as error:  # a table is damaged, all others are live
        served.moved = error.moved
        raise PartialError(str(error), _facts(served)) from error
    if served.decision and served.decision.state != "released":
        raise BlockedError("; ".join(served.decision.objections))
    if served.errors:
        raise PartialError("; ".join(map(str, served.errors)), _facts(served))
    return _facts(served)


def _facts(served: Served) -> Facts:
    published = [step.publication for step in served.steps]
    facts: dict[str, Any] = {"moved": served.moved}
    if served.moved:
        facts["release"] = served.moved[0].release
    if served.deliveries:
        facts |= {"deliveries": len(served.deliveries), "refused": len(served.refused)}
    if served.steps:
        facts |= {f"{part}_s": seconds for part, seconds in served.seconds.items()}
    if rows := {p.table: p.rows for p in published if not p.skipped}:
        facts["published"] = rows
    return facts


@contextmanager
def _waking(inbox: Inbox, work: Work) -> Iterator[None]:
    """Within the block a delivery that arrives begins the next round at once."""
    ended = threading.Event()

    def look() -> None:
        known: set[str] = set()
        while not ended.wait(LOOK_S):
            try:
                waiting = set(inbox.waiting())
            except OSError:  # the round says what is wrong; this thread has to see the end of it
                continue
            if waiting - known:
                work.due.set()
            known = waiting

    thread = threading.Thread(target=look, name="inbox", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
