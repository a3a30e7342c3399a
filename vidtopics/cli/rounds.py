"""What `daemon`, `infer --follow`, `materialize --every` and `run --every` share: monitoring."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import partial, wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from vidtopics.cli import stores
from vidtopics.cli.common import BLOCKED, BUSY
from vidtopics.service.logs import Format, Level

if TYPE_CHECKING:
    from vidtopics.materialization import Moved
    from vidtopics.online.connections import Connection
    from vidtopics.service.rounds import Facts, Listener, Work
    from vidtopics.service.status import Status
    from vidtopics.settings import OnlineSettings, Settings

FAILURES = 5
"""Exit status: too many rounds failed."""
PROBE_TIMEOUT_S = 2.0
"""Of a look at Redis for monitoring, which waits no longer."""
CAUSE_LINES = 5


def duration_s(text: str) -> float:
    """Seconds of `30s`, `5m` or `1h`."""
    from vidtopics.service.rounds import seconds

    return seconds(text)


def pace(metavar: str, text: str) -> Any:
    """The option of a time between rounds, as `5m`; a parameter of it is seconds."""
    return typer.Option(metavar=metavar, parser=duration_s, help=text)


MetricsPort = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=65_535, help="Answer /metrics, /live and /ready on this port."
    ),
]
MetricsHost = Annotated[
    str,
    typer.Option(metavar="HOST", help="The address for that; 0.0.0.0 is all of this machine's."),
]
LogFormat = Annotated[Format, typer.Option(help="Lines on standard error, one for each event.")]
LogLevel = Annotated[Level, typer.Option(help="With debug, tracebacks too.")]
MaxFailures = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help=f"End with {FAILURES} once N rounds failed one after the other."
    ),
]


@dataclass(frozen=True)
class Monitoring:
    """How a service is watched, and when it gives up: options of every verb that is `monitored`."""

    metrics_port: MetricsPort = None
    metrics_host: MetricsHost = "127.0.0.1"
    log_format: LogFormat = "text"
    log_level: LogLevel = "info"
    max_failures: MaxFailures = None


UNWATCHED = Monitoring()
"""The default of a verb's `watch`, whose options have it too."""


