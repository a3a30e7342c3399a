"""Experiments in a simulated world."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, ExistingHome, OptionalHome

if TYPE_CHECKING:
    from vidtopics.settings import Settings
    from vidtopics.simulation import World
    from vidtopics.simulation.experiment import Plan
    from vidtopics.simulation.experiment_days import Step
    from vidtopics.simulation.policy import Policy

app = typer.Typer(no_args_is_help=True)
ARMS = "production,topic-recall,topic-ranker,topics"


@app.callback()
def _group() -> None:
    """Experiments in a simulated world."""


@app.command()
def ab(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.", file_okay=False)],
    home: OptionalHome = None,
    arms: Annotated[
        str, typer.Option(metavar="NAMES", help="Policies; the first is control.")
    ] = ARMS,
    days: Annotated[
        str, typer.Option(metavar="PRE+DAYS", help="Of the pre-period and the experiment.")
    ] = "7+7",
    groups: Annotated[int, typer.Option(min=2, help="By hash; the most alike become arms.")] = 8,
    users: Annotated[
        int | None, typer.Option(min=1, help="Of the world; as the settings say if left out.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last finished day.")
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a page with plots.", dir_okay=False),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Table III in a simulated world: an A/B experiment, analysed beside its true effects.

    Topics and rankers are those of --home, a home of this world (`vidtopics demo`). Without one:
    arms that need none (random, popular, logged, oracle), in the world of the settings.
    """
    from vidtopics.cli import ab_report, homes
    from vidtopics.settings import load
    from vidtopics.simulation.experiment import Plan

    settings = homes.settings(home, config) if home else load(config or homes.conf("demo"))
    pre_days, length = read_days(days)
    names = tuple(name.strip() for name in arms.split(","))
    plan = Plan(names, f"simulated-{settings.seed}", pre_days, length, groups)
    if users is not None:
        simulation = settings.simulation.model_copy(update={"users": users})
        settings = settings.model_copy(update={"simulation": simulation})
    report = experiment(settings, home, plan, out, resume=resume)
    ab_report.deliver(report, page, as_json=as_json)


def experiment(
    settings: Settings, home: Path | None, plan: Plan, out: Path, *, resume: bool = False
) -> dict[str, Any]:
    """Run the experiment in the settings' world, with progress; the report on it."""
    from vidtopics.cli import show
    from vidtopics.experiments.analysis import analyse
    from vidtopics.simulation import World
    from vidtopics.simulation.experiment import run_experiment
    from vidtopics.simulation.platform import Platform

    with show.working("Simulating the experiment") as progress:
        world = World.build(settings.simulation, settings.seed, later_days=plan.later_days)
        run_experiment(
            world,
            _load_policies(home, world, plan.arms),
            plan,
            out,
            platform=Platform.new(world, settings),
            origin={"home": str(home.resolve()) if home else None},
            resume=resume,
            progress=_report_days(progress),
        )
        return analyse(out)


@app.command()
def later(
    home: ExistingHome = DEFAULT_HOME,
    days: Annotated[int, typer.Option(min=1, help="After the log.")] = 14,
    config: Config = None,
) -> None:
    """Give a home the videos that come out after its log, and run its jobs as of their last day.

    An experiment of as many days shows them; the jobs' version of the topics gives them topics.
    Ends with 4 where a gate blocks the release.
    """
    from vidtopics.cli import homes

    deliver_later(home, homes.settings(home, config), days)


def deliver_later(home: Path, settings: Settings, days: int) -> None:
    """What `vidtopics simulate later` does."""
    from vidtopics.cli import run, show
    from vidtopics.ingest import Source, ingest
    from vidtopics.jobs.job import Run
    from vidtopics.settings import digest
    from vidtopics.simulation import World
    from vidtopics.simulation.items import DAY, start_of
    from vidtopics.simulation.later import write_later
    from vidtopics.tables import Tables
    from vidtopics.times import moment

    simulation, tables = settings.simulation, Tables(home)
    path = home / "simulated" / f"{digest(simulation, settings.seed)}-later-{days}"
    with show.working(f"Delivering the videos of {days} later days") as progress:
        write_later(World.build(simulation, settings.seed, later_days=days), path)
        brought = ingest(tables, Source("folder", path), settings.ingest, progress=progress)
    show.ingested(brought)
    end = moment(start_of(simulation) + (simulation.days + days) * DAY)
    done, decision = run.jobs(Run.of_option(tables, settings, end), [])
    show.steps(done, lambda _: run.label(decision))
    run.end_with(decision)