def monitored(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with the options of :class:`Monitoring` in the place of its parameter `watch`.

    >>> @monitored
    ... def serve(watch: Monitoring = UNWATCHED, *, quick: bool = False) -> None:
    ...     print(watch.metrics_port, watch.log_level, quick)
    >>> serve(metrics_port=9108, quick=True)
    9108 info True
    """
    hints = get_type_hints(Monitoring, include_extras=True)
    options = [
        Parameter(f.name, Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in fields(Monitoring)
    ]
    own = signature(verb, eval_str=True)
    parameters = [
        p
        for parameter in own.parameters.values()
        for p in (options if parameter.name == "watch" else [_by_name(parameter)])
    ]

    @wraps(verb)
    def command(**values: Any) -> None:
        watch = {name: values.pop(name) for name in hints if name in values}
        verb(**values, watch=Monitoring(**watch))

    vars(command)["__signature__"] = own.replace(parameters=parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return command


def _by_name(parameter: Parameter) -> Parameter:
    return parameter.replace(kind=Parameter.KEYWORD_ONLY)


def refuse_without(option: str, context: typer.Context, *, is_service: bool) -> None:
    """BadParameter for an option of a service on a command that, without `option`, runs once."""
    for name in (field.name for field in fields(Monitoring)):
        given = context.get_parameter_source(name)
        if not is_service and given is not None and given.name == "COMMANDLINE":
            raise typer.BadParameter(f"--{name.replace('_', '-')} goes with {option}")


def materialize_work(home: Path, embedded: bool, settings: Settings, every_s: float) -> Work:
    """Rounds of materialisation, in this process; SettingsError for a lost address or password."""
    from vidtopics.server import named_url
    from vidtopics.service.rounds import Work

    named_url(home, embedded=embedded)  # refused now rather than in each round
    return Work("materialize", every_s, partial(_materialize, home, embedded, settings))


def _materialize(home: Path, embedded: bool, settings: Settings) -> Facts:
    from vidtopics.cli.materialize import move
    from vidtopics.materialization import IncompleteError
    from vidtopics.materialization.lock import LockError
    from vidtopics.service.logs import warn
    from vidtopics.service.rounds import PartialError, StandbyError

    try:
        moved = move(home, embedded, settings, lambda _: None, warn)
    except LockError as error:
        raise StandbyError(str(error)) from error
    except IncompleteError as error:  # a table is damaged, all others are live
        raise PartialError(str(error), _facts(error.moved)) from error
    return _facts(moved)


def _facts(moved: Sequence[Moved]) -> Facts:
    """What moved, and the release; no release where the prefix is pinned to another."""
    return {"moved": moved, **({"release": moved[0].release} if moved else {})}


def run_work(
    home: Path, config: Path | None, jobs: Sequence[str], every_s: float, then: Work | None = None
) -> Work:
    """Rounds of the jobs, each a process of its own, and `then` at once after a new release.

    A run's memory (Spark, torch) goes back to the system, and a run that the system kills takes
    nothing else with it.
    """
    from vidtopics.service.rounds import Work

    options = ["--home", str(home), *(["--config", str(config)] if config else [])]
    command = [sys.executable, "-m", "vidtopics", "run", "--json", *options, *jobs]

    def once() -> Facts:
        facts = _run(command)
        if then and facts["release"] is not None:
            then.due.set()
        return facts

    return Work("run", every_s, once)


def _run(command: Sequence[str]) -> Facts:
    """One run; what it published, or an error with the last lines that it wrote."""
    from vidtopics.service.rounds import BlockedError, ProcessError, StandbyError

    # A session of its own: an interrupt from the terminal ends the service after the round.
    done = subprocess.run(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        start_new_session=True,
        check=False,
    )
    report = json.loads(done.stdout or "{}")
    if done.returncode:
        kind = {BUSY: StandbyError, BLOCKED: BlockedError}.get(done.returncode, ProcessError)
        raise kind("; ".join(report.get("reasons", ())) or _cause(done.returncode, done.stderr))
    published = [step["publication"] for step in report["steps"]]
    rows = {p["table"]: p["rows"] for p in published if not p["skipped"]}
    return {"release": report["release"], "published": rows}


def _cause(status: int, stderr: str) -> str:
    r"""The message that a process ended with: from `Error` on, or its last lines.

    >>> _cause(2, "Running jobs\nError disk: full\n")
    'disk: full'
    >>> _cause(-9, "Running jobs\n")
    'ended by SIGKILL, as the system does where memory is full; Running jobs'
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    starts = [i for i, line in enumerate(lines) if line.startswith("Error ")]
    text = "; ".join(lines[starts[-1] if starts else -CAUSE_LINES :]).removeprefix("Error ")
    if status >= 0:
        return text or f"status {status} without a message"
    name, memory = signal.Signals(-status).name, ", as the system does where memory is full"
    return f"ended by {name}{memory if -status == signal.SIGKILL else ''}; {text}"


def serve(
    home: Path,
    embedded: bool,
    settings: OnlineSettings,
    works: Sequence[Work],
    monitoring: Monitoring,
) -> None:
    """Repeat works until a signal; the exit status is FAILURES where one failed too often."""
    from vidtopics.service import logs
    from vidtopics.service.rounds import Supervisor, signals

    logs.configure(monitoring.log_format, monitoring.log_level)
    listeners: list[Listener] = [partial(logs.round_ended, home=home)]
    with ExitStack() as stack:
        if monitoring.metrics_port:
            listeners += stack.enter_context(
                _watched(home, embedded, settings, works, monitoring, monitoring.metrics_port)
            )
        supervisor = Supervisor(works, listeners, monitoring.max_failures)
        logs.info("started", **{f"{work.name}_every_s": work.every_s for work in works})
        with signals(supervisor.end):
            supervisor.run()
    if supervisor.exhausted:
        logs.error("ended", cause=f"{supervisor.exhausted} failed too often")
        raise typer.Exit(FAILURES)
    logs.info("ended", cause="a signal")


@contextmanager
def _watched(
    home: Path,
    embedded: bool,
    settings: OnlineSettings,
    works: Sequence[Work],
    monitoring: Monitoring,
    port: int,
) -> Iterator[list[Listener]]:
    """Answer monitoring within the block; the listeners that keep its figures."""
    from prometheus_client import generate_latest

    from vidtopics.service.metrics import ServiceMetrics
    from vidtopics.service.status import read_status
    from vidtopics.tables import Tables

    metrics = ServiceMetrics(home, works)
    reach = partial(probed, home, embedded)

    def look(_: object = None) -> None:
        metrics.observe(read_status(Tables(home), reach, settings.prefix))

    look()
    loads = any(work.name in ("materialize", "infer") for work in works)
    ready = partial(_not_ready, reach, settings, lambda: metrics.status) if loads else list
    pages = partial(generate_latest, metrics.registry)
    with answering_on(monitoring.metrics_host, port, ready, pages):
        yield [metrics.ended, look]


@contextmanager
def answering_on(
    host: str, port: int, ready: Callable[[], Iterable[str]], pages: Callable[[], bytes]
) -> Iterator[None]:
    """Answer `/live`, `/ready` and `/metrics`; BadParameter where the address can't be had."""
    from vidtopics.service.health import answering

    with ExitStack() as stack:
        try:
            stack.enter_context(answering(host, port, ready, pages))
        except OSError as error:
            name = f"--metrics-host {host} --metrics-port {port}"
            raise typer.BadParameter(f"{name}: {error.strerror}") from error
        yield


@contextmanager
def probed(home: Path, embedded: bool) -> Iterator[Connection]:
    """A connection for a look at the home's Redis, which starts no server and waits briefly."""
    from vidtopics.errors import StoreError, explain
    from vidtopics.online.connections import connect
    from vidtopics.server import named_url, running

    url = named_url(home, embedded=embedded) or running(home)
    if not url:
        raise StoreError(
            explain(
                "the home's own server",
                expected="one that runs",
                found="none",
                mend="a round of materialisation starts it",
            )
        )
    with stores.reaching(url), connect(url, timeout_s=PROBE_TIMEOUT_S) as connection:
        yield connection


def _not_ready(
    reach: Callable[[], Any], settings: OnlineSettings, status: Callable[[], Status]
) -> Iterator[str]:
    """Why readers of this home's values shouldn't rely on them now."""
    from vidtopics.layout import place

    try:
        with reach() as connection:
            if not connection.exists(place(settings.prefix, "layout")):
                yield f"nothing is loaded under the prefix {settings.prefix!r}"
    except Exception as error:
        yield str(error)
    lag, limit = status().lag_now_s(), settings.max_lag.total_seconds()
    if math.isnan(lag):
        yield "the lag is not known"
    elif lag > limit:
        yield f"a lag of {lag:.0f} s, above online.max_lag of {limit:.0f} s"