def _refuse_unknown_videos(home: Path, world: World) -> None:
    """SettingsError where the home has never heard of the world's last videos."""
    import numpy as np
    import pyarrow.dataset as ds

    from vidtopics.contracts import VIDEO_CATALOG
    from vidtopics.errors import SettingsError, explain
    from vidtopics.simulation.identifiers import numbered
    from vidtopics.tables import Tables

    count = len(world.items.topic)
    [last] = numbered("v", np.array([count - 1]), count).to_pylist()
    is_last = ds.field("video_id") == last
    if not Tables(home).read(VIDEO_CATALOG, columns=["video_id"], where=is_last).num_rows:
        raise SettingsError(
            explain(
                f"--home {home}",
                expected=f"the videos of {world.later_days} days after its log, up to {last}",
                found="fewer",
                mend=f"vidtopics simulate later --home {home} --days {world.later_days}",
            )
        )


def _load_policies(home: Path | None, world: World, names: Sequence[str]) -> dict[str, Policy]:
    """The policies by name: those that a world suffices for, and those of a home.

    Raises:
        SettingsError: there is no such policy, or it needs a home.
    """
    from vidtopics.errors import SettingsError, explain
    from vidtopics.simulation.baselines import BASELINES

    policies = {name: BASELINES[name](world) for name in names if name in BASELINES}
    others = [name for name in names if name not in policies]
    if not others:
        return policies
    if home is None:
        raise SettingsError(
            explain(
                "--arms",
                expected=f"without --home, some of {', '.join(BASELINES)}",
                found=", ".join(others),
                mend="name a home of this world, as `vidtopics demo` makes it",
            )
        )
    from consumers.policies import load_policies

    _refuse_unknown_videos(home, world)
    return policies | load_policies(home, world, others)


@app.command("world")
def write_log(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, or an earlier world.")],
    users: Annotated[
        int | None, typer.Option(min=1, help="Of the world; as the settings say if left out.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="Of the log; as the settings say if left out.")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """A world's log for others: Parquet with a folder for each day, propensities, the truth beside.

    Each `OUT/day=*` is a delivery that `vidtopics ingest folder` reads (docs/simulation.md).
    """
    from dataclasses import asdict

    from vidtopics.cli import homes, show
    from vidtopics.cli.common import print_json
    from vidtopics.settings import load
    from vidtopics.simulation.deliveries import write_deliveries

    settings = load(config or homes.conf("demo"))
    changes = {"users": users, "days": days}
    chosen = {name: value for name, value in changes.items() if value is not None}
    simulation = settings.simulation.model_copy(update=chosen)
    with show.working("Simulating a world") as progress:
        summary = write_deliveries(
            simulation, out, seed=settings.seed, progress=_also_in_logs(progress)
        )
    if as_json:
        print_json(asdict(summary))
    else:
        show.out.print(
            f"{out}: {simulation.days} days, {summary.videos:,} videos, {summary.users:,} users,"
            f" {summary.impressions:,} impressions, {summary.clicks:,} clicks,"
            f" {summary.seconds:.1f} s",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _also_in_logs(progress: Callable[[str], None]) -> Callable[[str], None]:
    """Steps as lines, too, where there is no terminal."""
    from vidtopics.cli import show

    def report(text: str) -> None:
        progress(text)
        if not show.console.is_terminal:
            show.console.print(f"  {text}", highlight=False)

    return report


def read_days(text: str) -> tuple[int, int]:
    """Days before and during the experiment.

    Raises:
        SettingsError: the text isn't two numbers of days from 1 on.

    >>> read_days("7+14")
    (7, 14)
    """
    from vidtopics.errors import SettingsError, explain

    parts = text.split("+")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise SettingsError(
            explain(
                "--days",
                expected="days of the pre-period and of the experiment",
                found=repr(text),
                mend="write --days 7+7",
            )
        )
    return int(parts[0]), int(parts[1])


def _report_days(progress: Callable[[str], None]) -> Callable[[Step, int, int], None]:
    """Says after each day how far the run is, and how long the rest will take.

    Days of the world's log are quicker than others, so that each kind has its own mean.
    """
    from vidtopics.simulation.experiment import LOG

    write = _also_in_logs(progress)
    spent: dict[bool, list[float]] = defaultdict(list)
    last = time.monotonic()

    def report(step: Step, requests: int, steps: int) -> None:
        nonlocal last
        now = time.monotonic()
        spent[step.phase == LOG].append(now - last)
        last = now
        text = f"day {step.number + 1} of {steps} ({step.phase}), {requests:,} requests"
        served = spent[False]
        if served:
            left = (steps - step.number - 1) * sum(served) / len(served)
            text += f", {left / 60:.1f} min left"
        write(text)

    return report
